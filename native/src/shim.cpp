// The C side of `native`: an autograd node that calls back into Rust, and a parallel loop on libtorch's own threads.
//
// No exception leaves this file (INV-10): every entry catches or has nothing to throw, and an exception raised inside the autograd engine is caught by the
// engine's own C wrapper in torch-sys.

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <malloc.h>
#include <omp.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/version.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <vector>

using torch::autograd::Node;
using torch::autograd::variable_list;

namespace {

// Returns 0, or 1 after a failure whose text it leaves with `temper_set_error`. A gradient that does not exist is a null pointer.
using Backward = int (*)(void* closure, at::Tensor** grads, int n_grads, at::Tensor** out, int n_out);
using Drop = void (*)(void* closure);
using Task = void (*)(void* closure, int64_t task);

thread_local std::string last_error;

struct RustNode final : Node {
  RustNode(void* closure, Backward backward, Drop drop, int n_inputs)
      : closure(closure), backward(backward), drop(drop), n_inputs(n_inputs) {}
  ~RustNode() override { release(); }

  variable_list apply(variable_list&& grads) override {
    TORCH_CHECK(closure != nullptr, "this node's backward ran already");
    // The closure may have kept an input's storage, and an operation in place would have put other numbers there.
    for (const auto& [counter, version] : inputs)
      TORCH_CHECK(counter.current_version() == version, "an input of a custom operation was changed in place before its backward");
    std::vector<at::Tensor*> in;
    for (auto& grad : grads) in.push_back(grad.defined() ? &grad : nullptr);
    std::vector<at::Tensor*> out(n_inputs, nullptr);
    void* taken = closure;
    closure = nullptr;  // the Rust side consumes it, also when it fails
    int failed = backward(taken, in.data(), static_cast<int>(in.size()), out.data(), n_inputs);
    variable_list result;
    for (at::Tensor* grad : out) {
      result.push_back(grad ? std::move(*grad) : at::Tensor());
      delete grad;
    }
    TORCH_CHECK(!failed, last_error);
    return result;
  }

  void release_variables() override { release(); }

  void release() {
    if (closure) drop(closure);
    closure = nullptr;
  }

  void* closure;
  Backward backward;
  Drop drop;
  int n_inputs;
  std::vector<std::pair<c10::VariableVersion, uint32_t>> inputs;
};

std::atomic<int64_t> held_now{0}, held_most{0};

// The CPU's allocator, which counts what its tensors hold. What it counts is what malloc gave, so that a block's size need not be kept.
struct Counting final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    c10::DataPtr data = under()->allocate(n);
    if (data.get() && data.compare_exchange_deleter(under()->raw_deleter(), &release)) {
      int64_t now = held_now.fetch_add(size(data.get())) + size(data.get());
      for (int64_t most = held_most.load(); now > most && !held_most.compare_exchange_weak(most, now);) {
      }
    }
    return data;
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* dest, const void* src, std::size_t count) const override { default_copy_data(dest, src, count); }

  static c10::Allocator* under() { return c10::GetDefaultCPUAllocator(); }
  static int64_t size(void* block) { return static_cast<int64_t>(malloc_usable_size(block)); }
  static void release(void* block) {
    if (block) held_now.fetch_sub(size(block));
    under()->raw_deleter()(block);
  }
};

template <class F>
int guarded(F body) {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "an unknown C++ exception";
  }
  return 1;
}

}  // namespace

extern "C" {

const char* temper_last_error() { return last_error.c_str(); }
void temper_set_error(const char* text, size_t length) { last_error.assign(text, length); }

// True when a node over these inputs would ever be asked for a gradient.
int temper_wants_grad(at::Tensor** inputs, int n_inputs) noexcept {
  if (!at::GradMode::is_enabled()) return 0;
  for (int i = 0; i < n_inputs; i++)
    if (inputs[i]->requires_grad()) return 1;
  return 0;
}

// Moves with every in-place change of the tensor, of its views and of its detached handles.
// A tensor of inference mode has none, and Temper has no such tensor.
uint64_t temper_version(at::Tensor* tensor) noexcept { return tensor->_version(); }

// Gives `outputs` a history: a node over `inputs` whose backward is the Rust closure. Takes the closure in every case.
int temper_attach(at::Tensor** inputs, int n_inputs, at::Tensor** outputs, int n_outputs, void* closure, Backward backward,
                  Drop drop, at::Tensor** attached) {
  return guarded([&] {
    auto node = std::shared_ptr<RustNode>(new RustNode(closure, backward, drop, n_inputs), torch::autograd::deleteNode);
    variable_list sources;
    for (int i = 0; i < n_inputs; i++) {
      sources.push_back(*inputs[i]);
      node->inputs.emplace_back(torch::autograd::impl::version_counter(*inputs[i]), inputs[i]->_version());
    }
    node->set_next_edges(torch::autograd::collect_next_edges(sources));
    for (int i = 0; i < n_outputs; i++) {
      // An alias without history: the closure may hold the plain output, and a cycle through the node would never be freed.
      // It has the output's version counter, as it has its storage: who remembers numbers by storage and version sees them change.
      at::Tensor alias = outputs[i]->variable_data();
      torch::autograd::impl::set_version_counter(alias, torch::autograd::impl::version_counter(*outputs[i]));
      torch::autograd::set_history(alias, node);
      attached[i] = new at::Tensor(std::move(alias));
    }
  });
}

// From now on the CPU's tensors are counted. To be called before other threads make tensors.
void temper_count_tensors() {
  static Counting counting;
  if (c10::GetCPUAllocator() != &counting) c10::SetCPUAllocator(&counting, 1);
}

// Bytes that tensors hold, and held at most, on a GPU or (`gpu` < 0) on the CPU.
int temper_held(int gpu, int64_t* now, int64_t* most) {
  return guarded([&] {
    if (gpu < 0) {
      *now = held_now.load();
      *most = held_most.load();
      return;
    }
    auto stats = c10::getDeviceAllocator(c10::DeviceType::CUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(gpu));
    const auto& bytes = stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
    *now = bytes.current;
    *most = bytes.peak;
  });
}

// What is held now is from now on the most.
int temper_forget_most(int gpu) {
  return guarded([&] {
    if (gpu < 0)
      held_most.store(held_now.load());
    else
      c10::getDeviceAllocator(c10::DeviceType::CUDA)->resetPeakStats(static_cast<c10::DeviceIndex>(gpu));
  });
}

void temper_parallel_for(int64_t n_tasks, void* closure, Task task) {
  int threads = static_cast<int>(std::min<int64_t>(at::get_num_threads(), n_tasks));
  if (threads <= 1 || omp_in_parallel()) {
    for (int64_t i = 0; i < n_tasks; i++) task(closure, i);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t i = 0; i < n_tasks; i++) task(closure, i);
}

// The version of libtorch that this file was compiled for.
const char* temper_torch_version() { return TORCH_VERSION; }

// The vector instructions that libtorch's own kernels use here.
const char* temper_cpu_capability() noexcept {
  try {
    static const std::string capability = at::get_cpu_capability();
    return capability.c_str();
  } catch (...) {
    return "unknown";
  }
}

// What `new` calls where it finds no memory, in place of throwing.
void temper_on_out_of_memory(void (*handler)()) { std::set_new_handler(handler); }

}  // extern "C"
