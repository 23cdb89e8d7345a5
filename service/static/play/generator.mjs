// Runs a ResNet generator (models/networks.py) on its safetensors weights. Pixels are those of the service within
// 1 of 255. Convolutions run in WebAssembly (kernel.c, which says what a plane is), or in JavaScript without it.

import { parseSafetensors } from './safetensors.mjs';

const LEAK = 0.2, PAGE = 65536;

class Memory { // one block of floats, given out from its beginning; places are indices of floats
  constructor(floats) {
    const pages = Math.ceil((4 * floats + 4096) / PAGE);
    this.wasm = globalThis.WebAssembly ? new WebAssembly.Memory({ initial: pages }) : null; // some modes of privacy take it away
    this.floats = new Float32Array(this.wasm?.buffer ?? pages * PAGE / 4);
    this.next = 512; // below is the kernel's stack
  }

  take(count) {
    const place = this.next;
    this.next += Math.ceil(count / 4) * 4;
    return place;
  }
}

// The planes of `channels` images of height x width.
function shapeOf(channels, height, width) {
  const stride = width + 1, run = height * stride, margin = stride + 1;
  return { channels, height, width, stride, run, first: margin, plane: Math.ceil((run + 2 * margin + 8) / 4) * 4 };
}

// As `conv` of kernel.c, on the same arguments; addresses are in bytes.
function convInJavaScript(floats, input, weights, bias, residual, output, channels, count, plane, stride, run, size) {
  const taps = size * size, reach = size >> 1, sums = new Float32Array(run);
  for (let k = 0; k < count; k++) {
    sums.fill(0);
    for (let channel = 0, w = weights / 4 + k; channel < channels; channel++)
      for (let tap = 0; tap < taps; tap++, w += 4) {
        const weight = floats[w];
        const from = input / 4 + channel * plane + (Math.floor(tap / size) - reach) * stride + tap % size - reach;
        for (let at = 0; at < run; at++) sums[at] += floats[from + at] * weight;
      }
    const place = output / 4 + k * plane;
    for (let at = 0; at < run; at++) {
      let sum = sums[at];
      if (bias) {
        sum += floats[bias / 4 + k];
        if (sum < 0) sum *= LEAK;
      }
      if (residual) sum += floats[residual / 4 + k * plane + at];
      floats[place + at] = at % stride === stride - 1 ? 0 : sum;
    }
  }
}

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

export class Generator {
  // config: a manifest's `network`. weights: an ArrayBuffer of generator.safetensors.
  // kernel: the bytes of kernel.wasm; without it, or where it may not run, JavaScript does the same more slowly.
  static async load(config, weights, kernel) {
    const generator = new Generator(config, parseSafetensors(weights));
    if (kernel && generator.memory.wasm) await generator.#useKernel(kernel);
    return generator;
  }

  constructor(config, tensors) {
    const { network } = config;
    if (network.kind !== 'resnet') throw new Error(`a browser runs generators of kind resnet, not ${network.kind}`);
    this.zDim = config.z_dim;
    this.numClasses = config.num_classes ?? config.labels;
    [this.channels, this.height, this.width] = config.shape;
    this.network = network;
    this.hasKernel = false;
    this.tensors = tensors;
    this.levels = network.widths.map((width, level) => shapeOf(width, network.base << level, network.base << level));
    this.#reserve();
  }

