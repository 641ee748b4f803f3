// One pass of coordinate ascent over the codes of tiles of samples; padl_bayes/kernels/code_sweep.py is what it must
// agree with.
//
// A thread has a sample and takes it through all atoms, its residual in shared memory (in global memory where that is
// too small). As in the plain version atoms are taken in blocks, correlated with the residual once; what the earlier
// atoms of a block changed is taken off through their products, which where entries are missing are the sample's own.
// Everything of an atom is read by all threads of a warp at once and stays in cache: threads meet only for sums, which
// a warp adds in T, and whatever holds many warps in double precision, always in one order.

#include "../code_sweep.h"
#include "device.h"
#include "entry.h"

namespace padl {
namespace {

namespace ffi = xla::ffi;

constexpr int kThreads = 128;  // at most
template <bool masked>
constexpr int kAtoms = masked ? 4 : 8;  // in a block

// What all samples share of an atom; ``next`` are its products with those that follow in its block.
template <typename T, int n>
struct Law {
  T usage, unused, rate, active;
  Likelihood<T, T> common;
  T next[n];
};

// A thread finds one product, or the rest.
template <Slab slab, int n, typename T>
__global__ void find_laws(CodeTask<T> task, Law<T, n>* laws) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, k = at / n, i = at % n;
  const int64_t K = task.atoms, P = task.features, other = k + 1 + i;
  if (k >= (K + n - 1) / n * n) return;
  Law<T, n>& law = laws[k];
  T product = 0;
  if (other < K && other / n == k / n)
    for (int64_t p = 0; p < P; ++p) product += task.dictionary[k * P + p] * task.dictionary[other * P + p];
  law.next[i] = product;
  if (i > 0) return;
  const T logit = k < K ? task.usage_logit[k] : T(0);
  law.rate = k < K ? task.rate[k] : T(1);
  law.active = k < K ? task.active[k] : T(0);
  law.usage = T(1) / (T(1) + std::exp(-logit));
  law.unused = T(1) / (T(1) + std::exp(logit));
  law.common = likelihood<slab, T, T>(*task.precision, law.rate);
}

// A sample's features, ``stride`` apart.
template <typename T>
struct Features {
  int64_t count, stride;
  T* residual;
  const T* observed;
};

// A sample and the atoms of a block. What is first in an array is next to be updated: `advance` moves all up, since
// registers have no index.
template <bool masked, typename T>
struct Entries {
  static constexpr int n = kAtoms<masked>, m = masked ? n : 1;
  T old[n], row[n], change[n];
  T weight[m], next[m][n];  // where entries are missing

  __device__ __forceinline__ void correlate(const Features<T>& features, const Column<T, n>* columns) {
    for (int64_t p = 0; p < features.count; ++p) {
      const Column<T, n> atom = columns[p];
      const T r = features.residual[p * features.stride];
#pragma unroll
      for (int j = 0; j < n; ++j) row[j] += atom.value[j] * r;
      if constexpr (masked) {
        const T o = features.observed[p * features.stride];
#pragma unroll
        for (int j = 0; j < n; ++j) {
          const T seen = atom.value[j] * o;
          weight[j] += seen * atom.value[j];
#pragma unroll
          for (int i = 0; i + j + 1 < n; ++i) next[j][i] += seen * atom.value[i + j + 1];
        }
      }
    }
  }

  __device__ __forceinline__ void advance(T step, const T* products) {
#pragma unroll
    for (int i = 0; i + 1 < n; ++i) {
      row[i] = row[i + 1] - (masked ? next[0][i] : products[i]) * step;
      old[i] = old[i + 1];
      change[i] = change[i + 1];
    }
    change[n - 1] = step;
    if constexpr (masked) {
#pragma unroll
      for (int j = 0; j + 1 < n; ++j) {
        weight[j] = weight[j + 1];
#pragma unroll
        for (int i = 0; i < n; ++i) next[j][i] = next[j + 1][i];
      }
    }
  }

