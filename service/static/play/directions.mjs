// A slider for each direction that the model names: dir.NAME of the address.

import { $ } from './elements.mjs';
import { keyOf } from './minter.mjs';
import { change, onChange, page } from './page.mjs';
import { readJson } from './service.mjs';
import { makeSliders } from './sliders.mjs';
import { complain } from './trouble.mjs';

const list = $('directions'), sliders = makeSliders(list, 0.05, move);
let model = '';

onChange(({ state, manifest: { directions: names = [] }, source }) => {
  $('moves').hidden = !names.length;
  if (model !== keyOf(state)) start(keyOf(state), names);
  names.forEach((name, k) => sliders.show(k, state.dir[name] ?? 0, name in state.dir, source));
  $('undo-moves').disabled = !Object.keys(state.dir).length;
});

function start(key, names) {
  model = key;
  sliders.offer(names.map((name) => `dir.${name}`));
  if (names.length) describe(key).catch((error) => { model = ''; complain(error); });
}

async function describe(key) { // what changes along each, in words
  const { directions } = await readJson(`v1/models/${key}/directions.json`, page.apiKey);
  if (key === model) directions.forEach(({ description }, k) => { list.children[k].firstChild.title = description; });
}

function move(part, value) {
  const name = part.slice(4), { [name]: _, ...others } = page.state.dir;
  change({ dir: value ? { ...others, [name]: value } : others }, part);
}

$('undo-moves').addEventListener('click', () => change({ dir: {} }, 'undo-moves'));
