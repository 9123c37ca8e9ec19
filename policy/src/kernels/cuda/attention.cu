// Attention over each row's list of keys: see attention.rs, whose sums these are.
//
// A list is the positions that a row sees, or those that were selected for it. A job is neighbouring rows that share a list: rows of one
// sequence, or a single row where keys are selected. The query vectors of a job's rows with one key head are taken in tiles of VECTORS.
// Scores exist for a block of rows at a time: `scores` writes them, `softmax` makes probabilities of them, `mix` adds values up. For the
// backward `scores` also takes gradients with values, `differences` makes the gradients of scores, and `mix` those of queries.

// A job: its rows, and the elements [begin, end) of their list that any of them sees. `begin` is a multiple of 4.
struct Job {
  int row, rows, begin, end;
};

// What is known of each row: where its sequence's slots begin, how many keys it sees and from which on, and its job's `begin` and `end`.
struct Row {
  int slots, from, seen, begin, end, unused;
};

// The slots of keys, and for each row the positions that were selected for it, `selected` of them; none where all are taken.
struct List {
  const int* slots;
  const int* selection;
  int selected;
};

// Where keys or values of all key heads lie in a position's row, those of a head `width` wide from `at` on.
struct Keys {
  const float* data;
  long row;
  int at, width;
  bool wide;
};

// A job of selected keys ends where its row's list does.
__device__ __forceinline__ Job job_of(const Job* jobs, const List& list, const Row* rows) {
  Job job = jobs[blockIdx.y];
  if (list.selection) job.end = rows[job.row].end;
  return job;
}

__device__ __forceinline__ const float* key_of(const Keys& keys, const List& list, const Row* rows, const Job& job, int head, int j) {
  int position = list.selection ? list.selection[static_cast<long>(job.row) * list.selected + j] : j;
  return keys.data + list.slots[rows[job.row].slots + position] * keys.row + keys.at + head * keys.width;
}

// The vectors of a tile: `shared` query heads share a key head, and a tile takes whole rows of them, or a part of one row's.
template <int VECTORS>
struct Vectors {
  int row, rows, heads, first, shared, per_row;

  __device__ __forceinline__ Vectors(const Job& job, int heads, int key_heads) : row(job.row), rows(job.rows), heads(heads) {
    shared = heads / key_heads;
    int parts = (shared + VECTORS - 1) / VECTORS;
    per_row = min(shared, VECTORS);
    first = static_cast<int>(blockIdx.z) / parts * shared + static_cast<int>(blockIdx.z) % parts * VECTORS;
    // A last part of a row's heads may be short.
    shared = min(per_row, static_cast<int>(blockIdx.z) / parts * shared + shared - first);
  }
  __device__ __forceinline__ int key_head(int key_heads) const { return static_cast<long>(first) * key_heads / heads; }
  // The number of vector v among all rows' heads, or -1 where the tile has no such vector.
  __device__ __forceinline__ long of(int v) const {
    int r = v / per_row, h = v % per_row;
    return r < rows && h < shared ? static_cast<long>(row + r) * heads + first + h : -1;
  }
};

// Of 2 HALF pairs that 2 BY neighbouring threads hold lanes of, each thread keeps the half that its lane's bit says and gives the other
// away, until it holds 4 whole sums: those of add_lanes() in math.rs.
template <int HALF, int BY>
__device__ __forceinline__ void add_pairs(float (&sums)[64], int lane) {
  bool upper = (lane & BY) != 0;
#pragma unroll
  for (int e = 0; e < HALF; e++) {
    float given = upper ? sums[e] : sums[e + HALF], kept = upper ? sums[e + HALF] : sums[e];
    sums[e] = kept + __shfl_xor_sync(0xffffffffu, given, BY);
  }
  if constexpr (BY > 1) add_pairs<HALF / 2, BY / 2>(sums, lane);
}

// Elements of a stage of keys.
constexpr int PART = 64;
constexpr int PART_ROW = PART + 16;

