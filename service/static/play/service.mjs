// Requests to the service that the page came from, and the API key that it may ask for.

export const BASE = new URL('../', import.meta.url).href;

// The path of a permanent image, below BASE.
export const imagePath = (address) => `v1/images/${address.replace(/(?=\?)|$/, '.png')}`;

// Returns a good Response; throws an Error in the service's words, with its `status`, 0 without a response, and the problem's
// `detail` and `errors`. key: an API key.
export async function call(path, { key = '', headers = {}, ...options } = {}) {
  const withKey = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  const answer = await fetch(BASE + path, { ...options, headers: withKey })
    .catch(() => { throw Object.assign(new Error('The service could not be reached.'), { status: 0 }); });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => null), wait = answer.headers.get('Retry-After');
  const { errors = [], detail = `The service responded ${answer.status} ${answer.statusText}.` } = problem ?? {};
  const again = /^\d+$/.test(wait) ? ` Try again in ${wait} s.` : '', said = errors.map(({ field, message }) => `${field}: ${message}`);
  throw Object.assign(new Error((said.join('; ') || detail) + again), { status: answer.status, detail: detail + again, errors });
}

// Resolves to what `load` does, which is called once for a key of the Map; a failure is forgotten.
export function loadOnce(loaded, key, load) {
  if (!loaded.has(key)) {
    const loading = load();
    loading.catch(() => loaded.delete(key));
    loaded.set(key, loading);
  }
  return loaded.get(key);
}

const documents = new Map();

// Resolves to JSON that never changes.
export const readJson = (path, key) => loadOnce(documents, path, async () => (await call(path, { key })).json());

const KEY_NAME = 'ganmint-api-key';

// The key is kept until the tab is closed; only in memory where the browser keeps nothing.
export function readKey() {
  try {
    return sessionStorage.getItem(KEY_NAME) ?? '';
  } catch { return ''; }
}

export function keepKey(key) {
  try {
    if (key) sessionStorage.setItem(KEY_NAME, key); else sessionStorage.removeItem(KEY_NAME);
  } catch { /* storage is off */ }
}
