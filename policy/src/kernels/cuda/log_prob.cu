// A token's log-probability: see log_prob.rs, whose sums these are.
//
// A block takes a row. Its threads compute e^z part by part; 16 of them add a part up, and 16 more its moments, while the others
// compute the next part.

constexpr int THREADS = 256;
constexpr int PART = 1024;

// What a row's log-probability is taken of: its kept set, or the vocabulary.
struct Kept {
  const int* tokens;
  int count;
};

__device__ __forceinline__ Kept kept_of(const int* offsets, const int* kept, int row, int vocabulary) {
  if (offsets == nullptr || offsets[row] == offsets[row + 1]) return {nullptr, vocabulary};
  return {kept + offsets[row], offsets[row + 1] - offsets[row]};
}

// The row's largest logit, the same in every thread.
__device__ __forceinline__ float largest(const float* logits, Kept kept) {
  __shared__ float of_warp[THREADS / 32];
  float most = -INFINITY;
  for (int i = threadIdx.x; i < kept.count; i += THREADS) {
    float z = logits[kept.tokens ? kept.tokens[i] : i];
    most = z > most ? z : most;
  }
  for (int by = 16; by > 0; by /= 2) {
    float other = __shfl_xor_sync(0xffffffffu, most, by);
    most = other > most ? other : most;
  }
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = most;
  __syncthreads();
  most = of_warp[0];
  for (int warp = 1; warp < THREADS / 32; warp++) most = of_warp[warp] > most ? of_warp[warp] : most;
  return most;
}

// `scored`: log-probability, entropy and log-sum-exp of each row.
extern "C" __global__ void __launch_bounds__(THREADS)
    log_prob_forward(const float* logits, int vocabulary, const int* tokens, const int* offsets, const int* all_kept,
                     float inverse_temperature, int rows, float* log_probs, float* entropies, float* lse) {
  __shared__ float z_of[2][PART], e_of[2][PART];
  int row = blockIdx.x, lane = threadIdx.x % LANES;
  logits += static_cast<long>(row) * vocabulary;
  Kept kept = kept_of(offsets, all_kept, row, vocabulary);
  float most = largest(logits, kept) * inverse_temperature;
  // Threads 0 to 15 hold the lanes of the total, 16 to 31 those of the moment.
  float sum = 0.0f;
  for (int first = 0, which = 0; first < kept.count + PART; first += PART, which ^= 1) {
    if (first < kept.count)
      for (int i = threadIdx.x; i < PART; i += THREADS) {
        if (first + i >= kept.count) break;
        float z = logits[kept.tokens ? kept.tokens[first + i] : first + i] * inverse_temperature - most;
        z_of[which][i] = z;
        e_of[which][i] = exp_of(z);
      }
    if (threadIdx.x < 32 && first > 0) {
      int count = min(kept.count - (first - PART), PART);
      const float* z = z_of[which ^ 1];
      const float* e = e_of[which ^ 1];
      if (threadIdx.x < LANES)
        for (int i = lane; i < count; i += LANES) sum += e[i];
      else
        for (int i = lane; i < count; i += LANES) sum = fmaf(e[i], z[i], sum);
    }
    __syncthreads();
  }
  if (threadIdx.x >= 32) return;
  sum = add_lanes(sum);
  float moment = __shfl_sync(0xffffffffu, sum, LANES);
  if (threadIdx.x > 0) return;
  float log_total = ln_of(sum);
  log_probs[row] = logits[tokens[row]] * inverse_temperature - most - log_total;
  entropies[row] = log_total - moment / sum;
  lse[row] = most + log_total;
}
EXPORT(log_prob_forward)

extern "C" __global__ void __launch_bounds__(THREADS)
    log_prob_backward(const float* logits, int vocabulary, const int* tokens, const int* offsets, const int* all_kept,
                      float inverse_temperature, const float* lse, const float* g, float* out) {
  int row = blockIdx.x;
  logits += static_cast<long>(row) * vocabulary;
  out += static_cast<long>(row) * vocabulary;
  Kept kept = kept_of(offsets, all_kept, row, vocabulary);
  float scale = g[row] * inverse_temperature, of_row = lse[row];
  if (kept.tokens) {
    for (int i = threadIdx.x; i < vocabulary; i += THREADS) out[i] = 0.0f;
    __syncthreads();
  }
  for (int i = threadIdx.x; i < kept.count; i += THREADS) {
    int token = kept.tokens ? kept.tokens[i] : i;
    out[token] = -scale * exp_of(logits[token] * inverse_temperature - of_row);
  }
  __syncthreads();
  if (threadIdx.x == 0) out[tokens[row]] += scale;
}
EXPORT(log_prob_backward)
