// What the products of both precisions share.

// To the nearest bf16, ties to even.
__device__ __forceinline__ float rounded(float x) {
  unsigned bits = __float_as_uint(x);
  if (x != x) return x;
  return __uint_as_float((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u);
}

// Adds up what the blocks of a tile left of its slabs, in the block that comes last.
template <int ROWS, int COLUMNS, int THREADS, bool ROUNDED>
__device__ void gather(float* c, long c_row, const float* partial, int* arrived, int i0, int j0, int m, int n, int slabs, int blocks) {
  __shared__ int before;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    before = atomicAdd(arrived, 1);
    if (before == blocks - 1) *arrived = 0;
  }
  __syncthreads();
  if (before != blocks - 1) return;
  __threadfence();
  for (int at = threadIdx.x; at < ROWS * COLUMNS; at += THREADS) {
    int i = i0 + at / COLUMNS, j = j0 + at % COLUMNS;
    if (i >= m || j >= n) continue;
    const float* from = partial + static_cast<long>(i) * n + j;
    float total = from[0];
    for (int slab = 1; slab < slabs; slab++) total += from[static_cast<long>(slab) * m * n];
    c[i * c_row + j] = ROUNDED ? rounded(total) : total;
  }
}