// out[vector][j] = scale q . key_j, by the lanes of dot() in math.rs. 16 threads, one a lane, compute 8 vectors with 8 keys, so that a read
// of shared memory serves 8 products; then they add their lanes up, exchanging halves.
template <int VECTORS, int KEYS>
__device__ __forceinline__ void score(const float* q, int heads, int key_heads, Keys keys, List list, const Job* jobs, const Row* rows,
                                      float scale, int first_row, int stride, float* out) {
  constexpr int ACROSS = KEYS / 8, THREADS = LANES * (VECTORS / 8) * ACROSS;
  DYNAMIC_SHARED(float, shared);
  Job job = job_of(jobs, list, rows);
  Vectors<VECTORS> vectors(job, heads, key_heads);
  int width = keys.width, parts = (width + PART - 1) / PART, q_row = parts * PART + 16, head = vectors.key_head(key_heads);
  float* stages = shared + VECTORS * q_row;
  int lane = threadIdx.x % LANES, down = threadIdx.x / LANES / ACROSS * 8, across = threadIdx.x / LANES % ACROSS;
  int tiles = (job.end - job.begin + KEYS - 1) / KEYS;
  if (static_cast<int>(blockIdx.x) >= tiles) return;

  for (int at = threadIdx.x; at < VECTORS * q_row; at += THREADS) {
    long vector = vectors.of(at / q_row);
    shared[at] = vector >= 0 && at % q_row < width ? q[vector * width + at % q_row] : 0.0f;
  }
  auto stage = [&](int tile, int part, int which) {
    for (int chunk = threadIdx.x; chunk < KEYS * PART / 4; chunk += THREADS) {
      int j = job.begin + tile * KEYS + chunk / (PART / 4), i = part * PART + chunk % (PART / 4) * 4;
      int left = j < job.end ? min(max(width - i, 0), 4) : 0;
      const float* from = left > 0 ? key_of(keys, list, rows, job, head, j) + i : keys.data;
      copy_four(stages + which * KEYS * PART_ROW + chunk / (PART / 4) * PART_ROW + chunk % (PART / 4) * 4, from, left, keys.wide);
    }
  };
  float sums[64];
  int tile = blockIdx.x, part = 0;
  stage(tile, 0, 0);
  for (int which = 0;; which ^= 1) {
    if (part == 0)
#pragma unroll
      for (int e = 0; e < 64; e++) sums[e] = 0.0f;
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    int next_part = part + 1 < parts ? part + 1 : 0, next_tile = next_part ? tile : tile + static_cast<int>(gridDim.x);
    if (next_tile < tiles) stage(next_tile, next_part, which ^ 1);
    const float* left = shared + down * q_row + part * PART + lane;
    const float* right = stages + which * KEYS * PART_ROW + across * PART_ROW + lane;
#pragma unroll
    for (int m = 0; m < PART; m += LANES) {
      float x[8], y[8];
#pragma unroll
      for (int i = 0; i < 8; i++) x[i] = left[i * q_row + m];
#pragma unroll
      for (int j = 0; j < 8; j++) y[j] = right[j * ACROSS * PART_ROW + m];
#pragma unroll
      for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) sums[i * 8 + j] = fmaf(x[i], y[j], sums[i * 8 + j]);
    }
    if (next_part == 0) {
      add_pairs<32, 8>(sums, lane);
      int pair = (lane & 8 ? 32 : 0) + (lane & 4 ? 16 : 0) + (lane & 2 ? 8 : 0) + (lane & 1 ? 4 : 0);
      long vector = vectors.of(down + pair / 8);
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int j = job.begin + tile * KEYS + (pair % 8 + e) * ACROSS + across;
        if (vector >= 0 && j < job.end) out[(vector - static_cast<long>(first_row) * heads) * stride + j] = scale * sums[e];
      }
    }
    if (next_tile >= tiles) return;
    tile = next_tile, part = next_part;
  }
}

#define SCORES(name, vectors, keys_at_once, threads)                                                                                  \
  extern "C" __global__ void __launch_bounds__(threads, 512 / threads)                                                                \
      name(const float* q, int heads, int key_heads, const float* keys, long key_row, int at, int width, int wide, const int* slots,  \
           const int* selection, int selected, const Job* jobs, const Row* rows, float scale, int first_row, int stride, float* out) { \
    score<vectors, keys_at_once>(q, heads, key_heads, {keys, key_row, at, width, wide != 0}, {slots, selection, selected}, jobs, rows, \
                                 scale, first_row, stride, out);                                                                      \
  }
