// Makes images of resolved states, one at a time: in a worker, or by the service where this browser cannot.

import { formatState } from './address.mjs';
import { call, imagePath } from './service.mjs';

const KEPT = 128, images = new Map(), urgent = [], patient = [];
const TRANSIENT = [0, 401, 429]; // statuses of weights that may be had later
let worker = null, isBusy = false, asked = 0;

// Why the service mints the images of a model: {model/version: reason}.
export const reasons = new Map();
export const keyOf = ({ model, version }) => `${model}/${version}`;

// Resolves to an ImageData or ImageBitmap. Urgent ones overtake, and one takes the place of an earlier one that still
// waits, which resolves to null.
export const mint = (state, manifest, apiKey, isUrgent = false) => queue({ find: findImage, state, manifest, apiKey }, isUrgent);

// Resolves to the feature maps of a level, Float32Array of [unit][row][column]; to null where the service mints.
export const readLevel = (level, state, manifest, apiKey) => queue({ find: findMaps, level, state, manifest, apiKey });

function queue(task, isUrgent = false) {
  return new Promise((done, fail) => {
    if (isUrgent) for (const earlier of urgent.splice(0)) earlier.done(null);
    (isUrgent ? urgent : patient).push({ ...task, done, fail });
    if (!isBusy) work();
  });
}

async function work() {
  isBusy = true;
  for (let next; (next = urgent.shift() ?? patient.shift());)
    await next.find(next).then(next.done, next.fail);
  isBusy = false;
}

async function findImage(next) {
  const address = formatState(next.state);
  const image = images.get(address) ?? await (reasons.has(keyOf(next.state)) ? fetchImage(next) : mintHere(next));
  images.delete(address); // and put it behind all others
  images.set(address, image);
  if (images.size > KEPT) images.delete(images.keys().next().value);
  return image;
}

async function findMaps(next) {
  if (!reasons.has(keyOf(next.state))) await findImage(next); // which says where this browser cannot
  return reasons.has(keyOf(next.state)) ? null : ask(next);
}

async function mintHere(next) {
  try {
    const { width, height } = next.manifest.image;
    return new ImageData(await ask({ ...next, level: null }), width, height);
  } catch (error) {
    if (TRANSIENT.includes(error.status)) throw error;
    const image = await fetchImage(next);
    reasons.set(keyOf(next.state), error.message);
    return image;
  }
}

function ask({ state, manifest: { network: config }, apiKey: key, level }) {
  worker ??= new Worker(new URL('worker.mjs', import.meta.url), { type: 'module' });
  return new Promise((done, fail) => {
    const id = ++asked;
    worker.onerror = (event) => { event.preventDefault(); worker = null; fail(new Error('the worker did not start')); };
    worker.onmessage = ({ data }) => {
      if (data.id === id) data.error ? fail(Object.assign(new Error(data.error.message), data.error)) : done(data.values);
    };
    worker.postMessage({ id, state, config, key, level });
  });
}

const fetchImage = async ({ state, apiKey: key }) =>
  createImageBitmap(await (await call(imagePath(formatState(state)), { key })).blob());

export function paint(canvas, image) {
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext('2d');
  if (image instanceof ImageData) context.putImageData(image, 0, 0); else context.drawImage(image, 0, 0);
}
