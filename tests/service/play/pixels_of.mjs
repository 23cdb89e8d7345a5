// Prints the grey or RGB pixels of addresses as base64, by the kernel, or by JavaScript where it is not named.
import { readFileSync } from 'node:fs';
import { Generator, oneHot } from '../../../service/static/play/generator.mjs';
import { drawLatent } from '../../../service/static/play/latents.mjs';

const { folder, kernel, addresses } = JSON.parse(readFileSync(0, 'utf8'));
const { network: config } = JSON.parse(readFileSync(`${folder}/manifest.json`, 'utf8'));
const weights = new Uint8Array(readFileSync(`${folder}/generator.safetensors`)).buffer;
const generator = await Generator.load(config, weights, kernel && readFileSync(kernel));
const images = addresses.map(({ seed, index, label, psi }) => {
  const z = drawLatent(seed, index, generator.zDim).map((value) => value * Math.fround(psi));
  const rgba = generator.mint(z, oneHot(label, generator.numClasses));
  const kept = rgba.filter((_, k) => k % 4 < generator.channels);
  return Buffer.from(kept).toString('base64');
});
console.log(JSON.stringify({ hasKernel: generator.hasKernel, images }));