  get #inner() { // channels inside a block
    return this.network.group ? 2 : 1;
  }

  #tensor(name) {
    if (!this.tensors[name]) throw new Error(`the weights lack ${name}, which the manifest's network has`);
    return this.tensors[name];
  }

  #reserve() { // the memory: three buffers of the largest planes, then the weights of convolutions
    const most = Math.max(...this.levels.map(({ channels, plane }) => (this.#inner * channels + 4) * plane));
    this.layouts = {};
    for (const [name, { shape, values }] of Object.entries(this.tensors))
      if (name.endsWith('.weight') && shape.length === 4) this.layouts[name] = this.#layOut(name, shape);
      else if (/^layers.*[.]bias/.test(name)) this.layouts[name] = { floats: values.length };
    const all = Object.values(this.layouts);
    this.memory = new Memory(all.reduce((sum, { floats }) => sum + floats + 4, 3 * (most + 4)));
    this.buffers = [0, 1, 2].map(() => this.memory.take(most));
    for (const [name, layout] of Object.entries(this.layouts)) {
      layout.place = this.memory.take(layout.floats);
      if (layout.rows) this.#pack(this.tensors[name].values, layout);
      else this.memory.floats.set(this.tensors[name].values, layout.place);
    }
    this.conv = (...places) => convInJavaScript(this.memory.floats, ...places);
  }

  // Weights in the kernel's order: [group][a group's outputs / 4, rounded up][inputs][taps][4 outputs].
  #layOut(name, [outputs, inputs, size]) {
    const groups = this.network.group && name.endsWith('.conv2.weight') ? outputs / inputs : 1;
    const each = outputs / groups, rows = Math.ceil(each / 4), block = 4 * inputs * size * size;
    return { outputs, inputs, size, groups, each, rows, block, floats: groups * rows * block };
  }

  #pack(values, { place, outputs, each, rows, block }) {
    for (let o = 0; o < outputs; o++) {
      const within = o % each, row = Math.floor(o / each) * rows + (within >> 2);
      const start = place + row * block + (within & 3);
      for (let at = 0; at < block / 4; at++) this.memory.floats[start + 4 * at] = values[o * block / 4 + at];
    }
  }

  async #useKernel(bytes) {
    try {
      const { instance } = await WebAssembly.instantiate(bytes, { env: { memory: this.memory.wasm } });
      this.conv = instance.exports.conv;
      this.hasKernel = true;
    } catch (error) {
      console.warn(`the kernel cannot run here, JavaScript does: ${error.message}`);
    }
  }

  // output = conv(input), with bias and leaky ReLU where `bias` names one, and plus residual where that is not null.
  #convolve(name, input, output, { first, plane, stride, run }, bias = '', residual = null) {
    this.#tensor(name);
    if (bias) this.#tensor(bias);
    const { place, inputs, size, groups, each, rows, block } = this.layouts[name];
    const bytes = (at) => 4 * at;
    for (let group = 0; group < groups; group++)
      for (let row = 0; row < rows; row++) {
        const o = group * each + 4 * row, at = first + o * plane, count = Math.min(4, each - 4 * row);
        const from = bytes(input + first + group * inputs * plane);
        const weights = bytes(place + (group * rows + row) * block);
        const biasAt = bias ? bytes(this.layouts[bias].place + o) : 0;
        const residualAt = residual === null ? 0 : bytes(residual + at);
        this.conv(from, weights, biasAt, residualAt, bytes(output + at), inputs, count, plane, stride, run, size);
      }
  }

  #clear(buffer, { first, run, plane }, channels) { // the margins, where planes of another size were
    const { floats } = this.memory;
    for (let channel = 0; channel < channels; channel++) {
      const place = buffer + channel * plane;
      floats.fill(0, place, place + first);
      floats.fill(0, place + first + run, place + plane);
    }
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
    const { network, memory: { floats } } = this, shape = this.levels[0];
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
    const { floats } = this.memory, upper = new Float32Array(low.width);
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
    const name = `layers.${layer}`, inner = this.#inner * shape.channels;
    this.#clear(a, shape, inner);
    this.#clear(b, shape, inner);
    if (!this.network.group) {
      this.#convolve(`${name}.conv1.weight`, h, a, shape, `${name}.bias`);
      this.#convolve(`${name}.conv2.weight`, a, b, shape, '', h);
      return [b, a, h];
    }
    this.#convolve(`${name}.conv1.weight`, h, a, shape, `${name}.bias1`);
    this.#convolve(`${name}.conv2.weight`, a, b, shape, `${name}.bias2`);
    this.#clear(a, shape, shape.channels);
    this.#convolve(`${name}.conv3.weight`, b, a, shape, '', h);
    return [a, b, h];
  }

  // Computes the levels up to `last`, each edited by `edit(buffer, level)`; returns the buffers, the last level's first.
  #compute({ z, classWeights }, last, edit = () => {}) {
    let buffers = this.buffers, layer = 0;
    this.#start(z, classWeights, buffers[0]);
    this.levels.slice(0, last + 1).forEach((shape, level) => {
      if (level) {
        const [h, a, b] = buffers, low = this.levels[level - 1];
        this.#clear(a, low, shape.channels);
        this.#convolve(`layers.${layer++}.mix.weight`, h, a, low);
        this.#double(a, low, b, shape, shape.channels);
        buffers = [b, a, h];
      }
      for (let block = 0; block < this.network.blocks; block++) buffers = this.#block(layer++, buffers, shape);
      edit(buffers[0], level);
    });
    return buffers;
  }

  // Calls `use` with the place of each row of a rectangle in a unit's feature map.
  #eachRow(buffer, { first, plane, stride, height, width }, unit, rectangle, use) {
    const [y0, x0, y1, x1] = rectangle ?? [0, 0, height, width], place = buffer + unit * plane + first;
    for (let y = y0; y < y1; y++) use(place + y * stride + x0, place + y * stride + x1);
  }

  #copy({ level, rectangle, ...source }) { // what a paste puts in: its rows, unit by unit
    const [buffer] = this.#compute(source, level), shape = this.levels[level], rows = [];
    for (let unit = 0; unit < shape.channels; unit++)
      this.#eachRow(buffer, shape, unit, rectangle, (from, to) => rows.push(this.memory.floats.slice(from, to)));
    return rows;
  }

  // inputs: of makeInputs. z: Float32Array(zDim), after psi; classWeights: Float32Array(numClasses), one-hot or a mixture;
  // pastes and units: edits of feature maps, in the order in which they apply.
  // Returns RGBA, Uint8ClampedArray(height * width * 4).
  mint({ pastes = [], units = [], ...start }) {
    const { floats } = this.memory, copies = pastes.map((paste) => this.#copy(paste)), last = this.levels.length - 1;
    const [h, a] = this.#compute(start, last, (buffer, level) => {
      const shape = this.levels[level];
      pastes.forEach(({ level: where, rectangle }, k) => {
        const rows = copies[k].values();
        for (let unit = 0; where === level && unit < shape.channels; unit++)
          this.#eachRow(buffer, shape, unit, rectangle, (from) => floats.set(rows.next().value, from));
      });
      for (const { level: where, unit, value, rectangle } of units)
        if (where === level) this.#eachRow(buffer, shape, unit, rectangle, (from, to) => floats.fill(value, from, to));
    });
    this.#convolve('out.weight', h, a, this.levels[last]);
    return this.#paint(a, this.levels[last]);
  }

  #paint(image, { plane, first, stride }) {
    const { floats } = this.memory, { fround } = Math, rgba = new Uint8ClampedArray(4 * this.height * this.width);
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
