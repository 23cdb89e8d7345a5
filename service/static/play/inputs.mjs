// What an address gives to a generator: z and class weights, with the bits of models/sampler.py.

import { isItself, unedited, unmixed } from './address.mjs';
import { decodeLatent, drawLatent, mixLatents } from './latents.mjs';

// The latent of a state before its dimensions are set: drawn, or read, and mixed.
export function drawStart(state, zDim) {
  const { seed, index, latent, to, at } = state, start = latent === null ? drawLatent(seed, index, zDim) : decodeLatent(latent);
  return to && !isItself(state) ? mixLatents(start, drawLatent(to.seed, to.index, zDim), at) : start;
}

// state: resolved. vectors: Float32Arrays of the directions that it moves along, by name. Returns {z, classWeights,
// pastes, units}. The first two are Float32Arrays, z after psi. pastes are {level, rectangle, z, classWeights}, the last
// two of the image that is pasted.
export function makeInputs(state, zDim, numClasses, vectors = {}) {
  const z = drawStart(state, zDim), scale = Math.fround(state.psi);
  for (const [k, value] of Object.entries(state.z)) z[k] = value;
  const pastes = state.paste.map(({ level, rectangle, ...source }) => {
    const of = makeInputs({ ...state, ...source, latent: null, ...unmixed, ...unedited }, zDim, numClasses);
    return { level, rectangle, z: of.z, classWeights: of.classWeights };
  });
  return { z: move(z, state.dir, vectors).map((value) => value * scale), classWeights: weigh(state, numClasses), pastes, units: state.units };
}

function move(z, dir, vectors) { // in float64, in the order of the names, rounded once
  const moved = Float64Array.from(z);
  for (const name of Object.keys(dir).sort()) moved.forEach((value, k) => { moved[k] = value + dir[name] * vectors[name][k]; });
  return Float32Array.from(moved);
}

function weigh({ label, tolabel, at }, numClasses) {
  const weights = new Float32Array(numClasses);
  if (!numClasses) return weights;
  weights[label] = tolabel === null ? 1 : 1 - at;
  if (tolabel !== null) weights[tolabel] = at;
  return weights;
}
