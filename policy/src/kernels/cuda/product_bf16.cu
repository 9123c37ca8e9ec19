// Products of bf16 matrices on the tensor cores, summed in f32 and rounded to bf16 at the end.
//
// As in product.cu: c_ij is summed in slabs of DEEP terms, each a chain from 0 on, here of instructions that add 16 terms at once; the
// slabs' sums are added in order. No element's sum knows of its tile, so tiles and shares of slabs do not show.

constexpr int DEEP = 1024;
constexpr int STEP = 32;
constexpr int STAGES = 4;

typedef unsigned short bf16;

struct Factor {
  const bf16* data;
  long step;
  // Groups of eight neighbours are aligned.
  bool wide;
};

// Where tile element (i, p) lies: i is a row of a or a column of b. The padding makes every eight rows that one load_matrices reads lie
// in different banks.
template <int SIZE, bool ALONG>
__device__ __forceinline__ int place(int i, int p) {
  return ALONG ? i * (STEP + 8) + p : p * (SIZE + 8) + i;
}

template <int SIZE, bool ALONG>
__device__ constexpr int tile_elements() {
  return ALONG ? SIZE * (STEP + 8) : STEP * (SIZE + 8);
}

// Fetches the tile whose first element is (i0, p0) of a factor of `n` by `k`; what lies outside is 0.
template <int SIZE, bool ALONG, int THREADS>
__device__ __forceinline__ void fetch(bf16* tile, const Factor& factor, int i0, int p0, int n, int k) {
  constexpr int SHORT = ALONG ? STEP : SIZE;
#pragma unroll
  for (int chunk = threadIdx.x; chunk < SIZE * STEP / 8; chunk += THREADS) {
    int slow = chunk / (SHORT / 8), fast = chunk % (SHORT / 8) * 8;
    int i = i0 + (ALONG ? slow : fast), p = p0 + (ALONG ? fast : slow);
    int left = ALONG ? (i < n ? k - p : 0) : (p < k ? n - i : 0);
    left = min(max(left, 0), 8);
    const bf16* from = left > 0 ? factor.data + (ALONG ? i * factor.step + p : p * factor.step + i) : factor.data;
    bf16* to = tile + place<SIZE, ALONG>(i - i0, p - p0);
    if (factor.wide)
      copy_async<16>(to, from, 2 * left);
    else
      for (int e = 0; e < 8; e++) to[e] = e < left ? from[e] : 0;
  }
}

// The fragment of a's rows i .. i + 15 and terms p .. p + 15.
template <int SIZE, bool ALONG>
__device__ __forceinline__ void read_left(unsigned (&to)[4], const bf16* tile, int i, int p) {
  int row = threadIdx.x % 8, matrix = threadIdx.x % 32 / 8;
  if (ALONG)
    load_matrices(to, tile + place<SIZE, true>(i + row + matrix % 2 * 8, p + matrix / 2 * 8));
  else
    load_matrices_transposed(to, tile + place<SIZE, false>(i + matrix % 2 * 8, p + row + matrix / 2 * 8));
}

// The two fragments of b's columns j .. j + 15 and terms p .. p + 15.
template <int SIZE, bool ALONG>
__device__ __forceinline__ void read_right(unsigned (&to)[4], const bf16* tile, int j, int p) {
  int row = threadIdx.x % 8, matrix = threadIdx.x % 32 / 8;
  if (ALONG)
    load_matrices(to, tile + place<SIZE, true>(j + row + matrix / 2 * 8, p + matrix % 2 * 8));
  else
    load_matrices_transposed(to, tile + place<SIZE, false>(j + matrix / 2 * 8, p + row + matrix % 2 * 8));
}

// The block's warps are DOWN by ACROSS.
template <int ROWS, int COLUMNS, int DOWN, int ACROSS, bool A_ALONG, bool B_ALONG>
__device__ __forceinline__ void product(Factor a, Factor b, float* c, long c_row, int m, int n, int k, int split, int slabs,
                                        float* partial, int* arrived) {
  constexpr int THREADS = 32 * DOWN * ACROSS, HIGH = ROWS / DOWN / 16, WIDE = COLUMNS / ACROSS / 8;
  constexpr int A_TILE = tile_elements<ROWS, A_ALONG>(), STAGE = A_TILE + tile_elements<COLUMNS, B_ALONG>();
  DYNAMIC_SHARED(bf16, stages);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int down = warp / ACROSS * (16 * HIGH), across = warp % ACROSS * (8 * WIDE);
  int i0 = blockIdx.y * ROWS, j0 = blockIdx.x * COLUMNS;
  int all = (k + DEEP - 1) / DEEP, first = split * slabs;
  bool shared = slabs < all;

  int begin = first * DEEP, end = min((first + slabs) * DEEP, k);
  auto stage = [&](int p, int which) {
    if (p < end) {
      fetch<ROWS, A_ALONG, THREADS>(stages + which * STAGE, a, i0, p, m, k);
      fetch<COLUMNS, B_ALONG, THREADS>(stages + which * STAGE + A_TILE, b, j0, p, n, k);
    }
    copy_commit();
  };
  float sums[HIGH][WIDE][4] = {};
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) stage(begin + s * STEP, s);
  int which = 0;
  for (int p = begin; p < end; p += STEP) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    // The stage that all have done with.
    stage(p + (STAGES - 1) * STEP, (which + STAGES - 1) % STAGES);
    const bf16* left = stages + which * STAGE;
    const bf16* right = left + A_TILE;
    which = (which + 1) % STAGES;
