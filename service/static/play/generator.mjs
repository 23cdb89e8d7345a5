// Runs a ResNet generator (models/networks.py) on its safetensors weights. Pixels are those of the service within
// 1 of 255.

import { Convolutions, LEAK, shapeOf } from './convolutions.mjs';
import { listLevels } from './level_edits.mjs';
import { parseSafetensors } from './safetensors.mjs';

// y[o] = sum of matrix[o][i] * x[i]
function linear({ shape: [outputs, inputs], values }, x) {
  return Float32Array.from({ length: outputs }, (_, o) => {
    let sum = 0;
    for (let i = 0, at = o * inputs; i < inputs; i++, at++) sum += values[at] * x[i];
    return sum;
  });
}

const leaky = (x) => x.map((value) => (value < 0 ? LEAK * value : value));
const add = (a, ...others) => a.map((value, k) => others.reduce((sum, other) => sum + other[k], value));

// Calls `use` with where each row of a rectangle begins and ends in the planes of a level.
function eachRow({ first, plane, stride, height, width }, unit, rectangle, use) {
  const [y0, x0, y1, x1] = rectangle ?? [0, 0, height, width], corner = unit * plane + first;
  for (let y = y0; y < y1; y++) use(corner + y * stride + x0, corner + y * stride + x1);
}

const nameSource = ({ level, z, classWeights }) => JSON.stringify([level, ...z, ...classWeights]);

export class Generator {
  // config: a manifest's `network`. weights: an ArrayBuffer of generator.safetensors.
  // kernel: the bytes of kernel.wasm; without it, or where it may not run, JavaScript does the same more slowly.
  static async load(config, weights, kernel) {
    const generator = new Generator(config, parseSafetensors(weights));
    if (kernel) await generator.convolutions.useKernel(kernel);
    return generator;
  }

