// A slider for each direction that the model names: dir.NAME of the address.

import { $, el } from './elements.mjs';
import { keyOf } from './minter.mjs';
import { change, onChange, page } from './page.mjs';
import { call } from './service.mjs';
import { complain } from './trouble.mjs';

const list = $('directions');
let model = '';

onChange(({ state, manifest, source }) => {
  const names = manifest.directions ?? [];
  $('moves').hidden = !names.length;
  if (model !== keyOf(state)) start(keyOf(state), names);
  for (const item of list.children) {
    const [label, slider] = item.children, value = state.dir[slider.name] ?? 0;
    label.classList.toggle('moved', value !== 0);
    label.lastChild.textContent = value.toFixed(2);
    if (source !== `dir.${slider.name}` || !value) slider.value = value;
  }
  $('undo-moves').disabled = !Object.keys(state.dir).length;
});

function start(key, names) {
  model = key;
  list.replaceChildren(...names.map((name) => {
    const id = `dir-${name}`, slider = el('input', { id, name, type: 'range', min: -4, max: 4, step: 0.05 });
    return el('div', {}, el('label', { htmlFor: id }, name, el('output', { htmlFor: id })), slider);
  }));
  if (names.length) describe(key).catch(complain);
}

async function describe(key) { // what changes along each, in words
  const { directions } = await (await call(`v1/models/${key}/directions.json`, { key: page.apiKey })).json();
  if (key === model) directions.forEach(({ description }, k) => { list.children[k].firstChild.title = description; });
}

function move(name, value) {
  const { [name]: _, ...others } = page.state.dir;
  change({ dir: value ? { ...others, [name]: value } : others }, `dir.${name}`);
}

list.addEventListener('input', ({ target: { name, value } }) => move(name, Number(value)));
list.addEventListener('dblclick', ({ target }) => { if (target.type === 'range') move(target.name, 0); });
list.addEventListener('keydown', ({ key, target }) => {
  if (key === 'Delete' || key === 'Backspace') move(target.name, 0);
});
$('undo-moves').addEventListener('click', () => change({ dir: {} }, 'undo-moves'));
