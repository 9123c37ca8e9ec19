// The lightning indexer: see indexer.rs and indexer_loss.rs, whose sums these are. Scores of the heads come from attention.cu's `scores`.

// As in attention.cu.
struct Row {
  int slots, from, seen, begin, end, unused;
};

// I_j = sum_h w_h max(hit_hj, 0), one chain over the heads; a thread an element.
extern "C" __global__ void weigh_hits(const float* hits, const float* w, int heads, const Row* rows, int first_row, int stride, float* scores) {
  int j = blockIdx.y * blockDim.x + threadIdx.x, r = blockIdx.x, row = first_row + r;
  if (j < rows[row].from || j >= rows[row].seen) return;
  float score = 0.0f;
  for (int h = 0; h < heads; h++)
    score = fmaf(w[static_cast<long>(row) * heads + h], fmaxf(hits[(static_cast<long>(r) * heads + h) * stride + j], 0.0f), score);
  scores[static_cast<long>(r) * stride + j] = score;
}
EXPORT(weigh_hits)

constexpr int THREADS = 256;

// The inclusive sum of a block's numbers from each thread on to the last; `shared` has room for one each.
__device__ __forceinline__ int sum_from(int mine, int* shared) {
  int at = threadIdx.x;
  shared[at] = mine;
  __syncthreads();
  for (int by = 1; by < THREADS; by *= 2) {
    int other = at + by < THREADS ? shared[at + by] : 0;
    __syncthreads();
    shared[at] += other;
    __syncthreads();
  }
  return shared[at];
}

// How many threads before this one say yes, and how many of the block do; every thread calls it.
__device__ __forceinline__ int count_before(bool yes, int* all, int* shared) {
  unsigned votes = __ballot_sync(0xffffffffu, yes);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, before = __popc(votes & ((1u << lane) - 1));
  if (lane == 0) shared[warp] = __popc(votes);
  __syncthreads();
  *all = 0;
  for (int w = 0; w < THREADS / 32; w++) {
    if (w == warp) before += *all;
    *all += shared[w];
  }
  __syncthreads();
  return before;
}

// The k best of a row's scores, by score and then by lower place: where they lie, ascending, and -1 where there are fewer; a block a row.
// The k-th best score is found digit by digit; where several have it, the first ones are taken.
extern "C" __global__ void __launch_bounds__(THREADS)
    select_best(const float* all_scores, const Row* rows, int first_row, int stride, int k, int* out) {
  __shared__ int shared[THREADS], of_digit[THREADS], found[2];
  int r = blockIdx.x, row = first_row + r, from = rows[row].from, n = rows[row].seen - from;
  out += static_cast<long>(row) * k;
  if (n <= k) {
    for (int i = threadIdx.x; i < k; i += THREADS) out[i] = i < n ? from + i : -1;
    return;
  }
  const float* scores = all_scores + static_cast<long>(r) * stride + from;
  unsigned prefix = 0;
  int wanted = k;
  for (int shift = 24; shift >= 0; shift -= 8) {
    of_digit[threadIdx.x] = 0;
    __syncthreads();
    for (int j = threadIdx.x; j < n; j += THREADS) {
      unsigned key = static_cast<unsigned>(rank_key(scores[j], 0) >> 32);
      if (shift == 24 || key >> (shift + 8) == prefix >> (shift + 8)) atomicAdd(&of_digit[key >> shift & 255], 1);
    }
    __syncthreads();
    int here = of_digit[threadIdx.x], from_here = sum_from(here, shared);
    if (from_here >= wanted && from_here - here < wanted) {
      found[0] = threadIdx.x;
      found[1] = wanted - (from_here - here);
    }
    __syncthreads();
    prefix |= static_cast<unsigned>(found[0]) << shift;
    wanted = found[1];
    __syncthreads();
  }
  int taken = 0, equal = 0;
  for (int first = 0; first < n; first += THREADS) {
    int j = first + threadIdx.x, all;
    unsigned key = j < n ? static_cast<unsigned>(rank_key(scores[j], 0) >> 32) : 0;
    bool is_equal = j < n && key == prefix;
    int before = equal + count_before(is_equal, &all, shared);
    equal += all;
    bool takes = j < n && (key > prefix || (is_equal && before < wanted));
    int at = taken + count_before(takes, &all, shared);
    taken += all;
    if (takes) out[at] = from + j;
  }
}
EXPORT(select_best)