  __device__ __forceinline__ void correct(const Features<T>& features, const Column<T, n>* columns) const {
    for (int64_t p = 0; p < features.count; ++p) {
      const Column<T, n> atom = columns[p];
      T step = 0;
#pragma unroll
      for (int j = 0; j < n; ++j) step += atom.value[j] * change[j];
      if constexpr (masked) step *= features.observed[p * features.stride];
      features.residual[p * features.stride] -= step;
    }
  }
};

// What one entry becomes, and its share of the sums and of the bound.
template <typename T>
struct Update {
  T mean, probability, square, log_evidence, sums[kSums], bound;
};

template <Slab slab, bool masked, typename T, int n>
__device__ __forceinline__ Update<T> update(const Entries<masked, T>& entries, const Law<T, n>& law, T precision, T on) {
  T weight = 1;
  Entry<T> q;
  if constexpr (masked) {
    constexpr T least = std::numeric_limits<T>::epsilon();
    weight = entries.weight[0] < least ? least : entries.weight[0];
    const T linear = precision * (entries.row[0] + weight * entries.old[0]);
    q = entry<slab, T>(linear, likelihood<slab, T, T>(precision * weight, law.rate), law.usage, law.unused, law.rate);
  } else {
    q = entry<slab, T>(precision * (entries.row[0] + entries.old[0]), law.common, law.usage, law.unused, law.rate);
  }
  const T mean = on * q.mean, probability = on * q.probability, square = on * q.square, log_evidence = on * q.log_evidence;
  const T spread = square - mean * mean, variance = weight * (spread < T(0) ? T(0) : spread);
  return {mean, probability, square, log_evidence, {probability, on * q.size, weight * square, variance, log_evidence},
          -(on * q.divergence + T(0.5) * precision * variance)};
}

// Memory of a block: sums of warps, twice, so that one is written while the other is read; then, if they fit, features.
template <bool masked>
__host__ __device__ constexpr int room_for_sums(int threads) {
  return 2 * (threads / kWarp) * kAtoms<masked> * kSums;
}

template <bool masked, bool in_shared, typename T>
__device__ __forceinline__ Features<T> begin(const CodeTask<T>& task, int64_t tile, int64_t sample, bool inside) {
  const int64_t from = tile * task.features * task.samples + sample, N = task.samples, count = inside ? task.features : 0;
  if constexpr (!in_shared) {
    for (int64_t p = 0; p < count; ++p) task.new_residual[from + p * N] = task.residual[from + p * N];
    return {count, N, task.new_residual + from, masked ? task.observed + from : nullptr};
  } else {
    const int stride = blockDim.x;
    T* residual = shared_memory<T>() + room_for_sums<masked>(stride) + threadIdx.x;
    T* observed = residual + task.features * stride;
    for (int64_t p = 0; p < count; ++p) {
      residual[p * stride] = task.residual[from + p * N];
      if constexpr (masked) observed[p * stride] = task.observed[from + p * N];
    }
    return {count, stride, residual, observed};
  }
}

// All atoms over the samples of a block of threads, whose sums go to ``parts`` (blocks, kSums, atoms).
template <Slab slab, bool masked, bool in_shared, typename T>
__global__ void __launch_bounds__(kThreads) sweep(CodeTask<T> task, const Column<T, kAtoms<masked>>* columns,
                                                  const Law<T, kAtoms<masked>>* laws, double* parts) {
  constexpr int n = kAtoms<masked>;
  const int64_t N = task.samples, K = task.atoms, blocks_a_tile = (N + blockDim.x - 1) / blockDim.x;
  const int64_t tile = blockIdx.x / blocks_a_tile, s = blockIdx.x % blocks_a_tile * blockDim.x + threadIdx.x;
  const bool inside = s < N;
  const T precision = *task.precision, valid = inside ? task.valid[tile * N + s] : T(0);
  const int64_t excluded = inside && task.excluded != nullptr ? task.excluded[tile * N + s] : -1;
  const Features<T> features = begin<masked, in_shared>(task, tile, s, inside);
  const int warps = blockDim.x / kWarp, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  T bound = 0, *sums = shared_memory<T>();
  for (int64_t first = 0, turn = 0; first < K; first += n, turn ^= 1) {
    Entries<masked, T> entries{};
    bool live = false;
#pragma unroll
    for (int j = 0; j < n; ++j) {
      if (inside && first + j < K) entries.old[j] = task.codes[(tile * K + first + j) * N + s];
      live |= laws[first + j].active != 0 || entries.old[j] != 0;
    }
    if (live) entries.correlate(features, columns + first / n * task.features);
    T* mine = sums + (turn * warps + warp) * n * kSums;
#pragma unroll 1
    for (int j = 0; j < n; ++j) {
      const int64_t k = first + j, at = (tile * K + k) * N + s;
      const Law<T, n>& law = laws[k];
      Update<T> q{};
      if (law.active != 0) q = update<slab>(entries, law, precision, excluded == k ? T(0) : valid * law.active);
      entries.advance(q.mean - entries.old[0], law.next);
      bound += q.bound;
      if (inside && k < K) {
        task.new_codes[at] = q.mean;
        if (task.probability != nullptr) {
          task.probability[at] = q.probability;
          task.square[at] = q.square;
          task.log_evidence[at] = q.log_evidence;
        }
      }
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        const T sum = law.active != 0 ? warp_sum(q.sums[i]) : T(0);
        if (lane == 0) mine[i * n + j] = sum;
      }
    }
    if (live) entries.correct(features, columns + first / n * task.features);
    __syncthreads();
    for (int i = threadIdx.x; i < n * kSums; i += blockDim.x) {
      double sum = 0;
      for (int w = 0; w < warps; ++w) sum += sums[(turn * warps + w) * n * kSums + i];
      if (first + i % n < K) parts[(blockIdx.x * kSums + i / n) * K + first + i % n] = sum;
    }
  }
  if (in_shared)
    for (int64_t p = 0; p < features.count; ++p)
      task.new_residual[(tile * task.features + p) * N + s] = features.residual[p * features.stride];
  if (inside) task.bound[tile * N + s] = bound;
}

