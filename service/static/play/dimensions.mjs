// A slider for each dimension of the latent: zK of the address, or the value itself where the latent is written out.

import { drawStart } from './inputs.mjs';
import { encodeLatent } from './latents.mjs';
import { $, el } from './elements.mjs';
import { change, onChange, page } from './page.mjs';

const list = $('dimensions');

onChange(({ state, resolved, manifest, source }) => {
  const drawn = drawStart(resolved, manifest.latents.z_dim);
  if (list.children.length !== drawn.length) list.replaceChildren(...Array.from(drawn, (_, k) => {
    const id = `z${k}`, slider = el('input', { id, type: 'range', min: -4, max: 4, step: 0.01 });
    return el('div', {}, el('label', { htmlFor: id }, id, el('output', { htmlFor: id })), slider);
  }));
  drawn.forEach((value, k) => {
    const isMoved = k in state.z, at = isMoved ? state.z[k] : value, [label, slider] = list.children[k].children;
    label.classList.toggle('moved', isMoved);
    label.lastChild.textContent = at.toFixed(2);
    if (source !== slider.id || !isMoved) slider.value = at;
  });
  const moved = Object.keys(state.z).length;
  $('reset').disabled = !moved;
  $('latent-note').textContent = state.latent !== null ? 'The latent is written out in the address.'
    : `Each begins where the seed${state.to ? 's' : ''} drew it. Delete, or a double click, puts one back.`;
});

function move(k, value) {
  const { state, resolved, manifest } = page;
  if (state.latent === null) return change({ z: { ...state.z, [k]: value } }, `z${k}`);
  const latent = drawStart({ ...resolved, to: null }, manifest.latents.z_dim);
  latent[k] = value;
  return change({ latent: encodeLatent(latent) }, `z${k}`);
}

function putBack(k) {
  const { [k]: _, ...z } = page.state.z;
  change({ z }, `z${k}`);
}

list.addEventListener('input', ({ target: { id, value } }) => move(id.slice(1), Number(value) + 0)); // + 0: no -0
list.addEventListener('dblclick', ({ target }) => { if (target.type === 'range') putBack(target.id.slice(1)); });
list.addEventListener('keydown', ({ key, target }) => {
  if (key === 'Delete' || key === 'Backspace') putBack(target.id.slice(1));
});
$('reset').addEventListener('click', () => change({ z: {} }, 'reset'));
