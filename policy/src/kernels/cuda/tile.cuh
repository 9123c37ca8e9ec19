// Tiles of f32 factors in shared memory, and what a thread reads of them.
//
// A factor lies ALONG the sum where neighbouring terms are neighbours in memory, and across it otherwise. Its tile is kept as it lies,
// padded so that a warp's reads of 16 bytes hit every bank once.

// Terms of a sum that a tile holds.
constexpr int STEP = 16;

// Where tile element (i, p) lies: i is a row of a or a column of b.
template <int SIZE, bool ALONG>
__device__ __forceinline__ int place(int i, int p) {
  return ALONG ? i * (STEP + 4) + p : p * (SIZE + 4) + i;
}

template <int SIZE, bool ALONG>
__device__ constexpr int tile_floats() {
  return ALONG ? SIZE * (STEP + 4) : STEP * (SIZE + 4);
}

// Copies four neighbours, of which `left` are inside, in the background; the rest become zeros. `wide`: they are aligned.
__device__ __forceinline__ void copy_four(float* to, const float* from, int left, bool wide) {
  if (wide)
    copy_async<16>(to, from, 4 * left);
  else
    for (int e = 0; e < 4; e++) copy_async<4>(to + e, e < left ? from + e : from, e < left ? 4 : 0);
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

// sums += the products of the thread's rows and columns over the tile's terms, one after the other.
template <int ROWS, int COLUMNS, int HIGH, int WIDE, bool A_ALONG, bool B_ALONG>
__device__ __forceinline__ void multiply(float (&sums)[HIGH][WIDE], const float* left, const float* right, int down, int across) {
#pragma unroll
  for (int q = 0; q < STEP; q += 4) {
    float x[HIGH][4], y[WIDE][4];
    read<ROWS, A_ALONG, HIGH, ROWS / HIGH>(x, left, down, q);
    read<COLUMNS, B_ALONG, WIDE, COLUMNS / WIDE>(y, right, across, q);
#pragma unroll
    for (int t = 0; t < 4; t++)
#pragma unroll
      for (int j = 0; j < WIDE; j++)
#pragma unroll
        for (int i = 0; i < HIGH; i++) sums[i][j] = fmaf(x[i][t], y[j][t], sums[i][j]);
  }
}
