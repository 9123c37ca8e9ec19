// What rows add to the gradients of keys and values: see attention.rs and indexer_loss.rs, whose sums these are.
//
// dkey_j = sum over rows, and within a row over the heads that share the key head, of d_j q and p_j g. The sum of a chunk of rows, whose
// bounds the sequence alone sets, is one chain by ascending row and head; the chunks' sums are added in order. A block computes 64 keys by
// 64 columns over the rows of a segment. Where a block of rows ends within a chunk the chain is left in `partial`, and goes on from there.

// Rows of one sequence, which has the rows [begin, end) of the batch and chunks of `step` rows; `keys` is how many any of them sees, and
// `known` how many the rows of the same chunk before them saw.
struct Segment {
  int row, rows, begin, end, step, keys, slots, known;
};

// As in attention.cu; where keys were selected, coefficients lie by position, and `begin` is 0 and `end` is what a row sees.
struct Row {
  int slots, from, seen, begin, end, unused;
};

// Coefficients of a row's heads for each key, and the vectors of the heads that they multiply.
struct Side {
  const float* coefficients;
  const float* vectors;
  int width;
  bool wide;
};

constexpr int KEYS = 64, COLUMNS = 64, THREADS = 256;
constexpr int SIDE = tile_floats<KEYS, false>() + tile_floats<COLUMNS, false>();

// Fetches 16 of a chunk's (row, head) pairs, from `pair` on, of `pairs`.
__device__ __forceinline__ void fetch(float* to, const Side& side, const Row* rows, int row0, int pair, int pairs, int heads, int shared,
                                      int head, int key, int column, int first_row, int stride) {
  for (int chunk = threadIdx.x; chunk < (KEYS + COLUMNS) * STEP / 4; chunk += THREADS) {
    bool of_key = chunk < KEYS * STEP / 4;
    int p = chunk % (KEYS * STEP / 4) / (KEYS / 4), i = chunk % (KEYS / 4) * 4, row = row0 + (pair + p) / shared;
    bool inside = pair + p < pairs;
    long vector = static_cast<long>(row) * heads + head * shared + (pair + p) % shared;
    if (of_key) {
      // Before its job's first key and after its last nothing was written.
      int left = inside && key + i >= rows[row].begin ? min(max(rows[row].end - key - i, 0), 4) : 0;
      const float* from = left > 0 ? side.coefficients + (vector - static_cast<long>(first_row) * heads) * stride + key + i : side.coefficients;
      copy_four(to + place<KEYS, false>(i, p), from, left, true);
    } else {
      int left = inside ? min(max(side.width - column - i, 0), 4) : 0;
      const float* from = left > 0 ? side.vectors + vector * side.width + column + i : side.vectors;
      copy_four(to + tile_floats<KEYS, false>() + place<COLUMNS, false>(i, p), from, left, side.wide);
    }
  }
}

// BOTH: a column is of the key and of the value, and the two sides' terms alternate; otherwise only the first side's.
template <bool BOTH>
__device__ __forceinline__ void gradients(Side first, Side second, int heads, int key_heads, const Segment* segments, const Row* rows,
                                          const int* slots, int first_row, int stride, int from, int to, int at, long key_row,
                                          float* partial, float* out) {
  DYNAMIC_SHARED(float, stages);
  Segment segment = segments[blockIdx.z / key_heads];
  int head = blockIdx.z % key_heads, key = blockIdx.y * KEYS, column = from + blockIdx.x * COLUMNS, shared = heads / key_heads;
  if (key >= segment.keys) return;
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, down = warp / 2 * 4 + lane / 8, across = warp % 2 * 8 + lane % 8;
  constexpr int STAGE = BOTH ? 2 * SIDE : SIDE;
  float sums[4][4];
  // Where a sum belongs, or -1.
  auto place_of = [&](int i, int j) {
    int position = key + own<4, 16, false>(down, i), c = column + own<4, 16, false>(across, j);
    if (position >= segment.keys || c >= to) return -1L;
    return slots[segment.slots + position] * key_row + at + head * first.width + c;
  };
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) {
      bool goes_on = key + own<4, 16, false>(down, i) < segment.known && place_of(i, j) >= 0;
      sums[i][j] = goes_on ? partial[place_of(i, j)] : 0.0f;
    }
  int last = segment.row + segment.rows;
  for (int row = segment.row; row < last;) {
    int chunk_end = min(segment.begin + ((row - segment.begin) / segment.step + 1) * segment.step, segment.end), end = min(chunk_end, last);
    int pairs = (end - row) * shared;
    auto stage = [&](int pair, int which) {
      float* to = stages + which * STAGE;
      fetch(to, first, rows, row, pair, pairs, heads, shared, head, key, column, first_row, stride);
      if (BOTH) fetch(to + SIDE, second, rows, row, pair, pairs, heads, shared, head, key, column, first_row, stride);
    };
    __syncthreads();
    stage(0, 0);
    for (int pair = 0, which = 0; pair < pairs; pair += STEP, which ^= 1) {
      copy_commit();
      copy_wait<0>();
      __syncthreads();
      if (pair + STEP < pairs) stage(pair + STEP, which ^ 1);
      const float* left = stages + which * STAGE;
      const float* right = left + tile_floats<KEYS, false>();
      if constexpr (BOTH) {
#pragma unroll
        for (int q = 0; q < STEP; q += 4) {
          float x[4][4], y[4][4], p[4][4], g[4][4];
          read<KEYS, false, 4, 16>(x, left, down, q);
          read<COLUMNS, false, 4, 16>(y, right, across, q);
          read<KEYS, false, 4, 16>(p, left + SIDE, down, q);
          read<COLUMNS, false, 4, 16>(g, right + SIDE, across, q);
#pragma unroll
          for (int t = 0; t < 4; t++)
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
              for (int j = 0; j < 4; j++) sums[i][j] = fmaf(p[i][t], g[j][t], fmaf(x[i][t], y[j][t], sums[i][j]));
        }
      } else {
        multiply<KEYS, COLUMNS, 4, 4, false, false>(sums, left, right, down, across);
      }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        long place = place_of(i, j);
        if (place >= 0 && end == chunk_end) out[place] += sums[i][j];
        if (place >= 0 && end < chunk_end) partial[place] = sums[i][j];
        sums[i][j] = 0.0f;
      }
    row = end;
  }
}

#define GRADIENTS(name, both)                                                                                                            \
  extern "C" __global__ void __launch_bounds__(THREADS, 2)                                                                               \
      name(const float* d, const float* q, int width, int wide, const float* p, const float* g, int g_width, int g_wide, int heads,      \
           int key_heads, const Segment* segments, const Row* rows, const int* slots, int first_row, int stride, int from, int to, int at, \
           long key_row, float* partial, float* out) {                                                                                   \
    gradients<both>({d, q, width, wide != 0}, {p, g, g_width, g_wide != 0}, heads, key_heads, segments, rows, slots, first_row, stride,   \
                    from, to, at, key_row, partial, out);                                                                                \
  }
GRADIENTS(key_gradients, false)
GRADIENTS(key_and_value_gradients, true)
EXPORT(key_gradients)
EXPORT(key_and_value_gradients)
