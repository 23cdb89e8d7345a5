// The page: its state is the URL's hash, an address. A worker mints, or the service where it keeps its weights.

import { formatState, parseState } from './address.mjs';
import { drawLatent } from './latents.mjs';

const $ = (id) => document.getElementById(id);
const BASE = new URL('../', import.meta.url).href, MAX = Number.MAX_SAFE_INTEGER;
const picture = $('picture'), manifests = new Map();
let state = null, shown = null, worker = null, waiting = null, isBusy = false, asked = 0, byService = '';

const el = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const keyOf = ({ model, version }) => `${model}/${version}`;

async function call(path) {
  const answer = await fetch(BASE + path).catch(() => { throw new Error('The service could not be reached.'); });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => null);
  throw new Error(problem?.detail ?? `The service responded ${answer.status} ${answer.statusText}.`);
}

function complain(error) {
  $('trouble').hidden = !error;
  $('trouble').textContent = error?.message ?? '';
  picture.classList.toggle('stale', !!error);
}

// --- minting: one image at a time, and of those that wait only the last

function request() {
  waiting = { ...state, z: { ...state.z } };
  if (!isBusy) mintNext();
}

async function mintNext() {
  isBusy = true;
  while (waiting) {
    const next = waiting;
    waiting = null;
    try {
      const minted = await (byService ? fetchImage(next) : mintHere(next));
      if (next.model === state.model && next.version === state.version) show(next, minted);
      complain(null);
    } catch (error) {
      if (!waiting) complain(error);
    }
  }
  isBusy = false;
}

function mintHere(next) {
  const manifest = manifests.get(keyOf(next)), id = ++asked;
  worker ??= new Worker(new URL('worker.mjs', import.meta.url), { type: 'module' });
  return new Promise((done, fail) => {
    worker.onerror = (event) => { event.preventDefault(); fail(new Error('the worker did not start')); };
    worker.onmessage = ({ data }) => {
      if (data.id === id) data.error ? fail(new Error(data.error)) : done(data);
    };
    worker.postMessage({ id, state: next, config: manifest.network, base: BASE });
  }).then((minted) => {
    const { width, height } = manifest.image;
    return { ...minted, image: new ImageData(minted.rgba, width, height) };
  }).catch((error) => { // the service can mint what this browser cannot
    byService = error.message;
    return fetchImage(next);
  });
}

async function fetchImage(next) {
  const answer = await call(imagePath(formatState(next))), address = parseState(answer.headers.get('Ganmint-Address'));
  const drawn = drawLatent(next.seed, next.index, manifests.get(keyOf(next)).latents.z_dim);
  return { image: await createImageBitmap(await answer.blob()), label: address.label, drawn };
}

const imagePath = (address) => `v1/images/${address.replace(/(?=\?)|$/, '.png')}`;

// --- what is shown

function show(next, { image, label, drawn }) {
  const manifest = manifests.get(keyOf(next)), name = label === null ? '' : manifest.labels[label];
  shown = { ...next, label };
  picture.width = image.width;
  picture.height = image.height;
  const context = picture.getContext('2d');
  if (image instanceof ImageData) context.putImageData(image, 0, 0); else context.drawImage(image, 0, 0);
  const place = `${next.model}, seed ${next.seed}, index ${next.index}`;
  picture.ariaLabel = `synthetic ${name ? `${name}, ` : ''}image of ${place}`;
  $('title').textContent = name ? `${next.index}: ${name}` : `${next.index}`;
  showLines();
  showDimensions(drawn);
  $('where').textContent = `Synthetic images, minted ${byService ? 'by the service' : 'in this browser'}.`;
  document.title = `${keyOf(next)}, seed ${next.seed}, index ${next.index} - Ganmint`;
  document.body.dataset.ready = location.hash.slice(1);
}

function showLines() {
  const address = formatState(shown), path = imagePath(address);
  const file = `${shown.model}-${shown.seed}-${shown.index}.png`;
  Object.assign($('permanent'), { textContent: address, href: BASE + path });
  const why = byService && ` Minted by the service: ${byService}.`;
  $('note').textContent = `Permanent address: always the same bytes.${why}`;
  $('curl').textContent = `curl -fsS '${BASE}${path}' -o ${file}`;
  $('python').textContent = `ganmint.load("${keyOf(shown)}").mint_addresses(["${address}"])`;
  Object.assign($('download'), { download: file, href: BASE + path });
}

function showDimensions(drawn) {
  $('latent').hidden = false;
  const list = $('dimensions');
  if (list.children.length !== drawn.length) list.replaceChildren(...Array.from(drawn, (_, k) => {
    const id = `z${k}`, slider = el('input', { id, type: 'range', min: -4, max: 4, step: 0.01 });
    return el('div', {}, el('label', { htmlFor: id }, id, el('output', { htmlFor: id })), slider);
  }));
  drawn.forEach((value, k) => {
    const moved = k in state.z, at = moved ? state.z[k] : value, [label, slider] = list.children[k].children;
    label.classList.toggle('moved', moved);
    label.lastChild.textContent = at.toFixed(2);
    if (document.activeElement !== slider || !moved) slider.value = at;
  });
  $('reset').disabled = !Object.keys(state.z).length;
}

// --- the form and the URL

const offer = (key) => $('model').append(el('option', { value: key, textContent: key.replace('/', ' ') }));

