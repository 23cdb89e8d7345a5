// The convolutions of a generator, and the memory that its feature maps and weights are in. They run in WebAssembly
// (kernel.c, which says what a plane is), or in JavaScript without it.

export const LEAK = 0.2;
const PAGE = 65536;

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
export function shapeOf(channels, height, width) {
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

export class Convolutions {
  // tensors: those of generator.safetensors; most: how many floats each of the three buffers has.
  // isGrouped: whether `conv2` of a block is in groups, which have as many channels as its weights have inputs.
  constructor(tensors, most, isGrouped) {
    this.tensors = tensors;
    this.isGrouped = isGrouped;
    this.hasKernel = false;
    this.#reserve(most);
  }

  #reserve(most) { // the memory: three buffers, then the weights of convolutions
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

  #find(name) {
    if (!this.layouts[name]) throw new Error(`the weights lack ${name}, which the manifest's network has`);
    return this.layouts[name];
  }

  // Weights in the kernel's order: [group][a group's outputs / 4, rounded up][inputs][taps][4 outputs].
  #layOut(name, [outputs, inputs, size]) {
    const groups = this.isGrouped && name.endsWith('.conv2.weight') ? outputs / inputs : 1;
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

  // bytes: of kernel.wasm.
  async useKernel(bytes) {
    if (!this.memory.wasm) return;
    try {
      const { instance } = await WebAssembly.instantiate(bytes, { env: { memory: this.memory.wasm } });
      this.conv = instance.exports.conv;
      this.hasKernel = true;
    } catch (error) {
      console.warn(`the kernel cannot run here, JavaScript does: ${error.message}`);
    }
  }

  // output = conv(input), with bias and leaky ReLU where `bias` names one, and plus residual where that is not null.
  convolve(name, input, output, { first, plane, stride, run }, bias = '', residual = null) {
    const { place, inputs, size, groups, each, rows, block } = this.#find(name);
    const bytes = (at) => 4 * at;
    for (let group = 0; group < groups; group++)
      for (let row = 0; row < rows; row++) {
        const o = group * each + 4 * row, at = first + o * plane, count = Math.min(4, each - 4 * row);
        const from = bytes(input + first + group * inputs * plane);
        const weights = bytes(place + (group * rows + row) * block);
        const biasAt = bias ? bytes(this.#find(bias).place + o) : 0;
        const residualAt = residual === null ? 0 : bytes(residual + at);
        this.conv(from, weights, biasAt, residualAt, bytes(output + at), inputs, count, plane, stride, run, size);
      }
  }

  // Clears the margins, where planes of another size were.
  clear(buffer, { first, run, plane }, channels) {
    const { floats } = this.memory;
    for (let channel = 0; channel < channels; channel++) {
      const place = buffer + channel * plane;
      floats.fill(0, place, place + first);
      floats.fill(0, place + first + run, place + plane);
    }
  }
}