SCORES(scores_32, 32, 32, 256)
SCORES(scores_8, 8, 64, 128)
EXPORT(scores_32)
EXPORT(scores_8)

// out[vector] = sum_j p_j value_j, one chain by ascending j. A tile is VECTORS by 64 columns.
template <int VECTORS, int HIGH>
__device__ __forceinline__ void mixed(const float* p, int heads, int key_heads, Keys values, List list, const Job* jobs, const Row* rows,
                                      int first_row, int stride, float* out) {
  constexpr int COLUMNS = 64, WIDE = 4, DOWN = VECTORS / HIGH, ACROSS = COLUMNS / WIDE, THREADS = DOWN * ACROSS, STAGES = 3;
  constexpr int P_TILE = tile_floats<VECTORS, true>(), STAGE = P_TILE + tile_floats<COLUMNS, false>();
  __shared__ __align__(16) float stages[STAGES * STAGE];
  Job job = job_of(jobs, list, rows);
  Vectors<VECTORS> vectors(job, heads, key_heads);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = vectors.key_head(key_heads), column = blockIdx.x * COLUMNS;
  int down = warp / (ACROSS / 8) * 4 + lane / 8, across = warp % (ACROSS / 8) * 8 + lane % 8;

  auto stage = [&](int j0, int which) {
    float* to = stages + which * STAGE;
    for (int chunk = threadIdx.x; chunk < VECTORS * STEP / 4; chunk += THREADS) {
      int v = chunk / (STEP / 4), j = j0 + chunk % (STEP / 4) * 4;
      long vector = vectors.of(v);
      int left = vector >= 0 ? min(max(job.end - j, 0), 4) : 0;
      const float* from = left > 0 ? p + (vector - static_cast<long>(first_row) * heads) * stride + j : p;
      copy_four(to + place<VECTORS, true>(v, j - j0), from, left, true);
    }
    for (int chunk = threadIdx.x; chunk < COLUMNS * STEP / 4; chunk += THREADS) {
      int j = j0 + chunk / (COLUMNS / 4), i = column + chunk % (COLUMNS / 4) * 4;
      int left = j < job.end ? min(max(values.width - i, 0), 4) : 0;
      const float* from = left > 0 ? key_of(values, list, rows, job, head, j) + i : values.data;
      copy_four(to + P_TILE + place<COLUMNS, false>(i - column, j - j0), from, left, values.wide);
    }
  };
  float sums[HIGH][WIDE] = {};
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (job.begin + s * STEP < job.end) stage(job.begin + s * STEP, s);
    copy_commit();
  }
  int which = 0;
  for (int j = job.begin; j < job.end; j += STEP) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    int ahead = j + (STAGES - 1) * STEP;
    if (ahead < job.end) stage(ahead, (which + STAGES - 1) % STAGES);
    copy_commit();
    const float* left = stages + which * STAGE;
    multiply<VECTORS, COLUMNS, HIGH, WIDE, true, false>(sums, left, left + P_TILE, down, across);
    which = (which + 1) % STAGES;
  }
#pragma unroll
  for (int i = 0; i < HIGH; i++) {
    long vector = vectors.of(own<HIGH, DOWN, true>(down, i));
#pragma unroll
    for (int j = 0; j < WIDE; j++) {
      int at = column + own<WIDE, ACROSS, false>(across, j);
      if (vector >= 0 && at < values.width) out[vector * values.width + at] = sums[i][j];
    }
  }
}

#define MIX(name, vectors, high, threads)                                                                                             \
  extern "C" __global__ void __launch_bounds__(threads, 512 / threads)                                                                \
      name(const float* p, int heads, int key_heads, const float* keys, long key_row, int at, int width, int wide, const int* slots,  \
           const int* selection, int selected, const Job* jobs, const Row* rows, int first_row, int stride, float* out) {             \
    mixed<vectors, high>(p, heads, key_heads, {keys, key_row, at, width, wide != 0}, {slots, selection, selected}, jobs, rows,         \
                         first_row, stride, out);                                                                                     \
  }
