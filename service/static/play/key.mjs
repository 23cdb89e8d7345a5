// The API key of a service that asks for one: kept until the tab is closed; only in memory where the browser keeps nothing.

const NAME = 'ganmint-api-key';

export function readKey() {
  try {
    return sessionStorage.getItem(NAME) ?? '';
  } catch { return ''; }
}

export function keepKey(key) {
  try {
    if (key) sessionStorage.setItem(NAME, key); else sessionStorage.removeItem(NAME);
  } catch { /* storage is off */ }
}
