// A GAN of numbers, trained in the page: two networks of two hidden layers, relativistic or classic losses, R1 and R2.
// The penalties need the derivative of a derivative. So D runs forward with a tangent, d D / d x, beside each value,
// and one backward pass goes through both.

const WIDTH = 32, LATENT = 4, SLOPE = 0.2, BETA2 = 0.95;

// Mulberry32: the page is to do the same again after "Begin anew".
export function randomNumbers(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal };
}

const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// A multilayer perceptron inputs -> WIDTH -> WIDTH -> 1 with leaky ReLU; weights in one array, for Adam.
class Network {
  constructor(inputs, normal) {
    this.sizes = [inputs, WIDTH, WIDTH, 1];
    this.layers = [];
    let total = 0;
    for (let k = 0; k < 3; k++) {
      const [a, b] = [this.sizes[k], this.sizes[k + 1]];
      this.layers.push({ a, b, w: total, bias: total + a * b });
      total += a * b + b;
    }
    this.values = new Float64Array(total);
    for (const { a, b, w } of this.layers)
      for (let i = 0; i < a * b; i++) this.values[w + i] = normal() * Math.sqrt((w ? 2 : 1) / a) * (b === 1 ? 0.5 : 1);
    this.gradient = new Float64Array(total);
    this.m2 = new Float64Array(total);
    this.steps = 0;
  }

  // Values and tangents of every layer for one input; `tangent` is the direction in which the input moves.
  forward(x, tangent = null) {
    const trace = [{ x, t: tangent }];
    this.layers.forEach(({ a, b, w, bias }, k) => {
      const out = new Float64Array(b), move = tangent ? new Float64Array(b) : null, mask = new Float64Array(b).fill(1);
      const { x: from, t } = trace[k];
      for (let j = 0; j < b; j++) {
        let sum = this.values[bias + j], along = 0;
        for (let i = 0; i < a; i++) {
          const weight = this.values[w + j * a + i];
          sum += weight * from[i];
          if (t) along += weight * t[i];
        }
        if (k < 2 && sum < 0) mask[j] = SLOPE;
        out[j] = mask[j] * sum;
        if (move) move[j] = mask[j] * along;
      }
      trace.push({ x: out, t: move, mask });
    });
    return trace;
  }

  // Adds the gradient of gx * output + gt * (tangent of the output); returns the gradient of the input's value.
  backward(trace, gx, gt = 0) {
    let dx = [gx], dt = [gt];
    for (let k = 2; k >= 0; k--) {
      const { a, b, w, bias } = this.layers[k], { x: from, t } = trace[k], { mask } = trace[k + 1];
      const nextX = new Float64Array(a), nextT = new Float64Array(a);
      for (let j = 0; j < b; j++) {
        const ex = dx[j] * mask[j], et = dt[j] * mask[j];
        this.gradient[bias + j] += ex;
        for (let i = 0; i < a; i++) {
          const at = w + j * a + i;
          this.gradient[at] += ex * from[i] + (t ? et * t[i] : 0);
          nextX[i] += ex * this.values[at];
          nextT[i] += et * this.values[at];
        }
      }
      dx = nextX; dt = nextT;
    }
    return dx;
  }

  // Adam without a first moment, as the presets have it.
  update(rate) {
    this.steps++;
    const unbias = 1 - BETA2 ** this.steps;
    for (let i = 0; i < this.values.length; i++) {
      const g = this.gradient[i];
      this.m2[i] = BETA2 * this.m2[i] + (1 - BETA2) * g * g;
      this.values[i] -= rate * g / (Math.sqrt(this.m2[i] / unbias) + 1e-8);
    }
    this.gradient.fill(0);
  }
}

const BUMPS = { one: [[4, 1.25]], two: [[1, 0.7], [7, 0.7]], three: [[0, 0.35], [4, 0.35], [8, 0.35]] };

export class Gan {
  constructor({ seed = 0, data = 'one', batch = 64 } = {}) {
    Object.assign(this, randomNumbers(seed), { data, batch, shown: 0 });
    this.G = new Network(LATENT, this.normal);
    this.D = new Network(1, this.normal);
  }

  real(count) {
    const bumps = BUMPS[this.data];
    return Array.from({ length: count }, () => {
      const [mean, sd] = bumps[Math.floor(this.uniform() * bumps.length)];
      return mean + sd * this.normal();
    });
  }

  latents(count) { return Array.from({ length: count }, () => Array.from({ length: LATENT }, this.normal)); }
  points(count) { return this.latents(count).map((z) => this.scale(this.G.forward(z).at(-1).x[0])); }
  // Both networks work on numbers near 0; the data are around 4.
  scale(output) { return 4 + 3 * output; }
  judge(x) { return this.D.forward([(x - 4) / 3]).at(-1).x[0]; }

  // One step of G, then one of D; returns both losses.
  step({ rate, gamma, objective }) {
    const n = this.batch, normalised = (x) => (x - 4) / 3;
    let loss_G = 0, loss_D = 0;

    const real = this.real(n).map(normalised);
    this.latents(n).forEach((z, i) => {
      const made = this.G.forward(z), judged = this.D.forward([made.at(-1).x[0]]), fake = judged.at(-1).x[0];
      const margin = objective === 'classic' ? fake : fake - this.D.forward([real[i]]).at(-1).x[0];
      loss_G += softplus(-margin) / n;
      const [towards] = this.D.backward(judged, -sigmoid(-margin) / n);
      this.G.backward(made, towards);
    });
    this.D.gradient.fill(0); // what G's step left in it
    this.G.update(rate);

    this.latents(n).forEach((z, i) => {
      const fakeX = this.G.forward(z).at(-1).x[0];
      const onReal = this.D.forward([real[i]], [1]), onFake = this.D.forward([fakeX], [1]);
      const [a, b] = [onReal.at(-1).x[0], onFake.at(-1).x[0]];
      let toReal, toFake;
      if (objective === 'classic') {
        loss_D += (softplus(-a) + softplus(b)) / n;
        [toReal, toFake] = [-sigmoid(-a), sigmoid(b)];
      } else {
        loss_D += softplus(b - a) / n;
        [toReal, toFake] = [-sigmoid(b - a), sigmoid(b - a)];
      }
      this.D.backward(onReal, toReal / n, gamma * onReal.at(-1).t[0] / n);
      this.D.backward(onFake, toFake / n, gamma * onFake.at(-1).t[0] / n);
    });
    this.D.update(rate);
    this.shown += n;
    return { loss_G, loss_D };
  }
}
