// As much of CUDA as the kernels here use, on a processor: for tests where there is no GPU, not for speed.
//
// Every thread of a block is a fiber, so that a kernel is compiled as it stands. Fibers run in a random order that
// differs from launch to launch, warps drift apart, and memory that nothing wrote is NaN: a missing barrier shows as
// results that differ.
// Blocks run one after the other, those of a cooperative launch together.
#pragma once

#include <algorithm>
#include <atomic>
#include <csetjmp>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include <ucontext.h>

#include "xla/ffi/api/ffi.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define threadIdx (::padl::emulation::here().thread)
#define blockIdx (::padl::emulation::here().block->index)
#define blockDim (::padl::emulation::here().grid->threads)
#define gridDim (::padl::emulation::here().grid->blocks)

namespace padl {
namespace emulation {

constexpr int kWarpSize = 32, kProcessors = 3;
constexpr size_t kStack = 64 << 10, kSharedMemory = 24 << 10;

struct Dim {
  unsigned x;
};

struct Barrier {
  int size = 0, arrived = 0;
  uint64_t passed = 0;
};

struct Warp {
  Barrier barrier;
  bool frozen = false;
  alignas(16) char slots[2][kWarpSize][16];
};

struct Grid {
  Dim blocks, threads;
  Barrier barrier;
};

struct Block {
  Dim index;
  Barrier barrier;
  std::vector<Warp> warps;
  std::vector<double> shared;
};

struct Fiber {
  Grid* grid;
  Block* block;
  Dim thread;
  const Barrier* waits_for = nullptr;
  uint64_t since = 0, shuffles = 0;
  bool started = false, done = false;
  std::jmp_buf resume;
  ucontext_t start;

  Warp& warp() const { return block->warps[thread.x / kWarpSize]; }
  bool ready() const { return !done && (waits_for == nullptr || waits_for->passed != since); }
};

struct Scheduler {
  Fiber* running = nullptr;
  std::jmp_buf resume;
  const std::function<void()>* kernel = nullptr;
};
inline thread_local Scheduler scheduler;

inline Fiber& here() { return *scheduler.running; }

inline void stop_running() {
  if (!_setjmp(here().resume)) _longjmp(scheduler.resume, 1);
}

inline void wait(Barrier& barrier) {
  if (++barrier.arrived == barrier.size) {
    barrier.arrived = 0;
    ++barrier.passed;
  } else {
    here().waits_for = &barrier;
    here().since = barrier.passed;
    stop_running();
  }
}

inline void begin() {
  (*scheduler.kernel)();
  here().done = true;
  stop_running();
}

inline void go_on(Fiber& fiber) {
  scheduler.running = &fiber;
  if (_setjmp(scheduler.resume)) return;
  if (fiber.started) _longjmp(fiber.resume, 1);
  fiber.started = true;
  setcontext(&fiber.start);
}

// Half of the warps, or of the blocks, stand still until nothing else can move or others do: they drift apart as on a
// GPU.
inline void freeze_some(const std::vector<Fiber*>& fibers, std::minstd_rand& random) {
  const bool blocks = random() % 2 == 0;
  const auto drawn = random() >> 8;
  for (Fiber* fiber : fibers)
    if (fiber->thread.x % kWarpSize == 0)
      fiber->warp().frozen = ((blocks ? drawn >> fiber->block->index.x % 16 : random() >> 8) & 1) != 0;
}

// False where fibers wait for one that has ended.
inline bool run_together(std::vector<Fiber*>& fibers, std::minstd_rand& random) {
  for (;;) {
    if (random() % 32 == 0) freeze_some(fibers, random);
    std::shuffle(fibers.begin(), fibers.end(), random);
    bool done = true, ready = false, moved = false;
    for (Fiber* fiber : fibers) {
      done &= fiber->done;
      if (!fiber->ready()) continue;
      ready = true;
      if (fiber->warp().frozen) continue;
      go_on(*fiber);
      moved = true;
    }
    if (done || !ready) return done;
    if (!moved)
      for (Fiber* fiber : fibers) fiber->warp().frozen = false;
  }
}

inline bool run(Grid& grid, std::vector<Block*> blocks, size_t shared, char* stacks, std::minstd_rand& random) {
  std::deque<Fiber> fibers;
  std::vector<Fiber*> order;
  for (Block* block : blocks) {
    const int threads = static_cast<int>(grid.threads.x);
    block->barrier.size = threads;
    block->warps.resize((threads + kWarpSize - 1) / kWarpSize);
    block->shared.resize(shared / sizeof(double) + 1);
    std::memset(block->shared.data(), 0xff, block->shared.size() * sizeof(double));
    for (int t = 0; t < threads; ++t) {
      ++block->warps[t / kWarpSize].barrier.size;
      Fiber& fiber = fibers.emplace_back();
      fiber.grid = &grid;
      fiber.block = block;
      fiber.thread.x = static_cast<unsigned>(t);
      getcontext(&fiber.start);
      fiber.start.uc_stack.ss_sp = stacks + order.size() * kStack;
      fiber.start.uc_stack.ss_size = kStack;
      makecontext(&fiber.start, begin, 0);
      order.push_back(&fiber);
    }
  }
  grid.barrier.size = static_cast<int>(order.size());
  return run_together(order, random);
}

struct StreamContext {};

class Scratch {
 public:
  std::optional<void*> Allocate(size_t size, size_t) {
    memory_.emplace_back(new char[size]);
    std::memset(memory_.back().get(), 0xff, size);
    return memory_.back().get();
  }

