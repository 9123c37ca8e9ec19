// RMSNorm and LayerNorm: see norm.rs, whose sums these are.
//
// A block takes a few rows into shared memory; 16 threads add one row up, all threads write. The sums of columns run over chunks of rows,
// and the block that comes last adds the chunks' sums in order.

constexpr int THREADS = 128;
constexpr int CHUNK = 32;

// The mean (0 without `centre`) and the reciprocal deviation of a row that lies in shared memory, by the 16 threads that share it.
__device__ __forceinline__ float2 moments(const float* x, int d, bool centre, float eps) {
  int lane = threadIdx.x % LANES;
  float mean = 0.0f, sum = 0.0f;
  if (centre) {
    for (int i = lane; i < d; i += LANES) sum += x[i];
    mean = add_lanes(sum) / static_cast<float>(d);
    sum = 0.0f;
    for (int i = lane; i < d; i += LANES) sum += (x[i] - mean) * (x[i] - mean);
  } else {
    for (int i = lane; i < d; i += LANES) sum = fmaf(x[i], x[i], sum);
  }
  return make_float2(mean, 1.0f / sqrtf(add_lanes(sum) / static_cast<float>(d) + eps));
}

// Fetches the block's rows of x, `each` of d, and gives how many there are.
__device__ __forceinline__ int fetch(float* to, const float* x, long row, int each, int rows, int d) {
  int here = min(static_cast<long>(each), rows - row);
  for (int i = threadIdx.x; i < here * d; i += THREADS) to[i] = x[row * d + i];
  return here;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_forward(const float* x, const float* w, const float* b, float eps, int rows, int d, int each, float* out) {
  DYNAMIC_SHARED(float, shared);
  __shared__ float2 found[THREADS / LANES];
  long row = static_cast<long>(blockIdx.x) * each;
  int here = fetch(shared, x, row, each, rows, d);
  __syncthreads();
  int mine = threadIdx.x / LANES;
  // Threads without a row add one up too, since a warp's sums are one exchange.
  float2 m = moments(shared + min(mine, here - 1) * d, d, b != nullptr, eps);
  if (threadIdx.x % LANES == 0) found[mine] = m;
  __syncthreads();
  for (int at = threadIdx.x; at < here * d; at += THREADS) {
    float2 m = found[at / d];
    int i = at % d;
    float y = (shared[at] - m.x) * m.y * w[i];
    out[row * d + at] = b != nullptr ? y + b[i] : y;
  }
}
EXPORT(norm_forward)

// dx, and each row's mean and reciprocal deviation for norm_columns.
extern "C" __global__ void __launch_bounds__(THREADS)
    norm_backward(const float* x, const float* w, const float* g, int centre, float eps, int rows, int d, int each, float* dx,
                  float2* found) {
  DYNAMIC_SHARED(float, shared);
  __shared__ float4 of_row[THREADS / LANES];
  float* shared_g = shared + each * d;
  long row = static_cast<long>(blockIdx.x) * each;
  int here = fetch(shared, x, row, each, rows, d);
  fetch(shared_g, g, row, each, rows, d);
  __syncthreads();
  int mine = threadIdx.x / LANES, lane = threadIdx.x % LANES, at = min(mine, here - 1) * d;
  float2 m = moments(shared + at, d, centre != 0, eps);
  float along = 0.0f, offset = 0.0f;
  for (int i = lane; i < d; i += LANES) {
    float u = shared_g[at + i] * w[i];
    along = fmaf(u, (shared[at + i] - m.x) * m.y, along);
    offset += u;
  }
  along = add_lanes(along) / static_cast<float>(d);
  offset = centre ? add_lanes(offset) / static_cast<float>(d) : 0.0f;
  if (lane == 0 && mine < here) {
    of_row[mine] = make_float4(m.x, m.y, along, offset);
    found[row + mine] = m;
  }
  __syncthreads();
  for (int at = threadIdx.x; at < here * d; at += THREADS) {
    float4 r = of_row[at / d];
    float normal = (shared[at] - r.x) * r.y, u = shared_g[at] * w[at % d];
    dx[row * d + at] = r.y * (u - r.w - normal * r.z);
  }
}
EXPORT(norm_backward)

// dw, and db after it where there is one, of columns blockIdx.x * THREADS on; block y of the grid takes one chunk of rows.
extern "C" __global__ void __launch_bounds__(THREADS)
    norm_columns(const float* x, const float* g, const float2* found, int rows, int d, int bias, float* partial, int* arrived, float* out) {
  int i = blockIdx.x * THREADS + threadIdx.x, chunks = gridDim.y;
  long first = static_cast<long>(blockIdx.y) * CHUNK, last = min(first + CHUNK, static_cast<long>(rows));
  if (i < d) {
    float dw = 0.0f, db = 0.0f;
    for (long row = first; row < last; row++) {
      float2 m = found[row];
      float value = g[row * d + i];
      dw += value * ((x[row * d + i] - m.x) * m.y);
      db += value;
    }
    partial[(2L * blockIdx.y) * d + i] = dw;
    partial[(2L * blockIdx.y + 1) * d + i] = db;
  }
  __shared__ int before;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    before = atomicAdd(arrived + blockIdx.x, 1);
    if (before == chunks - 1) arrived[blockIdx.x] = 0;
  }
  __syncthreads();
  if (before != chunks - 1 || i >= d) return;
  __threadfence();
  for (int which = 0; which < (bias ? 2 : 1); which++) {
    float total = 0.0f;
    for (int chunk = 0; chunk < chunks; chunk++) total += partial[(2L * chunk + which) * d + i];
    out[static_cast<long>(which) * d + i] = total;
  }
}
EXPORT(norm_columns)
