// Mints beside the page, so that the page never waits. It keeps the generators that it has loaded.

import { Generator } from './generator.mjs';
import { makeInputs } from './inputs.mjs';
import { call, loadOnce, readJson } from './service.mjs';

const generators = new Map();

async function loadGenerator(folder, config, key) {
  const read = (answer) => answer.arrayBuffer();
  const kernel = fetch(new URL('kernel.wasm', import.meta.url)).then(read, () => null);
  return Generator.load(config, ...await Promise.all([call(`${folder}/generator.safetensors`, { key }).then(read), kernel]));
}

async function readVectors(folder, key) {
  const { directions } = await readJson(`${folder}/directions.json`, key);
  return Object.fromEntries(directions.map(({ name, vector }) => [name, Float32Array.from(vector)]));
}

// level: whose feature maps are asked for; null for the image.
onmessage = async ({ data: { id, state, config, key, level } }) => {
  try {
    const folder = `v1/models/${state.model}/${state.version}`;
    const generator = await loadOnce(generators, folder, () => loadGenerator(folder, config, key));
    const vectors = Object.keys(state.dir).length ? await readVectors(folder, key) : {};
    const inputs = makeInputs(state, generator.zDim, generator.numClasses, vectors);
    postMessage({ id, values: level === null ? generator.mint(inputs) : generator.readLevel(inputs, level) });
  } catch (error) {
    postMessage({ id, error: { message: error.message, status: error.status } });
  }
};