// p_j = sum_h softmax_j(s_h) / H by the heads' log-sum-exp, one chain over the heads; a thread an element.
extern "C" __global__ void target(const float* scores, const float* lse, int heads, const Row* rows, int first_row, int stride, float* p) {
  int j = blockIdx.y * blockDim.x + threadIdx.x, r = blockIdx.x, row = first_row + r;
  if (j < rows[row].from || j >= rows[row].seen) return;
  float share = 1.0f / static_cast<float>(heads), sum = 0.0f;
  for (int h = 0; h < heads; h++)
    sum = fmaf(share, exp_of(scores[(static_cast<long>(r) * heads + h) * stride + j] - lse[static_cast<long>(row) * heads + h]), sum);
  p[static_cast<long>(r) * stride + j] = sum;
}
EXPORT(target)

// Adds the lanes' numbers to `sum`, one after the other.
__device__ __forceinline__ float add_in_order(float sum, float mine, int count) {
  for (int lane = 0; lane < count; lane++) sum += __shfl_sync(0xffffffffu, mine, lane);
  return sum;
}

// A row's weighted divergence, and what its scores' gradients are; a warp a row.
extern "C" __global__ void __launch_bounds__(128)
    divergence(const float* all_scores, const float* all_p, const float* weight, const Row* rows, int first_row, int count, int stride,
               float* all_d, float* loss) {
  int r = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (r >= count) return;
  // The lanes count from the list's first key, as in attention.cu's `softmax`.
  int row = first_row + r, from = rows[row].from, n = rows[row].seen - from;
  const float* scores = all_scores + static_cast<long>(r) * stride + from;
  const float* p = all_p + static_cast<long>(r) * stride + from;
  float* d = all_d + static_cast<long>(r) * stride + from;
  float most = -INFINITY;
  for (int j = lane; j < n; j += 32) most = scores[j] > most ? scores[j] : most;
  for (int by = 16; by > 0; by /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, by));
  float sum = 0.0f;
  for (int j = 0; j < n; j += 32) {
    float e = 0.0f;
    if (j + lane < n) d[j + lane] = e = exp_of(scores[j + lane] - most);
    sum += e;
    sum += __shfl_down_sync(0xffffffffu, e, LANES);
  }
  sum = __shfl_sync(0xffffffffu, sum, lane % LANES);
  float total = add_lanes(sum), log_total = most + ln_of(total), divergence = 0.0f;
  for (int j = 0; j < n; j += 32) {
    float term = 0.0f;
    if (j + lane < n) {
      float here = p[j + lane], log_p = here > 0.0f ? ln_of(here) : 0.0f;
      term = here * (log_p - scores[j + lane] + log_total);
      d[j + lane] = weight[row] * (d[j + lane] / total - here);
    }
    divergence = add_in_order(divergence, term, min(n - j, 32));
  }
  if (lane == 0) loss[row] = weight[row] * divergence;
}
EXPORT(divergence)

// Of a head's hits, in place, what the scores' gradients give its queries and keys (0 where the head did not hit), and the gradient of its
// weight; a warp a row and head.
extern "C" __global__ void __launch_bounds__(128)
    hit_gradients(float* hits, const float* all_d, const float* w, int heads, const Row* rows, int first_row, int vectors, int stride, float* dw) {
  int mine = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (mine >= vectors) return;
  int r = mine / heads;
  Row row = rows[first_row + r];
  long vector = static_cast<long>(first_row) * heads + mine;
  float* hit = hits + static_cast<long>(mine) * stride;
  const float* d = all_d + static_cast<long>(r) * stride;
  float sum = 0.0f;
  for (int j = row.begin; j < row.end; j += 32) {
    float term = 0.0f, coefficient = 0.0f;
    if (j + lane >= row.from && j + lane < row.seen && !(hit[j + lane] <= 0.0f)) {
      term = d[j + lane] * hit[j + lane];
      coefficient = d[j + lane] * w[vector];
    }
    if (j + lane < row.end) hit[j + lane] = coefficient;
    sum = add_in_order(sum, term, 32);
  }
  if (lane == 0) dw[vector] = sum;
}
EXPORT(hit_gradients)

// How many of the k heaviest keys are among the k best, and what attention lies on these; lists of at most k keys do not count. A thread a
// row.
extern "C" __global__ void covered(const int* best, const int* heavy, const float* all_p, const Row* rows, int first_row, int count, int stride,
                                   int k, int* common, double* mass) {
  int r = blockIdx.x * blockDim.x + threadIdx.x, row = first_row + r;
  if (r >= count) return;
  const float* p = all_p + static_cast<long>(r) * stride;
  const int* a = best + static_cast<long>(row) * k;
  const int* b = heavy + static_cast<long>(row) * k;
  int both = 0;
  double sum = 0.0;
  bool counts = rows[row].seen - rows[row].from > k;
  if (counts) {
    for (int i = 0, j = 0; i < k; i++) {
      sum += static_cast<double>(p[a[i]]);
      while (j < k && b[j] < a[i]) j++;
      both += j < k && b[j] == a[i];
    }
  }
  common[row] = counts ? both : -1;
  mass[row] = sum;
}
EXPORT(covered)
