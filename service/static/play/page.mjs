// The page's state: an address in the URL's hash, what it resolves to, and whom to tell of a change.

import { formatState, isItself, parseState, resolveWalked, unmixed } from './address.mjs';
import { $ } from './elements.mjs';
import { keyOf } from './minter.mjs';
import { call, keepKey, readKey } from './service.mjs';
import { complain, disable, enable } from './trouble.mjs';

const MERGE_MS = 2000, WRITE_MS = 100, STILL_MS = 150, manifests = new Map(), listeners = [], patientListeners = [];
let lastEdit = { id: '', at: 0 }, writing = 0, waiting = 0;

// state: as the user left it; resolved: the same with its labels; manifest: of its model; source: the control that changed
// it, '' where it was the URL; refusal: the Error of a URL that cannot be shown, or null; apiKey: '' without one.
export const page = { state: null, resolved: null, manifest: null, source: '', refusal: null, apiKey: readKey() };

// Called at each change with the page, and with what to call where it fails.
export const onChange = (listener) => listeners.push(listener);
// The same, once the page is still for a moment.
export const onStill = (listener) => patientListeners.push(listener);

export const listManifests = () => [...manifests.values()];

// What changes nothing is no address.
function tidy(state) {
  const { tolabel, label, to } = state;
  if (to && tolabel !== null && tolabel === label) return tidy({ ...state, tolabel: null });
  return isItself(state) && (tolabel === null || label === null) ? { ...state, ...unmixed } : state;
}

// Where only the classes are mixed, the end goes with the start.
function follow(changes) {
  const next = { ...page.state, ...changes }, hasMoved = ['seed', 'index', 'latent'].some((what) => what in changes);
  if (!isItself(page.state) || 'to' in changes || !hasMoved) return next;
  return next.latent === null ? { ...next, to: { seed: next.seed, index: next.index } } : { ...next, ...unmixed };
}

// Changes the state; id: the control, whose successive changes are one step of the back button.
export async function change(changes, id) {
  const next = tidy(follow(changes)), now = Date.now();
  const isSame = lastEdit.id === id && now - lastEdit.at < MERGE_MS;
  lastEdit = { id, at: now };
  try {
    await go(next, { source: id });
  } catch (refusal) { return refuse(refusal); }
  if (!isSame) return writeUrl('pushState');
  clearTimeout(writing); // browsers ignore pages that write it too often
  writing = setTimeout(writeUrl, WRITE_MS, 'replaceState');
}

// Shows what was shown before, and beside it why not what was asked for.
async function refuse(refusal) {
  await go(page.state, { refusal });
  complain(refusal);
}

function writeUrl(how) {
  clearTimeout(writing);
  history[how](null, '', `#${formatState(page.state)}`);
}

export function shareLink() {
  writeUrl('replaceState');
  return location.href;
}

async function go(next, { source = '', refusal = null } = {}) {
  const key = keyOf(next);
  if (!manifests.has(key)) manifests.set(key, await (await call(`v1/models/${key}`)).json());
  const manifest = manifests.get(key);
  Object.assign(page, { resolved: resolveWalked(next, manifest), state: next, manifest, source, refusal });
  enable();
  for (const listener of listeners) listener(page, complain);
  clearTimeout(waiting);
  waiting = setTimeout(tellPatient, STILL_MS);
}

function tellPatient() {
  try {
    for (const listener of patientListeners) listener(page, complain);
  } catch (error) { complain(error); }
}

async function findModels() {
  if (manifests.size) return;
  for (const manifest of (await (await call('v1/models')).json()).models)
    manifests.set(`${manifest.name}/${manifest.version}`, manifest);
  if (!manifests.size) throw new Error('This service has no model.');
}

// Of the model that a text begins with, in its version or the newest one, or of the first model.
function firstAddress(text) {
  const [key, name] = text.match(/([^/]*)\/[^/?]*/) ?? [text, text], keys = [...manifests.keys()];
  return `${manifests.has(key) ? key : keys.find((other) => other.startsWith(`${name}/`)) ?? keys[0]}/7/0`;
}

// Shows what the URL says, or the first model. Where the URL cannot be shown, says why beside what was shown before.
export async function fromUrl() {
  const hash = location.hash.slice(1);
  lastEdit.id = '';
  try {
    await findModels();
    const asked = decodeURIComponent(hash), isName = [...manifests.values()].some(({ name }) => name === asked);
    const text = asked && !isName ? asked : firstAddress(asked);
    if (text !== asked) history.replaceState(null, '', `#${text}`);
    await go(parseState(text));
  } catch (refusal) {
    if (!manifests.size) return disable(refusal);
    page.state ??= parseState(firstAddress(hash));
    await refuse(refusal);
  }
}

addEventListener('popstate', fromUrl);
$('again').addEventListener('click', fromUrl);
$('key-form').addEventListener('submit', (event) => {
  event.preventDefault();
  page.apiKey = $('key').value.trim();
  keepKey(page.apiKey);
  fromUrl();
});
