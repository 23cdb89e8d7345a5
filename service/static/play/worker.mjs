// Mints beside the page, so that the page never waits. It keeps the generators that it has loaded.

import { Generator } from './generator.mjs';
import { makeInputs } from './inputs.mjs';
import { call } from './service.mjs';

const generators = new Map(), directions = new Map();

function load(name, config, key) {
  if (!generators.has(name)) {
    const read = (answer) => answer.arrayBuffer();
    const kernel = fetch(new URL('kernel.wasm', import.meta.url)).then(read, () => null);
    const loading = Promise.all([call(`v1/models/${name}/generator.safetensors`, { key }).then(read), kernel])
      .then(([weights, bytes]) => Generator.load(config, weights, bytes));
    loading.catch(() => generators.delete(name)); // so that it is tried again
    generators.set(name, loading);
  }
  return generators.get(name);
}

function loadDirections(name, key) {
  if (!directions.has(name)) {
    const loading = call(`v1/models/${name}/directions.json`, { key }).then((answer) => answer.json())
      .then((found) => Object.fromEntries(found.directions.map((one) => [one.name, Float32Array.from(one.vector)])));
    loading.catch(() => directions.delete(name));
    directions.set(name, loading);
  }
  return directions.get(name);
}

// level: whose feature maps are asked for; null for the image.
onmessage = async ({ data: { id, state, config, key, level } }) => {
  try {
    const name = `${state.model}/${state.version}`, generator = await load(name, config, key);
    const vectors = Object.keys(state.dir).length ? await loadDirections(name, key) : {};
    const inputs = makeInputs(state, generator.zDim, generator.numClasses, vectors);
    postMessage({ id, values: level === null ? generator.mint(inputs) : generator.readLevel(inputs, level) });
  } catch (error) {
    postMessage({ id, error: { message: error.message, status: error.status } });
  }
};
