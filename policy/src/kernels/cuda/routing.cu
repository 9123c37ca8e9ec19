// Which experts a row goes through, and with what weights: see routing.rs, whose sums these are. A warp takes a row.

constexpr int WARPS = 4;
constexpr float SUM_FLOOR = 1e-20f;

// The largest of a warp's keys.
__device__ __forceinline__ unsigned long long largest(unsigned long long key) {
  for (int by = 16; by > 0; by /= 2) {
    unsigned long long other = __shfl_xor_sync(0xffffffffu, key, by);
    key = other > key ? other : key;
  }
  return key;
}

// As top_k() of indexer.rs: writes the positions of the k best of n scores to `best`, ascending. All keys are different and above 0, so
// the next best is the largest below the last one.
__device__ __forceinline__ void top_k(const float* scores, int n, int k, int* best) {
  int lane = threadIdx.x % 32;
  unsigned long long last = ~0ULL;
  for (int j = 0; j < k; j++) {
    unsigned long long found = 0;
    for (int i = lane; i < n; i += 32) {
      unsigned long long key = rank_key(scores[i], i);
      if (key < last && key > found) found = key;
    }
    last = largest(found);
    if (lane == 0) {
      int position = static_cast<int>(~static_cast<unsigned>(last)), at = j;
      for (; at > 0 && best[at - 1] > position; at--) best[at] = best[at - 1];
      best[at] = position;
    }
  }
  __syncwarp();
}

// Takes the experts of the groups that are not kept out of the choice.
__device__ __forceinline__ void keep_groups(float* scores, int experts, int groups, int kept, float* sums, int* best) {
  int lane = threadIdx.x % 32, size = experts / groups;
  for (int group = lane; group < groups; group += 32) {
    float first = -INFINITY, second = -INFINITY;
    for (int i = group * size; i < (group + 1) * size; i++) {
      float s = scores[i];
      second = s > first ? first : fmaxf(second, s);
      first = s > first ? s : first;
    }
    sums[group] = first + second;
  }
  __syncwarp();
  top_k(sums, groups, kept, best);
  for (int i = lane; i < experts; i += 32) {
    bool in = false;
    for (int j = 0; j < kept; j++) in |= best[j] == i / size;
    if (!in) scores[i] = -INFINITY;
  }
  __syncwarp();
}

// Scores of all experts and the k chosen ones, for each row.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    choose(const float* logits, const float* bias, int rows, int experts, int softmax, int k, int groups, int kept, float* scores,
           int* chosen) {
  DYNAMIC_SHARED(float, shared);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = blockIdx.x * WARPS + warp;
  float* own = shared + warp * (experts + groups + max(k, kept));
  float* sums = own + experts;
  int* best = reinterpret_cast<int*>(sums + groups);
  if (row >= rows) return;
  logits += static_cast<long>(row) * experts;
  scores += static_cast<long>(row) * experts;
  if (softmax) {
    float most = -INFINITY;
    for (int i = lane; i < experts; i += 32) most = logits[i] > most ? logits[i] : most;
    for (int by = 16; by > 0; by /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, by));
    for (int i = lane; i < experts; i += 32) own[i] = exp_of(logits[i] - most);
    __syncwarp();
    float total = 0.0f;
    for (int i = lane % LANES; i < experts; i += LANES) total += own[i];
    float inverse = 1.0f / add_lanes(total);
    for (int i = lane; i < experts; i += 32) scores[i] = own[i] * inverse;
  } else {
    for (int i = lane; i < experts; i += 32) scores[i] = sigmoid(logits[i]);
  }
  __syncwarp();
  for (int i = lane; i < experts; i += 32) own[i] = bias ? scores[i] + bias[i] : scores[i];
  __syncwarp();
  if (kept < groups) keep_groups(own, experts, groups, kept, sums, best);
  top_k(own, experts, k, best);
  for (int j = lane; j < k; j += 32) chosen[static_cast<long>(row) * k + j] = best[j];
}
EXPORT(choose)

// The sum of the chosen experts' scores, and that with g, by the lanes of each half of the warp.
__device__ __forceinline__ float2 chosen_sums(const float* scores, const int* chosen, const float* g, int k) {
  float total = 0.0f, along = 0.0f;
  for (int j = threadIdx.x % LANES; j < k; j += LANES) {
    total += scores[chosen[j]];
    if (g) along = fmaf(g[j], scores[chosen[j]], along);
  }
  total = add_lanes(total);
  return make_float2(total + SUM_FLOOR, add_lanes(along));
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
    weigh(const float* scores, const int* chosen, int rows, int experts, int k, int normalise, float scale, float* weights) {
  int lane = threadIdx.x % 32, row = blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= rows) return;
  scores += static_cast<long>(row) * experts;
  chosen += static_cast<long>(row) * k;
  float divisor = normalise ? chosen_sums(scores, chosen, nullptr, k).x : 1.0f;
  for (int j = lane; j < k; j += 32) weights[static_cast<long>(row) * k + j] = scores[chosen[j]] / divisor * scale;
}
EXPORT(weigh)

extern "C" __global__ void __launch_bounds__(32 * WARPS)
    route_backward(const float* g, const float* scores, const int* chosen, int rows, int experts, int softmax, int k, int normalise,
                   float scale, float* out) {
  DYNAMIC_SHARED(float, shared);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = blockIdx.x * WARPS + warp;
  if (row >= rows) return;
  float* d = shared + warp * experts;
  g += static_cast<long>(row) * k;
  scores += static_cast<long>(row) * experts;
  chosen += static_cast<long>(row) * k;
  out += static_cast<long>(row) * experts;
  float total = 1.0f, mean = 0.0f;
  if (normalise) {
    float2 sums = chosen_sums(scores, chosen, g, k);
    total = sums.x;
    mean = sums.y / total;
  }
  for (int i = lane; i < experts; i += 32) d[i] = 0.0f;
  __syncwarp();
  for (int j = lane; j < k; j += 32) d[chosen[j]] = scale * (g[j] - mean) / total;
  __syncwarp();
  float along = 0.0f;
  if (softmax) {
    for (int i = lane % LANES; i < experts; i += LANES) along = fmaf(d[i], scores[i], along);
    along = add_lanes(along);
  }
  for (int i = lane; i < experts; i += 32) {
    float s = scores[i];
    out[i] = softmax ? s * (d[i] - along) : d[i] * (s * (1.0f - s));
  }
}
EXPORT(route_backward)
