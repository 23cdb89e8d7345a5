// Latent scheme 1 (models/latents.py) in the browser: the same float32 values and the same drawn labels.

const MASK = 2n ** 64n - 1n;
const ROUNDS = 10;

// Philox 4x64 (Salmon et al., SC 2011): four 64-bit numbers of a counter and a key.
function philox([c0, c1, c2, c3], [k0, k1]) {
  for (let round = 0; round < ROUNDS; round++) {
    const p0 = 0xd2e7470ee14c6c93n * c0, p1 = 0xca5a826395121157n * c2;
    [c0, c1, c2, c3] = [(p1 >> 64n) ^ c1 ^ k0, p1 & MASK, (p0 >> 64n) ^ c3 ^ k1, p0 & MASK];
    k0 = (k0 + 0x9e3779b97f4a7c15n) & MASK;
    k1 = (k1 + 0xbb67ae8584caa73bn) & MASK;
  }
  return [c0, c1, c2, c3];
}

// RandomState(Philox(key=[seed, 1], counter=[0, 0, index, 0])), with as much of it as scheme 1 needs.
class Stream {
  constructor(seed, index) {
    this.key = [BigInt(seed), 1n];
    this.index = BigInt(index);
    this.block = 0n;
    this.buffer = [];
    this.normal = null;
    this.half = null;
  }

  next64() {
    if (!this.buffer.length) this.buffer = philox([++this.block, 0n, this.index, 0n], this.key);
    return this.buffer.shift();
  }

  next32() { // the lower half first
    if (this.half !== null) {
      const half = this.half;
      this.half = null;
      return half;
    }
    const whole = this.next64();
    this.half = Number(whole >> 32n);
    return Number(whole & 0xffffffffn);
  }

  nextUniform() { // 0 <= u < 1
    return Number(this.next64() >> 11n) * 2 ** -53;
  }

  nextNormal() { // the polar method, which makes two at once
    if (this.normal !== null) {
      const normal = this.normal;
      this.normal = null;
      return normal;
    }
    let x1, x2, r2;
    do {
      x1 = 2 * this.nextUniform() - 1;
      x2 = 2 * this.nextUniform() - 1;
      r2 = x1 * x1 + x2 * x2;
    } while (r2 >= 1 || r2 === 0);
    const factor = Math.sqrt(-2 * Math.log(r2) / r2);
    this.normal = factor * x1;
    return factor * x2;
  }

  nextBelow(bound) { // masked rejection
    if (bound === 1) return 0;
    const mask = 2 ** (32 - Math.clz32(bound - 1)) - 1;
    for (;;) {
      const value = (this.next32() & mask) >>> 0;
      if (value < bound) return value;
    }
  }
}

// z, Float32Array(zDim), standard normal; seed and index are 0 .. 2^53 - 1.
export function drawLatent(seed, index, zDim) {
  const stream = new Stream(seed, index);
  return Float32Array.from({ length: zDim }, () => stream.nextNormal());
}

// The label of an image whose address names none: 0 .. numClasses - 1, drawn after z.
export function drawLabel(seed, index, zDim, numClasses) {
  const stream = new Stream(seed, index);
  for (let k = 0; k < zDim; k++) stream.nextNormal();
  return stream.nextBelow(numClasses);
}

// ((1 - t) z0 + t z1) / sqrt((1 - t)^2 + t^2) in float64, rounded once: every operation is correctly rounded.
export function mixLatents(z0, z1, t) {
  const s = 1 - t, norm = Math.sqrt(s * s + t * t);
  return z0.map((value, k) => (s * value + t * z1[k]) / norm);
}

const MOST = 16; // of a value that is not drawn

// base64url of little-endian float32 values -> Float32Array. Throws an Error that says what is wrong.
export function decodeLatent(text) {
  let bytes = new Uint8Array(0);
  if (/^[\w-]+$/.test(text) && text.length % 4 !== 1)
    bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (character) => character.charCodeAt(0));
  const values = bytes.length % 4 ? [] : new Float32Array(bytes.buffer);
  if (!values.length || encodeLatent(values) !== text) throw new Error('latent: must be float32 values, little-endian, as base64url without padding');
  const wrong = values.findIndex((value) => !(Math.abs(value) <= MOST) || Object.is(value, -0));
  if (wrong >= 0) throw new Error(`latent[${wrong}]: must be from -${MOST} to ${MOST}, and not -0`);
  return values;
}

// Float32Array -> base64url, little-endian, as all processors that run browsers are.
export function encodeLatent(values) {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
