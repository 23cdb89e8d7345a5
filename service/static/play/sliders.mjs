// Sliders for the numbers of an address: the latent's dimensions (zK, or the value itself where the latent is written out)
// and the directions that the model names (dir.NAME).

import { drawStart } from './inputs.mjs';
import { encodeLatent } from './latents.mjs';
import { $, el } from './elements.mjs';
import { keyOf } from './minter.mjs';
import { change, onChange, onStill, page } from './page.mjs';
import { readJson } from './service.mjs';

const MOST = 4, dimensions = makeSliders($('dimensions'), 0.01, moveDimension), directions = makeSliders($('directions'), 0.05, moveAlong);
let model = '', described = ''; // whose dimensions and directions are offered, and whose directions are described

// A list of them; Delete, or a double click, puts one back.
// move: called with the name of the part in an address and its value, null where it is put back.
function makeSliders(list, step, move) {
  const putBack = ({ target }) => { if (target.type === 'range') move(target.name, null); };
  list.addEventListener('input', ({ target: { name, value } }) => move(name, Number(value) + 0)); // + 0: no -0
  list.addEventListener('dblclick', putBack);
  list.addEventListener('keydown', (event) => { if (['Delete', 'Backspace'].includes(event.key)) putBack(event); });
  const offer = (names, titles = names) => list.replaceChildren(...names.map((name, k) => {
    const id = name.replace('.', '-'), slider = el('input', { id, name, type: 'range', min: -MOST, max: MOST, step });
    slider.setAttribute('aria-describedby', `${id}-hint`);
    return el('div', {}, el('label', { htmlFor: id }, titles[k], el('output', { htmlFor: id })), slider, el('small', { id: `${id}-hint` }));
  }));
  const show = (k, value, isMoved, source) => {
    const [label, slider] = list.children[k].children;
    label.classList.toggle('moved', isMoved);
    label.lastChild.textContent = value.toFixed(2).replace('-0.00', '0.00');
    if (source !== slider.name || !isMoved) slider.value = value;
  };
  return { offer, show };
}

onChange(({ state, manifest: { latents, training, directions: moves = [] } }) => {
  if (model === keyOf(state)) return;
  [model, described] = [keyOf(state), ''];
  const names = Array.from({ length: latents.z_dim }, (_, k) => `z${k}`), codes = training?.config?.infogan_codes ?? 0;
  dimensions.offer(names, names.map((name, k) => (k < codes ? `code ${k + 1} (${name})` : name))); // InfoGAN's
  directions.offer(moves.map((name) => `dir.${name}`), moves);
});

// --- dimensions

onChange(({ state, resolved, manifest, source }) => {
  const drawn = drawStart(resolved, manifest.latents.z_dim);
  drawn.forEach((value, k) => dimensions.show(k, state.z[k] ?? value, k in state.z, source));
  $('reset').disabled = !Object.keys(state.z).length;
  $('latent-note').textContent = state.latent !== null ? 'The latent is written out in the address.'
    : `Each begins where the seed${state.to ? 's' : ''} drew it. Delete, or a double click, puts one back.`;
});

function moveDimension(name, value) {
  const { state, resolved, manifest } = page, k = name.slice(1), { [k]: _, ...others } = state.z;
  if (state.latent === null) return change({ z: value === null ? others : { ...others, [k]: value } }, name);
  if (value === null) return;
  const latent = drawStart({ ...resolved, to: null }, manifest.latents.z_dim);
  latent[k] = value;
  change({ latent: encodeLatent(latent) }, name);
}

$('reset').addEventListener('click', () => change({ z: {} }, 'reset'));

// --- directions

onChange(({ state, manifest: { directions: names = [] }, source }) => {
  $('moves').hidden = !names.length;
  names.forEach((name, k) => directions.show(k, state.dir[name] ?? 0, name in state.dir, source));
  $('undo-moves').disabled = !Object.keys(state.dir).length;
});

// Asked for again until it is had.
onStill(({ manifest: { directions: names = [] } }, onError) => {
  const key = model;
  if (names.length && described !== key) describe(key).catch((error) => { if (key === model) onError(error); });
});

async function describe(key) { // what changes along each, in words
  const { directions: known } = await readJson(`v1/models/${key}/directions.json`, page.apiKey);
  if (key !== model) return;
  described = key;
  known.forEach(({ description, means = [] }, k) => {
    const place = $('directions').children[k], reach = means.at(-1)?.[0];
    place.lastChild.textContent = description + (reach ? `; checked to ±${reach}` : '');
    if (reach) place.style.setProperty('--reach', Math.min(1, reach / MOST));
  });
}

function moveAlong(part, value) {
  const name = part.slice(4), { [name]: _, ...others } = page.state.dir;
  change({ dir: value ? { ...others, [name]: value } : others }, part);
}

$('undo-moves').addEventListener('click', () => change({ dir: {} }, 'undo-moves'));
