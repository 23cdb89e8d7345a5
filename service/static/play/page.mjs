// The page's state: an address in the URL's hash, what it resolves to, and whom to tell of a change.

import { formatState, isItself, parseState, resolve } from './address.mjs';
import { keyOf } from './minter.mjs';
import { call } from './service.mjs';

const MERGE_MS = 2000, WRITE_MS = 100, manifests = new Map(), listeners = [];
let lastEdit = { id: '', at: 0 }, writing = 0;

export const $ = (id) => document.getElementById(id);
export const el = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// state: as the user left it; resolved: the same with its labels; manifest: of its model.
export const page = { state: null, resolved: null, manifest: null };

export const onChange = (listener) => listeners.push(listener);

export const listManifests = () => [...manifests.values()];

export function complain(error) {
  $('trouble').hidden = !error;
  $('trouble').textContent = error?.message ?? '';
  $('picture').classList.toggle('stale', !!error);
}

// What changes nothing is no address.
function tidy(state) {
  const { tolabel, label, to } = state;
  if (to && tolabel !== null && tolabel === label) return tidy({ ...state, tolabel: null });
  return isItself(state) && tolabel === null ? { ...state, to: null, at: null } : state;
}

export const without = { to: null, tolabel: null, at: null }; // a mixture

// Changes the state; id: the control, whose successive changes are one step of the back button.
export async function change(changes, id) {
  const next = tidy({ ...page.state, ...changes }), now = Date.now();
  const isSame = lastEdit.id === id && now - lastEdit.at < MERGE_MS;
  lastEdit = { id, at: now };
  if (!await go(next)) return;
  if (!isSame) return writeUrl('pushState');
  clearTimeout(writing); // browsers ignore pages that write it too often
  writing = setTimeout(writeUrl, WRITE_MS, 'replaceState');
}

function writeUrl(how) {
  clearTimeout(writing);
  history[how](null, '', `#${formatState(page.state)}`);
}

export function shareLink() {
  writeUrl('replaceState');
  return location.href;
}

async function go(next) {
  try {
    const key = keyOf(next);
    if (!manifests.has(key)) manifests.set(key, await (await call(`v1/models/${key}`)).json());
    const manifest = manifests.get(key);
    Object.assign(page, { resolved: resolve(next, manifest), state: next, manifest });
  } catch (error) {
    complain(error);
    return false;
  }
  for (const listener of listeners) listener(page);
  return true;
}

// Shows what the URL says, or the first model.
export async function fromUrl() {
  lastEdit.id = '';
  try {
    if (!manifests.size) {
      for (const manifest of (await (await call('v1/models')).json()).models)
        manifests.set(`${manifest.name}/${manifest.version}`, manifest);
      if (!manifests.size) throw new Error('This service has no model.');
    }
    const [first] = manifests.keys(), text = decodeURIComponent(location.hash.slice(1)) || `${first}/7/0`;
    if (!location.hash) history.replaceState(null, '', `#${text}`);
    await go(parseState(text));
  } catch (error) { complain(error); }
}

addEventListener('popstate', fromUrl);
