// Mints beside the page, so that the page never waits. It keeps the generators that it has loaded.

import { Generator, oneHot } from './generator.mjs';
import { drawLabel, drawLatent } from './latents.mjs';

const generators = new Map();

async function download(url) {
  const answer = await fetch(url);
  if (answer.ok) return answer.arrayBuffer();
  const problem = await answer.json().catch(() => null);
  throw new Error(problem?.detail ?? `${answer.status} ${answer.statusText}`);
}

function load(name, config, base) {
  if (!generators.has(name)) {
    const kernel = download(new URL('kernel.wasm', import.meta.url)).catch(() => null);
    const loading = Promise.all([download(`${base}v1/models/${name}/generator.safetensors`), kernel])
      .then(([weights, bytes]) => Generator.load(config, weights, bytes));
    loading.catch(() => generators.delete(name)); // so that it is tried again
    generators.set(name, loading);
  }
  return generators.get(name);
}

async function mint({ state, config, base }) {
  const generator = await load(`${state.model}/${state.version}`, config, base), { zDim, numClasses } = generator;
  const drawn = drawLatent(state.seed, state.index, zDim), z = drawn.slice(), psi = Math.fround(state.psi);
  const label = numClasses ? state.label ?? drawLabel(state.seed, state.index, zDim, numClasses) : null;
  for (const [k, value] of Object.entries(state.z)) z[k] = value;
  const rgba = generator.mint(z.map((value) => value * psi), oneHot(label, numClasses));
  return { rgba, drawn, label, hasKernel: generator.hasKernel };
}

onmessage = async ({ data }) => {
  try {
    postMessage({ id: data.id, ...await mint(data) });
  } catch (error) {
    postMessage({ id: data.id, error: error.message });
  }
};
