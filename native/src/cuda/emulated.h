// CUDA C++ on a CPU, for tests: the words that the kernels use. The threads of a block are fibers of one thread, blocks run one after
// another. A barrier switches fibers; what a warp does together (shuffles, matrix products) is an exchange between two of its barriers.
// Dynamic shared memory begins as NaN, copies in the background arrive when they are waited for and no sooner, and fibers start
// in ascending or descending order: a kernel that forgets to wait gives other numbers, or differs between the orders.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __shared__ static
#define __constant__ static const
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 { unsigned x, y, z; };
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline float __int_as_float(int x) { float y; memcpy(&y, &x, 4); return y; }
inline int __float_as_int(float x) { int y; memcpy(&y, &x, 4); return y; }
inline unsigned __float_as_uint(float x) { unsigned y; memcpy(&y, &x, 4); return y; }
inline float __uint_as_float(unsigned x) { float y; memcpy(&y, &x, 4); return y; }
inline long long __double_as_longlong(double x) { long long y; memcpy(&y, &x, 8); return y; }
inline double __longlong_as_double(long long x) { double y; memcpy(&y, &x, 8); return y; }
template <class T> inline T __ldg(const T* at) { return *at; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }

namespace emulated {

constexpr size_t STACK = 1 << 18;
constexpr int WARP = 32;

struct Copy { void* to; const void* from; int bytes, inside; };

struct Fiber {
  jmp_buf state;
  ucontext_t begin;
  std::unique_ptr<char[]> stack{new char[STACK]};
  bool started = false, done = false;
  unsigned exchanges = 0;
  std::vector<std::vector<Copy>> groups;  // of copies in the background; the last one is still open
};

// What the lanes of a warp exchange: two places, since a lane can be one exchange ahead of another.
struct Warp {
  alignas(16) unsigned char place[2][WARP][64];
  int arrived = 0;
  unsigned generation = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<unsigned char> shared;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  jmp_buf scheduler;
  int current = 0, arrived = 0, alive = 0;
  unsigned generation = 0;
  bool moved = false;
};

inline Block block;

}  // namespace emulated

inline uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

inline void yield() {
  Fiber& fiber = block.fibers[block.current];
  if (_setjmp(fiber.state) == 0) _longjmp(block.scheduler, 1);
  threadIdx = {static_cast<unsigned>(block.current), 0, 0};
}

inline void barrier(int& arrived, unsigned& generation, int all) {
  block.moved = true;
  if (++arrived == all) {
    arrived = 0;
    generation++;
    return;
  }
  for (unsigned mine = generation; mine == generation;) yield();
  block.moved = true;
}

inline Warp& warp() { return block.warps[block.current / WARP]; }
inline int lane() { return block.current % WARP; }
inline void warp_barrier() { barrier(warp().arrived, warp().generation, WARP); }

// What the lanes of a warp show each other.
template <class T>
struct Exchange {
  unsigned char (*place)[64] = warp().place[block.fibers[block.current].exchanges++ % 2];
  explicit Exchange(const T& mine) {
    static_assert(sizeof(T) <= 64, "a lane's place is 64 bytes");
    memcpy(place[lane()], &mine, sizeof mine);
    warp_barrier();
  }
  T of(int lane) const {
    T value;
    memcpy(&value, place[lane], sizeof value);
    return value;
  }
};

inline void copy(const Copy& c) {
  memset(c.to, 0, c.bytes);
  memcpy(c.to, c.from, c.inside);
}

inline void fiber_main() {
  for (;;) {
    threadIdx = {static_cast<unsigned>(block.current), 0, 0};
    block.body(block.argument);
    Fiber& fiber = block.fibers[block.current];
    fiber.done = true;
    block.alive--;
    // Threads that ended count as arrived at the block's barrier.
    if (block.alive > 0 && block.arrived == block.alive) { block.arrived = 0; block.generation++; }
    if (_setjmp(fiber.state) == 0) _longjmp(block.scheduler, 1);
  }
}

inline void resume(int thread) {
  block.current = thread;
  Fiber& fiber = block.fibers[thread];
  if (_setjmp(block.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.state, 1);
  fiber.started = true;
  getcontext(&fiber.begin);
  fiber.begin.uc_stack.ss_sp = fiber.stack.get();
  fiber.begin.uc_stack.ss_size = STACK;
  fiber.begin.uc_link = nullptr;
  makecontext(&fiber.begin, fiber_main, 0);
  setcontext(&fiber.begin);
}

inline void run_block(int threads, bool descending) {
  block.alive = threads;
  block.arrived = 0;
  for (auto& warp : block.warps) warp.arrived = 0;
  for (auto& fiber : block.fibers) {
    fiber.done = false;
    fiber.groups.assign(1, {});
  }
  memset(block.shared.data(), 0xff, block.shared.size());
  while (block.alive > 0) {
    block.moved = false;
    int before = block.alive;
    for (int i = 0; i < threads; i++) {
      int thread = descending ? threads - 1 - i : i;
      if (!block.fibers[thread].done) resume(thread);
    }
    if (!block.moved && block.alive == before) {
      fprintf(stderr, "the threads of a block wait for each other\n");
      abort();
    }
  }
}

template <class F>
void run(uint3 grid, int threads, size_t shared, bool descending, F& body) {
  gridDim = grid;
  blockDim = {static_cast<unsigned>(threads), 1, 1};
  block.fibers = std::vector<Fiber>(threads);
  block.warps = std::vector<Warp>((threads + WARP - 1) / WARP);
  block.shared.resize(shared + 16);
  block.argument = &body;
  block.body = [](void* body) { (*static_cast<F*>(body))(); };
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x++) {
        blockIdx = {x, y, z};
        run_block(threads, descending);
      }
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_reference_t<A>*>(args[I])...);
}

