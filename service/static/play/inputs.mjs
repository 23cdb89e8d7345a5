// What an address gives to a generator: z and class weights, with the bits of models/sampler.py.

import { isItself, unedited, unmixed } from './address.mjs';
import { decodeLatent, drawLatent, mixLatents } from './latents.mjs';

// state: resolved. Returns {z, classWeights, drawn, pastes, units}. The first three are Float32Arrays: z after psi, and
// drawn before zK and psi. pastes are {level, rectangle, z, classWeights}, the last two of the image that is pasted.
export function makeInputs(state, zDim, numClasses) {
  const { seed, index, latent, psi, to, at } = state;
  const start = latent === null ? drawLatent(seed, index, zDim) : decodeLatent(latent);
  const drawn = to && !isItself(state) ? mixLatents(start, drawLatent(to.seed, to.index, zDim), at) : start;
  const z = drawn.slice(), scale = Math.fround(psi);
  for (const [k, value] of Object.entries(state.z)) z[k] = value;
  const pastes = state.paste.map(({ level, rectangle, ...source }) => {
    const of = makeInputs({ ...state, ...source, latent: null, ...unmixed, ...unedited }, zDim, numClasses);
    return { level, rectangle, z: of.z, classWeights: of.classWeights };
  });
  return { z: z.map((value) => value * scale), classWeights: weigh(state, numClasses), drawn, pastes, units: state.units };
}

function weigh({ label, tolabel, at }, numClasses) {
  const weights = new Float32Array(numClasses);
  if (!numClasses) return weights;
  weights[label] = tolabel === null ? 1 : 1 - at;
  if (tolabel !== null) weights[tolabel] = at;
  return weights;
}
