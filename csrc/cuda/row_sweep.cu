// One cyclic pass of exact row updates; padl_bayes/kernels/row_sweep.py is what it must agree with.
//
// One cooperative launch, whose blocks meet at sums over all samples. A row has few samples for a GPU but meets three
// or four times (its total, then Newton's steps to the clip level): a launch for each and a host that reads the
// outcome would cost several times what the work does. Everything else of a row belongs to one sample, and so to one
// thread, from the first row to the last. Rows are taken in blocks as on a processor: the residual is read and written
// once for a block, what earlier rows of it changed is taken off through their products.

#include <cmath>
#include <limits>

#include "../row_sweep.h"
#include "device.h"

namespace padl {
namespace {

namespace ffi = xla::ffi;

constexpr int kBlock = 16;  // rows in a block
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// Sums over samples: of what soft-thresholding leaves, in all and above a guess of the clip level, and how many are
// above it; of the magnitudes of the row before; of the squared residual.
enum { kTotal, kMass, kCount, kSize, kEnergy, kAll };
static_assert(kAll <= kWarps, "a warp for each sum");

// What the threads of a block share.
template <typename T>
struct Shared {
  T gram[kBlock][kBlock];
  double parts[kWarps][kAll], totals[kAll];
};

template <typename T>
class Sweep {
 public:
  using Columns = Column<T, kBlock>;

  // ``rows`` (kBlock, samples): of a block, correlations, then what the prox is applied to, then changes.
  __device__ Sweep(const RowTask<T>& task, const Columns* columns, T* rows, double* parts)
      : task_(task),
        columns_(columns),
        rows_(rows),
        parts_(parts),
        shared_(*shared_memory<Shared<T>>()),
        n_rows_(*task.n_rows),
        alpha1_(*task.alpha1),
        alpha2_(*task.alpha2),
        momentum_(*task.momentum) {}

  // Returns alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf + 1/2 ||residual||^2: NaN, and nothing done, for no number of rows.
  __device__ double run() {
    if (n_rows_ < 0 || n_rows_ > task_.rows) return std::numeric_limits<double>::quiet_NaN();
    double objective = 0;
    T level = 0;
    for (int64_t k = 0;; ++k) {
      const bool last = k == n_rows_, enters = last || k % kBlock == 0;
      const T guess = last || !(task_.levels[k] > 0) ? T(0) : task_.levels[k];
      if (enters && !last) find_gram(k);
      over_samples([=](int64_t s, T* sums) {
        if (k > 0) finish_row(k - 1, level, s, sums);
        if (enters) enter_block(k, s, sums);
        if (!last) begin_row(k, guess, s, sums);
      });
      objective += alpha1_ * total(kSize);
      if (last) return objective + 0.5 * total(kEnergy);
      level = clip_level(k);
      if (blockIdx.x == 0 && threadIdx.x == 0) task_.levels[k] = level;
      if (!std::isinf(level)) objective += alpha2_ * level;
    }
  }

 private:
  __device__ T& row(int64_t k, int64_t s) const { return rows_[k % kBlock * task_.samples + s]; }
  __device__ double total(int which) const { return shared_.totals[which]; }

  __device__ T left_by_l1(T v) const {
    const T u = (task_.nonnegative ? v : std::fabs(v)) - alpha1_;
    return u < T(0) ? T(0) : u;
  }

  // ``work(sample, sums)`` for all samples; then every thread of every block knows the same totals.
  template <typename Work>
  __device__ void over_samples(const Work& work) {
    T sums[kAll] = {};
    const int64_t all = static_cast<int64_t>(gridDim.x) * kThreads;
    for (int64_t s = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; s < task_.samples; s += all)
      work(s, sums);
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, blocks = gridDim.x;
    // Written in turns: other blocks may still read the parts of the time before.
    double* parts = parts_ + turn_ * kAll * blocks;
    turn_ ^= 1;
    for (int i = 0; i < kAll; ++i) {
      const double sum = warp_sum(static_cast<double>(sums[i]));
      if (lane == 0) shared_.parts[warp][i] = sum;
    }
    __syncthreads();
    if (threadIdx.x < kAll) {
      double sum = 0;
      for (int w = 0; w < kWarps; ++w) sum += shared_.parts[w][threadIdx.x];
      parts[threadIdx.x * blocks + blockIdx.x] = sum;
    }
    grid_sync();
    if (warp < kAll) {
      double sum = 0;
      for (int i = lane; i < blocks; i += kWarp) sum += parts[warp * blocks + i];
      sum = warp_sum(sum);
      if (lane == 0) shared_.totals[warp] = sum;
    }
    __syncthreads();
  }

