// Rows to their experts and back: see experts.rs, whose sums these are.

// Row p of `out` is row row_of[p] of x.
extern "C" __global__ void gather_rows(const float* x, const int* row_of, long n, int d, float* out) {
  long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at < n) out[at] = x[static_cast<long>(row_of[at / d]) * d + at % d];
}
EXPORT(gather_rows)

// sum_j w_rj y_place(r, j), where `weights` may be absent: all 1.
extern "C" __global__ void add_places(const float* y, const float* weights, const int* place, long n, int d, int k, float* out) {
  long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= n) return;
  long row = at / d;
  float sum = 0.0f;
  for (long j = row * k; j < (row + 1) * k; j++) sum = fmaf(weights ? weights[j] : 1.0f, y[static_cast<long>(place[j]) * d + at % d], sum);
  out[at] = sum;
}
EXPORT(add_places)

// dw_rj = g_r . y_place(r, j): 16 threads a sum.
extern "C" __global__ void weight_gradients(const float* g, const float* y, const int* place, long n, int d, int k, float* dw) {
  long at = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / LANES;
  // Threads without a sum take part in the last one's, since a warp's sums are one exchange.
  long mine = min(at, n - 1);
  const float* left = g + mine / k * d;
  const float* right = y + static_cast<long>(place[mine]) * d;
  float sum = 0.0f;
  for (int i = threadIdx.x % LANES; i < d; i += LANES) sum = fmaf(left[i], right[i], sum);
  sum = add_lanes(sum);
  if (at < n && threadIdx.x % LANES == 0) dw[at] = sum;
}
EXPORT(weight_gradients)

// dy_place(r, j) = w_rj g_r; slot_of says which (r, j) a place is.
extern "C" __global__ void place_gradients(const float* g, const float* weights, const int* slot_of, long n, int d, int k, float* dy) {
  long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= n) return;
  int slot = slot_of[at / d];
  dy[at] = weights[slot] * g[static_cast<long>(slot / k) * d + at % d];
}
EXPORT(place_gradients)
