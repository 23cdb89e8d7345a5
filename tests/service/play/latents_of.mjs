// Prints z as bits, and drawn labels, of each case of a JSON list on standard input.
import { readFileSync } from 'node:fs';
import { drawLabel, drawLatent } from '../../../service/static/play/latents.mjs';

const cases = JSON.parse(readFileSync(0, 'utf8'));
console.log(JSON.stringify(cases.map(({ seed, index, z_dim, classes }) => ({
  bits: [...new Uint32Array(drawLatent(seed, index, z_dim).buffer)],
  labels: classes.map((count) => drawLabel(seed, index, z_dim, count)),
}))));
