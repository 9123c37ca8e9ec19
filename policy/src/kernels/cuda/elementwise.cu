// Rotary embedding and SwiGLU's gate: see rotary.rs and swiglu.rs. A thread computes one pair or one element.

// Pairs are neighbours, or the halves of `2 half` elements; further elements of a head of `width` are copied.
extern "C" __global__ void rotate(const float* x, const float* cos, const float* sin, long heads_in_all, int heads, int width, int half,
                                  int neighbours, int back, float* out) {
  int each = width - half;
  long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= heads_in_all * each) return;
  long head = at / each;
  int i = at % each;
  const float* from = x + head * width;
  float* to = out + head * width;
  if (i >= half) {
    to[half + i] = from[half + i];
    return;
  }
  long angle = head / heads * half + i;
  int p = neighbours ? 2 * i : i, q = neighbours ? 2 * i + 1 : i + half;
  float c = cos[angle], s = back ? -sin[angle] : sin[angle], a = from[p], b = from[q];
  to[p] = a * c - b * s;
  to[q] = a * s + b * c;
}
EXPORT(rotate)

extern "C" __global__ void swiglu_forward(const float* a, const float* b, long n, float* out) {
  long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) out[i] = a[i] * sigmoid(a[i]) * b[i];
}
EXPORT(swiglu_forward)

extern "C" __global__ void swiglu_backward(const float* a, const float* b, const float* g, long n, float* da, float* db) {
  long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float s = sigmoid(a[i]);
  da[i] = g[i] * b[i] * s * (1.0f + a[i] * (1.0f - s));
  db[i] = a[i] * s * g[i];
}
EXPORT(swiglu_backward)
