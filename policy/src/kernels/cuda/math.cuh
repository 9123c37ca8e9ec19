// Scalar arithmetic of math.rs, operation by operation, so that both give the same bits.

// Partial sums of a reduction: element i goes into lane i % LANES.
constexpr int LANES = 16;

// e^x as exp() of math.rs.
__device__ __forceinline__ float exp_of(float x) {
  float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  float n = fmaf(clamped, 1.44269504f, 12582912.0f) - 12582912.0f;
  float r = fmaf(n, 2.1219444e-4f, fmaf(n, -0.6933594f, clamped));
  float p = 1.0f / 5040.0f;
  p = fmaf(p, r, 1.0f / 720.0f);
  p = fmaf(p, r, 1.0f / 120.0f);
  p = fmaf(p, r, 1.0f / 24.0f);
  p = fmaf(p, r, 1.0f / 6.0f);
  p = fmaf(p, r, 0.5f);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  float scaled = p * __int_as_float((static_cast<int>(n) + 127) << 23);
  return x < -87.0f ? 0.0f : scaled;
}

// ln x as ln() of math.rs.
__device__ __forceinline__ float ln_of(float x) {
  if (!(x > 0.0f) || x == INFINITY) return x == 0.0f ? -INFINITY : x > 0.0f ? x : NAN;
  long long bits = __double_as_longlong(static_cast<double>(x));
  long long exponent = (bits >> 52) - 1023;
  double m = __longlong_as_double((bits & 0xfffffffffffffLL) | 0x3ff0000000000000LL);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent++;
  }
  double s = (m - 1.0) / (m + 1.0), square = s * s;
  double p = 1.0 / 13.0;
  p = fma(p, square, 1.0 / 11.0);
  p = fma(p, square, 1.0 / 9.0);
  p = fma(p, square, 1.0 / 7.0);
  p = fma(p, square, 1.0 / 5.0);
  p = fma(p, square, 1.0 / 3.0);
  p = fma(p, square, 1.0);
  return static_cast<float>(fma(static_cast<double>(exponent), 0.6931471805599453, 2.0 * s * p));
}

// Adds the lanes that 16 neighbouring threads of a warp hold as add_lanes() of math.rs; all of them get the sum. Every thread of the warp
// calls it.
__device__ __forceinline__ float add_lanes(float lane) {
#pragma unroll
  for (int width = LANES / 2; width > 0; width /= 2) lane += __shfl_xor_sync(0xffffffffu, lane, width);
  return lane;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + exp_of(-x)); }

// A number that is the larger the better a score, and then the lower its position, as top_k() of indexer.rs orders them.
__device__ __forceinline__ unsigned long long rank_key(float score, int position) {
  int bits = __float_as_int(score + 0.0f);
  unsigned ordered = static_cast<unsigned>(bits ^ ((bits >> 31) & 0x7fffffff)) ^ 0x80000000u;
  return static_cast<unsigned long long>(ordered) << 32 | (0xffffffffu - static_cast<unsigned>(position));
}