function fill() { // shows the state in the form
  const key = keyOf(state), manifest = manifests.get(key), models = $('model');
  if (![...models.options].some(({ value }) => value === key)) offer(key);
  models.value = key;
  for (const id of ['seed', 'index']) if (document.activeElement !== $(id)) $(id).value = state[id];
  const options = manifest.labels.map((name, k) => el('option', { value: k, textContent: name }));
  $('label').replaceChildren(el('option', { value: '', textContent: 'drawn from the seed' }), ...options);
  $('label').value = state.label ?? '';
  $('label').parentElement.hidden = !manifest.labels.length;
  $('psi').parentElement.hidden = !manifest.truncation;
  $('psi').value = state.psi;
  $('psi-value').textContent = state.psi.toFixed(2);
  $('previous').disabled = state.index === 0;
  $('next').disabled = state.index === MAX;
}

let edited = { id: '', at: 0 };

async function change(changes, id) { // successive changes of one field are one step of the back button
  const next = { ...state, ...changes }, now = Date.now(), isSame = edited.id === id && now - edited.at < 2000;
  edited = { id, at: now };
  history[isSame ? 'replaceState' : 'pushState'](null, '', `#${formatState(next)}`);
  await go(next);
}

async function go(next) {
  try {
    const key = keyOf(next);
    if (!manifests.has(key)) manifests.set(key, await (await call(`v1/models/${key}`)).json());
    check(next, manifests.get(key));
    state = next;
    fill();
    request();
  } catch (error) { complain(error); }
}

function check({ label, psi, z }, { labels, truncation, latents }) {
  if (label !== null && label >= labels.length)
    throw new Error(labels.length ? `label: must be 0 to ${labels.length - 1}` : 'label: this model has no classes');
  if (psi !== 1 && !truncation) throw new Error('psi: this model has no truncation');
  const beyond = Object.keys(z).find((k) => k >= latents.z_dim);
  if (beyond) throw new Error(`z${beyond}: the latent has dimensions 0 to ${latents.z_dim - 1}`);
}

async function fromUrl() {
  try {
    if (!manifests.size) {
      for (const manifest of (await (await call('v1/models')).json()).models) {
        const key = `${manifest.name}/${manifest.version}`;
        manifests.set(key, manifest);
        offer(key);
      }
      if (!manifests.size) throw new Error('This service has no model.');
    }
    const [first] = manifests.keys(), text = decodeURIComponent(location.hash.slice(1)) || `${first}/7/0`;
    if (!location.hash) history.replaceState(null, '', `#${text}`);
    await go(parseState(text));
  } catch (error) { complain(error); }
}

// --- what the user does

const step = (by) => {
  const index = state.index + by;
  if (index >= 0 && index <= MAX) change({ index, z: {} }, 'index');
};

function drawSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  change({ seed: (high % 2 ** 21) * 2 ** 32 + low, index: 0, z: {} }, 'random');
}

function putBack(k) {
  const { [k]: _, ...z } = state.z;
  change({ z }, `z${k}`);
}

$('form').addEventListener('input', ({ target: { id, value } }) => {
  if (id === 'model') {
    const [model, version] = value.split('/');
    return change({ model, version, label: null, psi: 1, z: {} }, id);
  }
  if (id === 'psi') return change({ psi: Number(value) }, id);
  if (id === 'label') return change({ label: value === '' ? null : Number(value) }, id);
  const isWhole = /^\d{1,16}$/.test(value.trim()) && Number(value) <= MAX;
  $(id).ariaInvalid = isWhole ? null : 'true';
  if (isWhole) return change({ [id]: Number(value), z: {} }, id);
  return complain(new Error(`${id}: must be a whole number from 0 to ${MAX}`));
});
$('form').addEventListener('submit', (event) => event.preventDefault());
$('random').addEventListener('click', drawSeed);
$('previous').addEventListener('click', () => step(-1));
$('next').addEventListener('click', () => step(1));
$('reset').addEventListener('click', () => change({ z: {} }, 'reset'));
picture.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !state) return;
  const label = /^\d$/.test(event.key) ? Number(event.key) : null;
  if (event.key === 'ArrowLeft') step(-1);
  else if (event.key === 'ArrowRight') step(1);
  else if (event.key.toLowerCase() === 'r') drawSeed();
  else if (label !== null && label < manifests.get(keyOf(state)).labels.length) change({ label }, 'label');
  else return;
  event.preventDefault();
});
$('dimensions').addEventListener('input', ({ target: { id, value } }) => {
  change({ z: { ...state.z, [id.slice(1)]: Number(value) + 0 } }, id); // + 0: an address has no -0
});
$('dimensions').addEventListener('dblclick', ({ target }) => {
  if (target.type === 'range') putBack(target.id.slice(1));
});
$('dimensions').addEventListener('keydown', ({ key, target }) => {
  if (key === 'Delete' || key === 'Backspace') putBack(target.id.slice(1));
});
async function copy(text, button) {
  const done = await navigator.clipboard?.writeText(text).then(() => true, () => false), label = button.textContent;
  $('said').textContent = done ? 'Copied' : 'No clipboard without https; copy by hand';
  if (!done && button.previousElementSibling) getSelection().selectAllChildren(button.previousElementSibling);
  button.textContent = done ? 'Copied' : 'Copy by hand';
  button.disabled = true;
  setTimeout(() => { button.textContent = label; button.disabled = false; }, 1500);
}
$('share').addEventListener('click', ({ target }) => copy(location.href, target));
document.addEventListener('click', ({ target }) => {
  if (target.dataset?.copy) copy($(target.dataset.copy).textContent, target);
});
addEventListener('popstate', () => { edited.id = ''; fromUrl(); });
fromUrl();
