// Prints the grey or RGB pixels of addresses as base64, by the kernel, or by JavaScript where it is not named; where a
// level is named, its feature maps of the last address, too.
import { readFileSync } from 'node:fs';
import { parseState } from '../../../service/static/play/address.mjs';
import { Generator } from '../../../service/static/play/generator.mjs';
import { makeInputs } from '../../../service/static/play/inputs.mjs';

const { folder, kernel, addresses, level } = JSON.parse(readFileSync(0, 'utf8'));
const { network: config } = JSON.parse(readFileSync(`${folder}/manifest.json`, 'utf8'));
const weights = new Uint8Array(readFileSync(`${folder}/generator.safetensors`)).buffer;
const generator = await Generator.load(config, weights, kernel && readFileSync(kernel));
const inputsOf = (text) => makeInputs(parseState(text), generator.zDim, generator.numClasses);
const images = addresses.map((text) => {
  const rgba = generator.mint(inputsOf(text));
  const kept = rgba.filter((_, k) => k % 4 < generator.channels);
  return Buffer.from(kept).toString('base64');
});
const maps = level === undefined ? null : generator.readLevel(inputsOf(addresses.at(-1)), level);
console.log(JSON.stringify({ hasKernel: generator.convolutions.hasKernel, images, maps: maps && Buffer.from(maps.buffer).toString('base64') }));
