// Prints what each case of a JSON list on standard input comes to: its canonical text, the bits of z and of the class weights, also of
// what is pasted, the units that are set, and the name of the image's file; or the error of its address.
import { readFileSync } from 'node:fs';
import { formatFileName, formatState, parseState, resolve } from '../../../service/static/play/address.mjs';
import { makeInputs } from '../../../service/static/play/inputs.mjs';

const bitsOf = (values) => [...new Uint32Array(values.buffer)].map((bits) => bits.toString(16).padStart(8, '0')).join('');
const { addresses, manifest, vectors } = JSON.parse(readFileSync(0, 'utf8'));
console.log(JSON.stringify(addresses.map((text) => {
  try {
    const state = resolve(parseState(text), manifest);
    const { z, classWeights, pastes, units } = makeInputs(state, manifest.latents.z_dim, manifest.labels.length, vectors);
    const sources = pastes.map((paste) => ({
      level: paste.level, rectangle: paste.rectangle, z: bitsOf(paste.z), class_weights: bitsOf(paste.classWeights),
    }));
    const file = formatFileName(state);
    return { address: formatState(state), z: bitsOf(z), class_weights: bitsOf(classWeights), pastes: sources, units, file };
  } catch (error) {
    return { error: error.message };
  }
})));
