// Products of f32 matrices, each element of which is one sum in one order: the rule of gemm.rs, and so its bits.
//
// c_ij = sum_p a_ip b_pj is summed in slabs of DEEP terms: within a slab a chain of fused multiply-adds from 0 on, by ascending p; the
// slabs' sums are added in order. A block computes a tile of c over `slabs` slabs. Where tiles are too few to fill the GPU, blocks share
// a tile's slabs, leave each slab's sum in `partial`, and the one that comes last adds them up. Which way is taken does not show.

constexpr int DEEP = 256;

struct Factor {
  const float* data;
  // The stride that is not 1.
  long step;
  // Groups of four neighbours are aligned.
  bool wide;
};

// Fetches the tile whose first element is (i0, p0) of a factor of `n` by `k`; what lies outside is 0.
template <int SIZE, bool ALONG, int THREADS>
__device__ __forceinline__ void fetch(float* tile, const Factor& factor, int i0, int p0, int n, int k) {
  constexpr int SHORT = ALONG ? STEP : SIZE;
#pragma unroll
  for (int chunk = threadIdx.x; chunk < SIZE * STEP / 4; chunk += THREADS) {
    int slow = chunk / (SHORT / 4), fast = chunk % (SHORT / 4) * 4;
    int i = i0 + (ALONG ? slow : fast), p = p0 + (ALONG ? fast : slow);
    int left = ALONG ? (i < n ? k - p : 0) : (p < k ? n - i : 0);
    left = min(max(left, 0), 4);
    const float* from = left > 0 ? factor.data + (ALONG ? i * factor.step + p : p * factor.step + i) : factor.data;
    copy_four(tile + place<SIZE, ALONG>(i - i0, p - p0), from, left, factor.wide);
  }
}

template <int ROWS, int COLUMNS, int HIGH, int WIDE, bool A_ALONG, bool B_ALONG>
__device__ __forceinline__ void product(Factor a, Factor b, float* c, long c_row, int m, int n, int k, int split, int slabs,
                                        float* partial, int* arrived) {
  constexpr int DOWN = ROWS / HIGH, ACROSS = COLUMNS / WIDE, THREADS = DOWN * ACROSS;
  constexpr int A_TILE = tile_floats<ROWS, A_ALONG>(), STAGE = A_TILE + tile_floats<COLUMNS, B_ALONG>();
  DYNAMIC_SHARED(float, stages);
  // A warp is 4 by 8 threads of the tile, so that its reads of a and b are few.
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int down = warp / (ACROSS / 8) * 4 + lane / 8, across = warp % (ACROSS / 8) * 8 + lane % 8;
  int i0 = blockIdx.y * ROWS, j0 = blockIdx.x * COLUMNS;
  int all = (k + DEEP - 1) / DEEP, first = split * slabs;
  bool shared = slabs < all;

  auto stage = [&](int p, int which) {
    fetch<ROWS, A_ALONG, THREADS>(stages + which * STAGE, a, i0, p, m, k);
    fetch<COLUMNS, B_ALONG, THREADS>(stages + which * STAGE + A_TILE, b, j0, p, n, k);
  };
  float sums[HIGH][WIDE] = {};
  int begin = first * DEEP, end = min((first + slabs) * DEEP, k), which = 0;
  stage(begin, 0);
  for (int p = begin; p < end; p += STEP, which ^= 1) {
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    // All have done with the other stage.
    if (p + STEP < end) stage(p + STEP, which ^ 1);
    const float* left = stages + which * STAGE;
    multiply<ROWS, COLUMNS, HIGH, WIDE, A_ALONG, B_ALONG>(sums, left, left + A_TILE, down, across);
    int slab = p / DEEP;
    if (p + STEP < end && (p + STEP) / DEEP == slab) continue;
    float* to = shared ? partial + static_cast<long>(slab) * m * n : c;
#pragma unroll
    for (int i = 0; i < HIGH; i++)
#pragma unroll
      for (int j = 0; j < WIDE; j++) {
        int row = i0 + own<HIGH, DOWN, A_ALONG>(down, i), column = j0 + own<WIDE, ACROSS, B_ALONG>(across, j);
        float* at = to + row * (shared ? n : c_row) + column;
        if (row < m && column < n) *at = shared || slab == 0 ? sums[i][j] : *at + sums[i][j];
        sums[i][j] = 0.0f;
      }
  }
  if (shared) gather<ROWS, COLUMNS, THREADS, false>(c, c_row, partial, arrived, i0, j0, m, n, all, (all + slabs - 1) / slabs);
}

// Heads lie `head` elements apart. A block of the grid's third dimension is one share of a head's slabs.
#define PRODUCT(name, rows, columns, high, wide, a_along, b_along)                                                                      \
  extern "C" __global__ void __launch_bounds__((rows / high) * (columns / wide), rows == 128 ? 2 : 4)                                   \
      name(const float* a, long a_head, long a_step, int a_wide, const float* b, long b_head, long b_step, int b_wide, float* c,         \
           long c_head, long c_row, int m, int n, int k, int slabs, float* partial, int* arrived) {                                      \
    int all = (k + DEEP - 1) / DEEP, shares = (all + slabs - 1) / slabs, head = blockIdx.z / shares;                                     \
    long tile = (static_cast<long>(head) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;                                             \
    product<rows, columns, high, wide, a_along, b_along>({a + head * a_head, a_step, a_wide != 0}, {b + head * b_head, b_step, b_wide != 0}, \
                                                         c + head * c_head, c_row, m, n, k, blockIdx.z % shares, slabs,                  \
                                                         partial + static_cast<long>(head) * all * m * n, arrived + tile);               \
  }

PRODUCT(large_along_along, 128, 128, 8, 8, true, true)
PRODUCT(large_along_across, 128, 128, 8, 8, true, false)
PRODUCT(large_across_across, 128, 128, 8, 8, false, false)
PRODUCT(middle_along_along, 64, 64, 4, 4, true, true)
PRODUCT(middle_along_across, 64, 64, 4, 4, true, false)
PRODUCT(middle_across_across, 64, 64, 4, 4, false, false)
PRODUCT(small_along_along, 16, 64, 2, 4, true, true)
PRODUCT(small_along_across, 16, 64, 2, 4, true, false)
PRODUCT(small_across_across, 16, 64, 2, 4, false, false)
EXPORT(large_along_along)
EXPORT(large_along_across)
EXPORT(large_across_across)
EXPORT(middle_along_along)
EXPORT(middle_along_across)
EXPORT(middle_across_across)
EXPORT(small_along_along)
EXPORT(small_along_across)
EXPORT(small_across_across)
