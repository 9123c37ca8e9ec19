// Products of f32 matrices, each element of which is one sum in one order: the rule of gemm.rs, and so its bits.
//
// c_ij = sum_p a_ip b_pj is summed in slabs of DEEP terms: within a slab a chain of fused multiply-adds from 0 on, by ascending p; the
// slabs' sums are added in order. A block computes a tile of c over `slabs` slabs. Where tiles are too few to fill the GPU, blocks share
// a tile's slabs, leave each slab's sum in `partial`, and the one that comes last adds them up. Which way is taken does not show.
//
// A factor lies ALONG the sum where neighbouring terms are neighbours in memory, and across it otherwise; `step` is the other stride. Its
// tile is kept as it lies, padded so that a warp's reads of 16 bytes hit every bank once.

constexpr int DEEP = 256;
constexpr int STEP = 16;

struct Factor {
  const float* data;
  long step;
  // Groups of four neighbours are aligned.
  bool wide;
};

// Where tile element (i, p) lies: i is a row of a or a column of b.
template <int SIZE, bool ALONG>
__device__ __forceinline__ int place(int i, int p) {
  return ALONG ? i * (STEP + 4) + p : p * (SIZE + 4) + i;
}

template <int SIZE, bool ALONG>
__device__ constexpr int tile_floats() {
  return ALONG ? SIZE * (STEP + 4) : STEP * (SIZE + 4);
}

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
    float* to = tile + place<SIZE, ALONG>(i - i0, p - p0);
    if (factor.wide)
      copy_async<16>(to, from, 4 * left);
    else
      for (int e = 0; e < 4; e++) copy_async<4>(to + e, e < left ? from + e : factor.data, e < left ? 4 : 0);
  }
}

// The row or column within its tile of element e of a thread's EACH, for thread t of THREADS along this side.
template <int EACH, int THREADS, bool ALONG>
__device__ __forceinline__ int own(int t, int e) {
  constexpr int VECTOR = EACH < 4 ? EACH : 4;
  return ALONG ? t + e * THREADS : (e / VECTOR * THREADS + t) * VECTOR + e % VECTOR;
}

// Four terms, from p on, of each of a thread's rows or columns.
template <int SIZE, bool ALONG, int EACH, int THREADS>
__device__ __forceinline__ void read(float (&to)[EACH][4], const float* tile, int t, int p) {
  if constexpr (ALONG) {
#pragma unroll
    for (int e = 0; e < EACH; e++) {
      float4 four = *reinterpret_cast<const float4*>(tile + place<SIZE, true>(own<EACH, THREADS, true>(t, e), p));
      to[e][0] = four.x, to[e][1] = four.y, to[e][2] = four.z, to[e][3] = four.w;
    }
  } else {
#pragma unroll
    for (int q = 0; q < 4; q++)
#pragma unroll
      for (int e = 0; e < EACH; e += EACH < 4 ? 2 : 4) {
        const float* at = tile + place<SIZE, false>(own<EACH, THREADS, false>(t, e), p + q);
        if constexpr (EACH < 4) {
          float2 two = *reinterpret_cast<const float2*>(at);
          to[e][q] = two.x, to[e + 1][q] = two.y;
        } else {
          float4 four = *reinterpret_cast<const float4*>(at);
          to[e][q] = four.x, to[e + 1][q] = four.y, to[e + 2][q] = four.z, to[e + 3][q] = four.w;
        }
      }
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
#pragma unroll
    for (int q = 0; q < STEP; q += 4) {
      float x[HIGH][4], y[WIDE][4];
      read<ROWS, A_ALONG, HIGH, DOWN>(x, left, down, q);
      read<COLUMNS, B_ALONG, WIDE, ACROSS>(y, left + A_TILE, across, q);
#pragma unroll
      for (int t = 0; t < 4; t++)
#pragma unroll
        for (int j = 0; j < WIDE; j++)
#pragma unroll
          for (int i = 0; i < HIGH; i++) sums[i][j] = fmaf(x[i][t], y[j][t], sums[i][j]);
    }
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