  __device__ void find_gram(int64_t first) {
    const Columns* columns = columns_ + first / kBlock * task_.features;
    for (int i = threadIdx.x; i < kBlock * kBlock; i += kThreads) {
      T sum = 0;
      for (int64_t p = 0; p < task_.features; ++p) sum += columns[p].value[i / kBlock] * columns[p].value[i % kBlock];
      shared_.gram[i / kBlock][i % kBlock] = sum;
    }
    __syncthreads();
  }

  // Correct the residual by the block before row ``k`` and correlate it with the block that begins there, if any.
  __device__ void enter_block(int64_t k, int64_t s, T* sums) const {
    const bool last = k == n_rows_;
    const int64_t N = task_.samples, P = task_.features, first = k > 0 ? (k - 1) / kBlock * kBlock : 0;
    const Columns *before = columns_ + first / kBlock * P, *now = columns_ + k / kBlock * P;
    T change[kBlock], sum[kBlock] = {};
#pragma unroll
    for (int j = 0; j < kBlock; ++j) change[j] = first + j < k ? row(j, s) : T(0);
    for (int64_t p = 0; p < P; ++p) {
      T r = task_.residual[p * N + s];
      if (k == 0 && task_.codes != nullptr) {
        const T older = task_.previous[p * N + s];
        task_.previous[p * N + s] = r;
        r += momentum_ * (r - older);
      }
      if (k > 0) {
        const Columns atom = before[p];
#pragma unroll
        for (int j = 0; j < kBlock; ++j) r -= atom.value[j] * change[j];
      }
      task_.residual[p * N + s] = r;
      if (last) {
        sums[kEnergy] += r * r;
      } else {
        const Columns atom = now[p];
#pragma unroll
        for (int j = 0; j < kBlock; ++j) sum[j] += atom.value[j] * r;
      }
    }
    if (last) return;
#pragma unroll
    for (int j = 0; j < kBlock; ++j) row(j, s) = sum[j];
  }

  // What the prox is to be applied to, and how much of it would be clipped at the level of the last sweep.
  __device__ void begin_row(int64_t k, T guess, int64_t s, T* sums) const {
    const int64_t N = task_.samples, j = k % kBlock;
    T v = row(k, s);
    if (task_.codes != nullptr) {
      T &code = task_.codes[k * N + s], &older = task_.older[k * N + s];
      const T old = code, start = old + momentum_ * (old - older);
      older = old;
      code = start;
      v += start;
    }
    for (int64_t i = 0; i < j; ++i) v -= shared_.gram[j][i] * row(i, s);
    row(k, s) = v;
    const T u = left_by_l1(v);
    sums[kTotal] += u;
    add_if_above(u, guess, sums);
  }

  static __device__ void add_if_above(T u, T level, T* sums) {
    if (!(u > level)) return;
    sums[kMass] += u;
    sums[kCount] += 1;
  }

  // Clip row ``k`` and keep its change in place of the target.
  __device__ void finish_row(int64_t k, T level, int64_t s, T* sums) const {
    const T v = row(k, s), u = left_by_l1(v), clipped = u < level ? u : level;
    T change = std::copysign(clipped, v);
    sums[kSize] += clipped;
    if (task_.codes != nullptr) {
      T& code = task_.codes[k * task_.samples + s];
      const T start = code;
      code = change;
      change -= start;
    }
    row(k, s) = change;
  }

