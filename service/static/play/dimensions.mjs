// A slider for each dimension of the latent: zK of the address, or the value itself where the latent is written out.

import { drawStart } from './inputs.mjs';
import { encodeLatent } from './latents.mjs';
import { $ } from './elements.mjs';
import { change, onChange, page } from './page.mjs';
import { makeSliders } from './sliders.mjs';

const list = $('dimensions'), sliders = makeSliders(list, 0.01, move);

onChange(({ state, resolved, manifest, source }) => {
  const drawn = drawStart(resolved, manifest.latents.z_dim);
  if (list.children.length !== drawn.length) sliders.offer(Array.from(drawn, (_, k) => `z${k}`));
  drawn.forEach((value, k) => sliders.show(k, state.z[k] ?? value, k in state.z, source));
  $('reset').disabled = !Object.keys(state.z).length;
  $('latent-note').textContent = state.latent !== null ? 'The latent is written out in the address.'
    : `Each begins where the seed${state.to ? 's' : ''} drew it. Delete, or a double click, puts one back.`;
});

function move(name, value) {
  const { state, resolved, manifest } = page, k = name.slice(1), { [k]: _, ...others } = state.z;
  if (state.latent === null) return change({ z: value === null ? others : { ...others, [k]: value } }, name);
  if (value === null) return;
  const latent = drawStart({ ...resolved, to: null }, manifest.latents.z_dim);
  latent[k] = value;
  change({ latent: encodeLatent(latent) }, name);
}

$('reset').addEventListener('click', () => change({ z: {} }, 'reset'));