 private:
  std::vector<std::unique_ptr<char[]>> memory_;
};

}  // namespace emulation

using StreamContext = emulation::StreamContext;
using ScratchContext = emulation::Scratch;

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorLaunchFailure };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrMultiProcessorCount };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice };
using cudaStream_t = void*;
struct cudaFuncAttributes {};

inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorInvalidValue ? "too much shared memory" : "threads wait at different barriers";
}

inline cudaError_t cudaGetDevice(int*) { return cudaSuccess; }

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? emulation::kProcessors
                                                       : static_cast<int>(emulation::kSharedMemory);
  return cudaSuccess;
}

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

template <typename Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, Kernel*) {
  return cudaSuccess;
}

template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, size_t) {
  *blocks = 1;
  return cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, size);
  return cudaSuccess;
}

template <typename T>
T* shared_memory() {
  return reinterpret_cast<T*>(emulation::here().block->shared.data());
}

inline void __syncthreads() { emulation::wait(emulation::here().block->barrier); }
inline void grid_sync() { emulation::wait(emulation::here().grid->barrier); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int step) {
  emulation::Fiber& me = emulation::here();
  const unsigned lane = me.thread.x % emulation::kWarpSize;
  emulation::Warp& warp = me.warp();
  auto& slots = warp.slots[me.shuffles++ % 2];
  std::memcpy(slots[lane], &value, sizeof(T));
  emulation::wait(warp.barrier);
  std::memcpy(&value, slots[lane ^ step], sizeof(T));
  return value;
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), bool cooperative, int64_t blocks, int threads, size_t shared,
                   cudaStream_t, const Arguments&... arguments) {
  static std::atomic<std::minstd_rand::result_type> launches{0};
  if (shared > emulation::kSharedMemory) return cudaErrorInvalidValue;
  std::minstd_rand random(++launches);
  const std::function<void()> call = [&] { kernel(arguments...); };
  emulation::scheduler.kernel = &call;
  emulation::Grid grid{{static_cast<unsigned>(blocks)}, {static_cast<unsigned>(threads)}, {}};
  std::vector<emulation::Block> all(blocks);
  std::vector<std::vector<emulation::Block*>> together;
  for (int64_t i = 0; i < blocks; ++i) {
    all[i].index.x = static_cast<unsigned>(i);
    if (!cooperative || i == 0) together.emplace_back();
    together.back().push_back(&all[i]);
  }
  std::shuffle(together.begin(), together.end(), random);
  for (auto& these : together) {
    const std::unique_ptr<char[]> stacks(new char[these.size() * threads * emulation::kStack]);
    if (!emulation::run(grid, these, shared, stacks.get(), random)) return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

}  // namespace padl

namespace xla::ffi {

template <>
struct CtxDecoding<padl::emulation::StreamContext> {
  using Type = padl::cudaStream_t;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*, DiagnosticEngine&) {
    return nullptr;
  }
};

template <>
struct CtxDecoding<padl::emulation::Scratch> {
  using Type = padl::emulation::Scratch;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*, DiagnosticEngine&) {
    return Type();
  }
};

}  // namespace xla::ffi