  // The level above which the row is clipped, by Newton's method from what the totals say of a guess.
  __device__ T clip_level(int64_t k) {
    if (std::isnan(total(kTotal))) return std::numeric_limits<T>::quiet_NaN();
    if (total(kTotal) <= alpha2_) return 0;
    if (alpha2_ == 0) return std::numeric_limits<T>::infinity();
    T level = proposal() > 0 ? proposal() : T(0);
    // From the right of the root the first step may land anywhere on its left; the same set says it has landed.
    double count = total(kCount);
    find_above(k, level);
    bool settled = total(kCount) == count;
    while (!settled) {
      const T next = proposal();
      level = level < next ? next : level;
      count = total(kCount);
      find_above(k, level);
      settled = total(kCount) >= count;
    }
    return level;
  }

  __device__ T proposal() const {
    return static_cast<T>((total(kMass) - alpha2_) / (total(kCount) < 1 ? 1.0 : total(kCount)));
  }

  __device__ void find_above(int64_t k, T level) {
    over_samples([=](int64_t s, T* sums) { add_if_above(left_by_l1(row(k, s)), level, sums); });
  }

  const RowTask<T> task_;
  const Columns* columns_;
  T* rows_;
  double* parts_;
  Shared<T>& shared_;
  const int64_t n_rows_;
  const T alpha1_, alpha2_, momentum_;
  int turn_ = 0;
};

template <typename T>
__global__ void __launch_bounds__(kThreads)
    sweep(RowTask<T> task, const Column<T, kBlock>* columns, T* rows, double* parts) {
  const double objective = Sweep<T>(task, columns, rows, parts).run();
  if (blockIdx.x == 0 && threadIdx.x == 0) *task.objective = static_cast<T>(objective);
}

template <ffi::DataType type, typename T, typename Scratch>
ffi::Error row_sweep(cudaStream_t stream, Scratch& scratch, bool nonnegative, RowBuffers<type> buffers) {
  cudaError_t error = cudaSuccess;
  auto copy = [&error, stream](T* to, const T* from, int64_t count) {
    const cudaError_t now = cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyDeviceToDevice, stream);
    if (error == cudaSuccess) error = now;
  };
  const auto task = row_task<T>(nonnegative, buffers, copy);
  if (!task) return task.error();
  int at_once = 0;
  if (error == cudaSuccess)
    error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&at_once, sweep<T>, kThreads, sizeof(Shared<T>));
  if (error != cudaSuccess) return status_of(error, "row_sweep");
  const int64_t most = static_cast<int64_t>(at_once) * attribute_of_device(cudaDevAttrMultiProcessorCount);
  const int64_t blocks = std::max<int64_t>(1, std::min(most, blocks_of(task->samples, kThreads)));
  const int64_t padded = blocks_of(task->rows, kBlock) * kBlock;
  auto* columns = allocate<Column<T, kBlock>>(scratch, padded / kBlock * task->features);
  T* rows = allocate<T>(scratch, kBlock * task->samples);
  auto* parts = allocate<double>(scratch, 2 * kAll * blocks);
  if (columns == nullptr || rows == nullptr || parts == nullptr) return ffi::Error::Internal("row_sweep: no memory");
  error = launch_each(pack_atoms<T, kBlock>, padded * task->features, stream, task->atoms, task->rows, task->features,
                      columns);
  if (error == cudaSuccess)
    error = launch(sweep<T>, true, blocks, kThreads, sizeof(Shared<T>), stream, *task, columns, rows, parts);
  return status_of(error, "row_sweep");
}

template <ffi::DataType type, typename T>
auto implementation() {
  return [](cudaStream_t stream, auto scratch, bool nonnegative, auto... buffers) {
    return row_sweep<type, T>(stream, scratch, nonnegative, {buffers...});
  };
}

template <ffi::DataType type>
auto binding() {
  return with_row_buffers<type>(ffi::Ffi::Bind().Ctx<StreamContext>().template Ctx<ScratchContext>());
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_row_sweep_f32, (implementation<ffi::F32, float>()), binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_row_sweep_f64, (implementation<ffi::F64, double>()), binding<ffi::F64>());
#pragma GCC visibility pop

}  // namespace padl