template <class... A>
void launch(void (*kernel)(A...), const unsigned* grid, int threads, size_t shared, bool descending, void** args) {
  auto body = [=] { call(kernel, args, std::index_sequence_for<A...>{}); };
  run({grid[0], grid[1], grid[2]}, threads, shared, descending, body);
}

inline float bf16(unsigned bits) {
  unsigned wide = bits << 16;
  float value;
  memcpy(&value, &wide, 4);
  return value;
}

}  // namespace emulated

#define EXPORT(kernel) \
  extern "C" void launch_##kernel(const unsigned* grid, int threads, size_t shared, bool descending, void** args) { \
    emulated::launch(kernel, grid, threads, shared, descending, args); \
  }

#define DYNAMIC_SHARED(T, name) \
  T* name = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(emulated::block.shared.data()) + 15) / 16 * 16)

inline void __syncthreads() { emulated::barrier(emulated::block.arrived, emulated::block.generation, emulated::block.alive); }
inline void __syncwarp(unsigned = ~0u) { emulated::warp_barrier(); }
inline void __threadfence() {}

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask, int = 32) { return emulated::Exchange<T>(value).of(emulated::lane() ^ mask); }
template <class T>
T __shfl_sync(unsigned, T value, int from, int width = 32) {
  int lane = emulated::lane();
  return emulated::Exchange<T>(value).of(lane / width * width + from % width);
}
template <class T>
T __shfl_up_sync(unsigned, T value, int by) {
  int lane = emulated::lane();
  return emulated::Exchange<T>(value).of(lane < by ? lane : lane - by);
}
template <class T>
T __shfl_down_sync(unsigned, T value, int by) {
  int lane = emulated::lane();
  return emulated::Exchange<T>(value).of(lane + by > 31 ? lane : lane + by);
}
inline unsigned __ballot_sync(unsigned, int value) {
  emulated::Exchange<int> votes(value);
  unsigned all = 0;
  for (int lane = 0; lane < 32; lane++) all |= (votes.of(lane) ? 1u : 0u) << lane;
  return all;
}

template <class T>
T atomicAdd(T* at, T value) { T before = *at; *at += value; return before; }

template <int BYTES>
void copy_async(void* to, const void* from, int inside) {
  memset(to, 0xff, BYTES);
  emulated::block.fibers[emulated::block.current].groups.back().push_back({to, from, BYTES, inside});
}
inline void copy_commit() { emulated::block.fibers[emulated::block.current].groups.emplace_back(); }
template <int N>
void copy_wait() {
  auto& groups = emulated::block.fibers[emulated::block.current].groups;
  while (groups.size() > N + 1) {
    for (auto& copy : groups.front()) emulated::copy(copy);
    groups.erase(groups.begin());
  }
}

// Thread 4r + c of a warp holds, of a [16, 16]: (r, 2c), (r + 8, 2c), (r, 2c + 8), (r + 8, 2c + 8), each with its right neighbour; of
// b [16, 8]: (2c, r), (2c + 8, r), each with the one below; of d [16, 8]: (r, 2c), (r, 2c + 1), (r + 8, 2c), (r + 8, 2c + 1).
inline void multiply_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  struct Part { unsigned a[4], b[2]; } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  emulated::Exchange<Part> parts(mine);
  int row = emulated::lane() / 4, column = emulated::lane() % 4 * 2;
  for (int i = 0; i < 4; i++) {
    int m = row + i / 2 * 8, n = column + i % 2;
    double sum = d[i];
    for (int k = 0; k < 16; k++) {
      unsigned left = parts.of(m % 8 * 4 + k % 8 / 2).a[m / 8 + k / 8 * 2] >> k % 2 * 16;
      unsigned right = parts.of(n * 4 + k % 8 / 2).b[k / 8] >> k % 2 * 16;
      sum += static_cast<double>(emulated::bf16(left & 0xffff)) * emulated::bf16(right & 0xffff);
    }
    d[i] = static_cast<float>(sum);
  }
}

inline void load_matrices_of(unsigned (&to)[4], const void* row, bool transposed) {
  emulated::Exchange<const void*> rows(row);
  int r = emulated::lane() / 4, c = emulated::lane() % 4 * 2;
  auto element = [&](int matrix, int i, int j) -> unsigned {
    return static_cast<const uint16_t*>(rows.of(matrix * 8 + i))[j];
  };
  for (int matrix = 0; matrix < 4; matrix++)
    to[matrix] = transposed ? element(matrix, c, r) | element(matrix, c + 1, r) << 16
                            : element(matrix, r, c) | element(matrix, r, c + 1) << 16;
}
inline void load_matrices(unsigned (&to)[4], const void* row) { load_matrices_of(to, row, false); }
inline void load_matrices_transposed(unsigned (&to)[4], const void* row) { load_matrices_of(to, row, true); }