// Sums of tiles from those of their blocks.
template <typename T>
__global__ void add_parts(CodeTask<T> task, int64_t blocks_a_tile, const double* parts) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, size = kSums * task.atoms;
  if (at >= task.tiles * size) return;
  double sum = 0;
#pragma unroll 8
  for (int64_t i = 0; i < blocks_a_tile; ++i) sum += parts[(at / size * blocks_a_tile + i) * size + at % size];
  task.sums[at] = static_cast<T>(sum);
}

// Threads of a block, and how much memory they share with the features in it and without.
struct Plan {
  int threads;
  bool in_shared;
  size_t shared;
};

template <bool masked, typename T>
Plan plan(int64_t features) {
  const int64_t room = attribute_of_device(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  const int64_t numbers = (masked ? 2 : 1) * features;
  auto size = [numbers](int threads) -> int64_t {
    return (room_for_sums<masked>(threads) + numbers * threads) * sizeof(T);
  };
  int threads = kThreads;
  // Blocks that fill more than half leave a processor nothing to do while they wait.
  while (threads > kWarp && size(threads) > room / 2) threads /= 2;
  if (size(threads) <= room) return {threads, true, static_cast<size_t>(size(threads))};
  return {kThreads, false, room_for_sums<masked>(kThreads) * sizeof(T)};
}

template <Slab slab, bool masked, typename T, typename Scratch>
ffi::Error run(const CodeTask<T>& task, cudaStream_t stream, Scratch& scratch) {
  constexpr int n = kAtoms<masked>;
  const Plan plan = padl::plan<masked, T>(task.features);
  const int64_t K = blocks_of(task.atoms, n) * n, blocks_a_tile = blocks_of(task.samples, plan.threads);
  const int64_t blocks = task.tiles * blocks_a_tile;
  auto* columns = allocate<Column<T, n>>(scratch, K / n * task.features);
  auto* laws = allocate<Law<T, n>>(scratch, K);
  auto* parts = allocate<double>(scratch, blocks * kSums * task.atoms);
  if (columns == nullptr || laws == nullptr || parts == nullptr) return ffi::Error::Internal("code_sweep: no memory");
  auto* kernel = plan.in_shared ? sweep<slab, masked, true, T> : sweep<slab, masked, false, T>;
  const auto rows = task.atoms, features = task.features;
  cudaError_t error = launch_each(pack_atoms<T, n>, K * features, stream, task.dictionary, rows, features, columns);
  if (error == cudaSuccess) error = launch_each(find_laws<slab, n, T>, K * n, stream, task, laws);
  if (error == cudaSuccess)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(plan.shared));
  if (error == cudaSuccess)
    error = launch(kernel, false, blocks, plan.threads, plan.shared, stream, task, columns, laws, parts);
  if (error == cudaSuccess)
    error = launch_each(add_parts<T>, task.tiles * kSums * task.atoms, stream, task, blocks_a_tile, parts);
  return status_of(error, "code_sweep");
}

template <Slab slab, typename T, typename Scratch>
ffi::Error run(const CodeTask<T>& task, cudaStream_t stream, Scratch& scratch) {
  return task.observed == nullptr ? run<slab, false>(task, stream, scratch) : run<slab, true>(task, stream, scratch);
}

template <ffi::DataType type, typename T, typename Scratch>
ffi::Error code_sweep(cudaStream_t stream, Scratch& scratch, int32_t slab, CodeBuffers<type> buffers) {
  const auto task = code_task<T>(slab, buffers);
  if (!task) return task.error();
  switch (static_cast<Slab>(slab)) {
    case Slab::kLaplace: return run<Slab::kLaplace>(*task, stream, scratch);
    case Slab::kExponential: return run<Slab::kExponential>(*task, stream, scratch);
    case Slab::kGaussian: return run<Slab::kGaussian>(*task, stream, scratch);
    default: return run<Slab::kHalfNormal>(*task, stream, scratch);
  }
}

template <ffi::DataType type, typename T>
auto implementation() {
  return [](cudaStream_t stream, auto scratch, int32_t slab, auto... buffers) {
    return code_sweep<type, T>(stream, scratch, slab, {buffers...});
  };
}

template <ffi::DataType type>
auto binding() {
  return with_code_buffers<type>(ffi::Ffi::Bind().Ctx<StreamContext>().template Ctx<ScratchContext>());
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_code_sweep_f32, (implementation<ffi::F32, float>()), binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_code_sweep_f64, (implementation<ffi::F64, double>()), binding<ffi::F64>());

// Why the kernels cannot run on the device in use, or null.
extern "C" const char* padl_cuda_problem() {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, add_parts<double>);
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
#pragma GCC visibility pop

}  // namespace padl