  constructor(config, tensors) {
    const { network } = config;
    if (network.kind !== 'resnet') throw new Error(`a browser runs generators of kind resnet, not ${network.kind}`);
    this.zDim = config.z_dim;
    this.numClasses = config.num_classes ?? config.labels;
    [this.channels, this.height, this.width] = config.shape;
    this.network = network;
    this.tensors = tensors;
    this.levels = listLevels(network).map(({ units, height, width }) => shapeOf(units, height, width));
    const most = Math.max(...this.levels.map(({ channels, plane }) => (this.#inner * channels + 4) * plane));
    this.convolutions = new Convolutions(tensors, most, network.group > 0);
    this.floats = this.convolutions.memory.floats;
    this.kept = []; // of the last image, by level: {key, planes}, before the level's edits
    this.sources = new Map(); // what the last image pasted: the planes of a level, by what they depend on
  }

  get #inner() { // channels inside a block
    return this.network.group ? 2 : 1;
  }

  #tensor(name) {
    if (!this.tensors[name]) throw new Error(`the weights lack ${name}, which the manifest's network has`);
    return this.tensors[name];
  }

  #prior(z, classWeights) {
    const { steps } = this.network.prior, { shape: [, width], values: times } = this.#tensor('prior.time');
    const embed = this.numClasses ? linear(this.#tensor('prior.embed.weight'), classWeights) : new Float32Array(width);
    for (let step = 0; step < steps; step++) {
      const time = times.subarray(step * width, (step + 1) * width);
      let h = leaky(add(linear(this.#tensor('prior.into.weight'), z), time, embed));
      h = leaky(add(linear(this.#tensor('prior.hidden.weight'), h), this.#tensor('prior.bias').values));
      const velocity = linear(this.#tensor('prior.out.weight'), h);
      z = z.map((value, k) => value + velocity[k] / steps);
    }
    return z;
  }

  #start(z, classWeights, buffer) { // the lowest level, from the latent
    const { network, floats } = this, shape = this.levels[0];
    if (network.prior) z = this.#prior(z, classWeights);
    const embedded = this.numClasses ? linear(this.#tensor('embed.weight'), classWeights) : [];
    const projected = linear(this.#tensor('project.weight'), Float32Array.of(...z, ...embedded));
    const hasBasis = (network.input_layer ?? network.start ?? 'basis') === 'basis';
    const basis = hasBasis ? this.#tensor('basis').values : null, { height, width, stride, plane } = shape;
    floats.fill(0, buffer, buffer + shape.channels * plane);
    for (let channel = 0, k = 0; channel < shape.channels; channel++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++, k++) {
          const place = buffer + channel * plane + shape.first + y * stride + x;
          floats[place] = basis ? projected[channel] * basis[k] : projected[k];
        }
  }

  // Bilinear doubling, as torch does it with align_corners=False: weights of 1/4 and 3/4, edges repeated.
  #double(input, low, output, high, channels) {
    const { floats } = this, upper = new Float32Array(low.width);
    floats.fill(0, output, output + channels * high.plane);
    for (let channel = 0; channel < channels; channel++)
      for (let y = 0; y < high.height; y++) {
        const near = y >> 1, far = Math.min(low.height - 1, Math.max(0, near + (y & 1 ? 1 : -1)));
        const plane = input + channel * low.plane + low.first;
        const a = plane + near * low.stride, b = plane + far * low.stride;
        const row = output + channel * high.plane + high.first + y * high.stride;
        for (let x = 0; x < low.width; x++) upper[x] = 0.75 * floats[a + x] + 0.25 * floats[b + x];
        for (let x = 0; x < low.width; x++) {
          floats[row + 2 * x] = 0.75 * upper[x] + 0.25 * upper[Math.max(0, x - 1)];
          floats[row + 2 * x + 1] = 0.75 * upper[x] + 0.25 * upper[Math.min(low.width - 1, x + 1)];
        }
      }
  }

  // h becomes h + branch(h); returns the buffers in their new roles, h first.
  #block(layer, [h, a, b], shape) {
    const name = `layers.${layer}`, inner = this.#inner * shape.channels, { convolutions } = this;
    convolutions.clear(a, shape, inner);
    convolutions.clear(b, shape, inner);
    if (!this.network.group) {
      convolutions.convolve(`${name}.conv1.weight`, h, a, shape, `${name}.bias`);
      convolutions.convolve(`${name}.conv2.weight`, a, b, shape, '', h);
      return [b, a, h];
    }
    convolutions.convolve(`${name}.conv1.weight`, h, a, shape, `${name}.bias1`);
    convolutions.convolve(`${name}.conv2.weight`, a, b, shape, `${name}.bias2`);
    convolutions.clear(a, shape, shape.channels);
    convolutions.convolve(`${name}.conv3.weight`, b, a, shape, '', h);
    return [a, b, h];
  }

  // Doubles the level below, which is in the first buffer; returns the buffers in their new roles, h first.
  #grow(level, [h, a, b]) {
    const low = this.levels[level - 1], shape = this.levels[level], { blocks } = this.network;
    this.convolutions.clear(a, low, shape.channels);
    this.convolutions.convolve(`layers.${level * (blocks + 1) - 1}.mix.weight`, h, a, low);
    this.#double(a, low, b, shape, shape.channels);
    return [b, a, h];
  }

  #runLevel(level, { z, classWeights }, buffers) {
    const { blocks } = this.network, first = level * (blocks + 1);
    if (level) buffers = this.#grow(level, buffers); else this.#start(z, classWeights, buffers[0]);
    for (let block = 0; block < blocks; block++) buffers = this.#block(first + block, buffers, this.levels[level]);
    return buffers;
  }

  // Computes the levels up to `last` with their edits; returns the buffers, the last level's first. Begins above the
  // highest level in `kept` that would be the same, and keeps the others there.
  #compute(inputs, last, kept = []) {
    const { z, classWeights, pastes = [], units = [] } = inputs, start = [...z, ...classWeights], edits = [...pastes, ...units];
    const keys = this.levels.map((_, level) => JSON.stringify([start, edits.filter((edit) => edit.level < level)]));
    let buffers = this.convolutions.buffers, begin = last;
    while (begin >= 0 && kept[begin]?.key !== keys[begin]) begin--;
    for (let level = Math.max(begin, 0); level <= last; level++) {
      if (level === begin) this.floats.set(kept[level].planes, buffers[0]);
      else {
        buffers = this.#runLevel(level, inputs, buffers);
        kept[level] = { key: keys[level], planes: this.#copyPlanes(buffers[0], level) };
      }
      this.#edit(buffers[0], level, pastes, units);
    }
    return buffers;
  }

  #copyPlanes(buffer, level) {
    const { channels, plane } = this.levels[level];
    return this.floats.slice(buffer, buffer + channels * plane);
  }

  #edit(buffer, level, pastes, units) {
    const shape = this.levels[level];
    for (const paste of pastes) {
      if (paste.level !== level) continue;
      const planes = this.sources.get(nameSource(paste));
      for (let unit = 0; unit < shape.channels; unit++)
        eachRow(shape, unit, paste.rectangle, (from, to) => this.floats.set(planes.subarray(from, to), buffer + from));
    }
    for (const { level: where, unit, value, rectangle } of units)
      if (where === level) eachRow(shape, unit, rectangle, (from, to) => this.floats.fill(value, buffer + from, buffer + to));
  }

  #findSources(pastes) {
    this.sources = new Map(pastes.map((paste) => {
      const name = nameSource(paste), { level } = paste;
      return [name, this.sources.get(name) ?? this.#copyPlanes(this.#compute(paste, level)[0], level)];
    }));
  }

  // inputs: of makeInputs. z: Float32Array(zDim), after psi; classWeights: Float32Array(numClasses), one-hot or a mixture;
  // pastes and units: edits of feature maps, in the order in which they apply.
  // Returns RGBA, Uint8ClampedArray(height * width * 4).
  mint(inputs) {
    const last = this.levels.length - 1;
    this.#findSources(inputs.pastes ?? []);
    const [h, a] = this.#compute(inputs, last, this.kept);
    this.convolutions.convolve('out.weight', h, a, this.levels[last]);
    return this.#paint(a, this.levels[last]);
  }

  // The feature maps of a level after its edits: Float32Array of [unit][row][column].
  readLevel(inputs, level) {
    this.#findSources(inputs.pastes ?? []);
    const [buffer] = this.#compute(inputs, level, this.kept), shape = this.levels[level];
    const maps = new Float32Array(shape.channels * shape.height * shape.width);
    let next = 0;
    for (let unit = 0; unit < shape.channels; unit++)
      eachRow(shape, unit, null, (from, to) => {
        maps.set(this.floats.subarray(buffer + from, buffer + to), next);
        next += shape.width;
      });
    return maps;
  }

  #paint(image, { plane, first, stride }) {
    const { floats } = this, { fround } = Math, rgba = new Uint8ClampedArray(4 * this.height * this.width);
    for (let y = 0, k = 0; y < this.height; y++)
      for (let x = 0; x < this.width; x++, k += 4) {
        for (let c = 0; c < 3; c++) {
          const value = floats[image + Math.min(c, this.channels - 1) * plane + first + y * stride + x];
          rgba[k + c] = fround(fround(value + 1) * 127.5); // a Uint8ClampedArray rounds half to even and clips
        }
        rgba[k + 3] = 255;
      }
    return rgba;
  }
}