MIX(mix_32, 32, 4, 128)
MIX(mix_8, 8, 2, 64)
EXPORT(mix_32)
EXPORT(mix_8)

// Scores to probabilities in place, zeros where a row does not look, and the log-sum-exp: a warp a vector.
extern "C" __global__ void __launch_bounds__(128)
    softmax(float* scores, int vectors, int heads, const Row* rows, int first_row, int stride, float* lse) {
  int mine = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (mine >= vectors) return;
  Row row = rows[first_row + mine / heads];
  float* s = scores + static_cast<long>(mine) * stride;
  float most = -INFINITY;
  for (int j = row.from + lane; j < row.seen; j += 32) most = s[j] > most ? s[j] : most;
  for (int by = 16; by > 0; by /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, by));
  // The sum's lanes count from the list's first key: lane l takes l, l + 16, ... of it, every other one from the warp's upper half.
  float sum = 0.0f;
  for (int j = row.from; j < row.seen; j += 32) {
    float e = 0.0f;
    if (j + lane < row.seen) s[j + lane] = e = exp_of(s[j + lane] - most);
    sum += e;
    sum += __shfl_down_sync(0xffffffffu, e, LANES);
  }
  sum = __shfl_sync(0xffffffffu, sum, lane % LANES);
  float total = add_lanes(sum), inverse = 1.0f / total;
  if (lane == 0) lse[static_cast<long>(first_row) * heads + mine] = most + ln_of(total);
  for (int j = row.begin + lane; j < row.end; j += 32) s[j] = j >= row.from && j < row.seen ? s[j] * inverse : 0.0f;
}
EXPORT(softmax)

// Of scores and of the values' products with the gradient g, in place, probabilities and the gradients of scores; zeros where a row does
// not look. A warp a vector.
extern "C" __global__ void __launch_bounds__(128)
    differences(float* scores, float* products, int vectors, int heads, const Row* rows, int first_row, int stride, const float* lse,
                const float* g, const float* out, int width, float scale) {
  int mine = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (mine >= vectors) return;
  Row row = rows[first_row + mine / heads];
  long vector = static_cast<long>(first_row) * heads + mine;
  float* p = scores + static_cast<long>(mine) * stride;
  float* d = products + static_cast<long>(mine) * stride;
  float delta = 0.0f;
  for (int i = lane % LANES; i < width; i += LANES) delta = fmaf(g[vector * width + i], out[vector * width + i], delta);
  delta = add_lanes(delta);
  for (int j = row.begin + lane; j < row.end; j += 32) {
    bool looks = j >= row.from && j < row.seen;
    float probability = looks ? exp_of(p[j] - lse[vector]) : 0.0f;
    d[j] = looks ? scale * probability * (d[j] - delta) : 0.0f;
    p[j] = probability;
  }
}
EXPORT(differences)

// What is known of rows whose keys were selected: a list is as long as the selection before its padding of -1.
extern "C" __global__ void rows_of_lists(const int* selection, int n, int k, const Row* rows, Row* of_lists) {
  int r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= n) return;
  const int* list = selection + static_cast<long>(r) * k;
  // Ascending and padded at the end, so that a search finds where the padding begins.
  int low = 0, high = k;
  while (low < high) {
    int middle = (low + high) / 2;
    if (list[middle] >= 0)
      low = middle + 1;
    else
      high = middle;
  }
  of_lists[r] = {rows[r].slots, 0, low, 0, low, 0};
}
EXPORT(rows_of_lists)

// Coefficients of a list to their positions; what is not selected stays 0. A warp a vector.
extern "C" __global__ void __launch_bounds__(128)
    spread(const float* coefficients, const int* selection, int k, int vectors, int heads, const Row* rows, int first_row, int stride,
           int by_position, float* out) {
  int mine = blockIdx.x * 4 + threadIdx.x / 32;
  if (mine >= vectors) return;
  int row = first_row + mine / heads;
  for (int j = threadIdx.x % 32; j < rows[row].seen; j += 32)
    out[static_cast<long>(mine) * by_position + selection[static_cast<long>(row) * k + j]] = coefficients[static_cast<long>(mine) * stride + j];
}
EXPORT(spread)