#pragma unroll
    for (int q = 0; q < STEP; q += 16) {
      unsigned x[HIGH][4], y[WIDE / 2][4];
#pragma unroll
      for (int i = 0; i < HIGH; i++) read_left<ROWS, A_ALONG>(x[i], left, down + 16 * i, q);
#pragma unroll
      for (int j = 0; j < WIDE / 2; j++) read_right<COLUMNS, B_ALONG>(y[j], right, across + 16 * j, q);
#pragma unroll
      for (int i = 0; i < HIGH; i++)
#pragma unroll
        for (int j = 0; j < WIDE; j++) {
          unsigned pair[2] = {y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]};
          multiply_bf16(sums[i][j], x[i], pair);
        }
    }
    int slab = p / DEEP;
    if (p + STEP < end && (p + STEP) / DEEP == slab) continue;
    float* to = shared ? partial + static_cast<long>(slab) * m * n : c;
#pragma unroll
    for (int i = 0; i < HIGH; i++)
#pragma unroll
      for (int j = 0; j < WIDE; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          int row = i0 + down + 16 * i + lane / 4 + e / 2 * 8, column = j0 + across + 8 * j + lane % 4 * 2 + e % 2;
          float* at = to + row * (shared ? n : c_row) + column;
          if (row < m && column < n) {
            float total = shared || slab == 0 ? sums[i][j][e] : *at + sums[i][j][e];
            *at = shared || slab < all - 1 ? total : rounded(total);
          }
          sums[i][j][e] = 0.0f;
        }
  }
  if (shared) gather<ROWS, COLUMNS, THREADS, true>(c, c_row, partial, arrived, i0, j0, m, n, all, (all + slabs - 1) / slabs);
}

// Heads lie `head` elements apart. A block of the grid's third dimension is one share of a head's slabs.
#define PRODUCT(name, rows, columns, down, across, a_along, b_along)                                                                     \
  extern "C" __global__ void __launch_bounds__(32 * down * across, 2)                                                                    \
      name(const bf16* a, long a_head, long a_step, int a_wide, const bf16* b, long b_head, long b_step, int b_wide, float* c,           \
           long c_head, long c_row, int m, int n, int k, int slabs, float* partial, int* arrived) {                                      \
    int all = (k + DEEP - 1) / DEEP, shares = (all + slabs - 1) / slabs, head = blockIdx.z / shares;                                     \
    long tile = (static_cast<long>(head) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;                                             \
    product<rows, columns, down, across, a_along, b_along>({a + head * a_head, a_step, a_wide != 0}, {b + head * b_head, b_step, b_wide != 0}, \
                                                           c + head * c_head, c_row, m, n, k, blockIdx.z % shares, slabs,                \
                                                           partial + static_cast<long>(head) * all * m * n, arrived + tile);             \
  }

PRODUCT(large_along_along, 128, 128, 2, 2, true, true)
PRODUCT(large_along_across, 128, 128, 2, 2, true, false)
PRODUCT(large_across_across, 128, 128, 2, 2, false, false)
PRODUCT(middle_along_along, 64, 64, 2, 2, true, true)
PRODUCT(middle_along_across, 64, 64, 2, 2, true, false)
PRODUCT(middle_across_across, 64, 64, 2, 2, false, false)
PRODUCT(small_along_along, 16, 64, 1, 4, true, true)
PRODUCT(small_along_across, 16, 64, 1, 4, true, false)
PRODUCT(small_across_across, 16, 64, 1, 4, false, false)
EXPORT(large_along_along)
EXPORT(large_along_across)
EXPORT(large_across_across)
EXPORT(middle_along_along)
EXPORT(middle_along_across)
EXPORT(middle_across_across)
EXPORT(small_along_along)
EXPORT(small_along_across)
EXPORT(small_across_across)
