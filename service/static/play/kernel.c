// Convolutions of generator.mjs in WebAssembly SIMD. build_kernel.sh makes kernel.wasm of this.
//
// A plane is one channel: rows of `stride` = width + 1 floats, whose last is 0, between margins of zeros. So the
// neighbours of a pixel are at fixed distances, beyond the edges, too, and a plane is one run of `run` floats.

typedef float f4 __attribute__((vector_size(16)));
typedef float f4_anywhere __attribute__((vector_size(16), aligned(4)));

static f4 load(const float *at) { return *(const f4_anywhere *)at; }
static f4 splat(float x) { return (f4){x, x, x, x}; }

static void finish(f4 sum, const float *bias, const float *residual, float *output) {
  if (bias) {
    sum += splat(*bias);
    sum = __builtin_wasm_max_f32x4(sum, sum * 0.2f);  // leaky ReLU
  }
  if (residual) sum += load(residual);
  *(f4_anywhere *)output = sum;
}

// Once for each of four channels, by name: an array of sums would be kept in memory.
#define FOUR(DO) DO(0) DO(1) DO(2) DO(3)
#define DECLARE(k) f4 left##k = {0}, right##k = {0};
#define ADD(k) left##k += left * splat(w[k]), right##k += right * splat(w[k]);
#define FINISH(k)                                                                                             \
  if (k < count) {                                                                                            \
    int place = k * plane + at;                                                                               \
    finish(left##k, bias ? bias + k : 0, residual ? residual + place : 0, output + place);                    \
    finish(right##k, bias ? bias + k : 0, residual ? residual + place + 4 : 0, output + place + 4);           \
  }

// Four output channels of one group, from `channels` input channels, with size x size weights.
// input and output point at the first pixel of their first planes, which are `plane` floats apart.
// weights: [channels][size * size][4]. bias (then leaky ReLU) and residual (then sum) may be null.
// count: how many of the four channels exist.
__attribute__((export_name("conv"))) void conv(const float *input, const float *weights, const float *bias,
                                               const float *residual, float *output, int channels, int count,
                                               int plane, int stride, int run, int size) {
  const float *corner = input - size / 2 * (stride + 1);
  for (int at = 0; at < run; at += 8) {
    FOUR(DECLARE)
    const float *w = weights;
    for (int channel = 0; channel < channels; channel++)
      for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++, w += 4) {
          const float *near = corner + channel * plane + y * stride + x + at;
          f4 left = load(near), right = load(near + 4);
          FOUR(ADD)
        }
    FOUR(FINISH)
  }
  for (int k = 0; k < count; k++) {
    float *pixels = output + k * plane;
    for (int x = stride - 1; x < run; x += stride) pixels[x] = 0;
    for (int x = run; x < run + 8; x++) pixels[x] = 0;
  }
}
