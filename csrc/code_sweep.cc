// One pass of coordinate ascent over the codes of tiles of samples; padl_bayes/kernels/code_sweep.py is what it must
// agree with.
//
// A block of samples goes through all atoms with its residual in cache. One pass over the residual takes out what the
// last atom changed and finds the correlation with the next.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "code_sweep.h"
#include "parallel.h"
#include "slabs.h"
#include "xla/ffi/api/ffi.h"

namespace padl {
namespace {

namespace ffi = xla::ffi;

constexpr int kVectors = 4;   // of samples in a block: as many correlations as registers allow
constexpr int kBlocks = 4;    // of samples in a unit of work

template <typename T>
constexpr int kBlock = kVectors * kLanes<T>;

// What stays in a core's cache while a block goes through the atoms.
template <typename T>
struct Scratch {
  explicit Scratch(int64_t features, bool masked)
      : residual(features * kBlock<T> + kLanes<T>), observed(masked ? features * kBlock<T> + kLanes<T> : 0) {}
  std::vector<T> residual, observed;
};

template <typename T>
void gather(const T* from, int64_t stride, int64_t rows, int64_t count, T* to) {
  for (int64_t p = 0; p < rows; ++p, from += stride, to += kBlock<T>) {
    std::copy(from, from + count, to);
    std::fill(to + count, to + kBlock<T>, T(0));
  }
}

template <typename T>
void scatter(const T* from, int64_t stride, int64_t rows, int64_t count, T* to) {
  for (int64_t p = 0; p < rows; ++p, from += kBlock<T>, to += stride) std::copy(from, from + count, to);
}

// residual -= before x change (on observed entries), then its products with ``atom``.
template <bool masked, typename T>
PADL_INLINE void correct_and_correlate(int64_t features, const T* before, const Vec<T>* change, const T* atom, T* residual,
                                       const T* observed, Vec<T>* row, Vec<T>* weight) {
  Vec<T> sum[kVectors] = {}, seen[kVectors] = {};
  for (int64_t p = 0; p < features; ++p) {
    const T take = before[p], with = atom[p];
    for (int i = 0; i < kVectors; ++i) {
      const int64_t at = p * kBlock<T> + i * kLanes<T>;
      Vec<T> r = load(residual + at);
      if constexpr (masked) {
        const Vec<T> o = load(observed + at);
        r -= o * (take * change[i]);
        seen[i] += (with * with) * o;
      } else {
        r -= take * change[i];
      }
      sum[i] += with * r;
      store(residual + at, r);
    }
  }
  for (int i = 0; i < kVectors; ++i) row[i] = sum[i];
  if constexpr (masked)
    for (int i = 0; i < kVectors; ++i) weight[i] = seen[i];
}

template <bool masked, typename T>
void correct(int64_t features, const T* before, const Vec<T>* change, T* residual, const T* observed) {
  for (int64_t p = 0; p < features; ++p)
    for (int i = 0; i < kVectors; ++i) {
      const int64_t at = p * kBlock<T> + i * kLanes<T>;
      const Vec<T> step = before[p] * change[i];
      if constexpr (masked)
        store(residual + at, load(residual + at) - load(observed + at) * step);
      else
        store(residual + at, load(residual + at) - step);
    }
}

// Sum of a row in double precision, lane by lane.
PADL_INLINE Vec<double> total_of(const Vec<double>* parts) { return (parts[0] + parts[1]) + (parts[2] + parts[3]); }

PADL_INLINE Vec<double> total_of(const Vec<float>* parts) {
  typedef double Wide __attribute__((vector_size(2 * kBytes)));
  Wide sum{};
  for (int i = 0; i < kVectors; ++i) sum += __builtin_convertvector(parts[i], Wide);
  Vec<double> halves[2];
  std::memcpy(halves, &sum, sizeof(sum));
  return halves[0] + halves[1];
}

double total_of(Vec<double> lanes) {
  double sum = 0;
  for (int j = 0; j < kLanes<double>; ++j) sum += lanes[j];
  return sum;
}

// A row of ``count`` samples, zero beyond them.
template <typename T>
PADL_INLINE void get(const T* from, Vec<T>* row, int64_t count) {
  T values[kBlock<T>] = {};
  if (count < kBlock<T>) {
    std::copy(from, from + count, values);
    from = values;
  }
  for (int i = 0; i < kVectors; ++i) row[i] = load(from + i * kLanes<T>);
}

template <typename T>
void put(T* to, const Vec<T>* row, int64_t count) {
  if (to == nullptr) return;
  if (count == kBlock<T>) {
    for (int i = 0; i < kVectors; ++i) store(to + i * kLanes<T>, row[i]);
    return;
  }
  T values[kBlock<T>];
  for (int i = 0; i < kVectors; ++i) store(values + i * kLanes<T>, row[i]);
  std::copy(values, values + count, to);
}

// All atoms over ``count`` samples of a tile from ``first`` on; adds to ``sums`` (kSums, atoms).
template <Slab slab, bool masked, typename T>
void sweep_block(const CodeTask<T>& task, int64_t tile, int64_t first, int64_t count, Scratch<T>& scratch, Vec<double>* sums) {
  const int64_t n = task.samples, P = task.features, K = task.atoms;
  const int64_t at_features = tile * P * n + first, at_atoms = tile * K * n + first, at = tile * n + first;
  T* residual = scratch.residual.data();
  T* observed = masked ? scratch.observed.data() : nullptr;
  gather(task.residual + at_features, n, P, count, residual);
  if constexpr (masked) gather(task.observed + at_features, n, P, count, observed);
  Vec<T> valid[kVectors], change[kVectors] = {}, bound[kVectors] = {};
  get(task.valid + at, valid, count);
  const T* before = task.dictionary;
  const T least = std::numeric_limits<T>::epsilon(), precision = *task.precision;

  for (int64_t k = 0; k < K; ++k) {
    const T *atom = task.dictionary + k * P, usage_logit = task.usage_logit[k], rate = task.rate[k];
    const T usage = T(1) / (T(1) + std::exp(-usage_logit)), unused = T(1) / (T(1) + std::exp(usage_logit));
    const auto common = likelihood<slab, T, T>(precision, rate);
    Vec<T> row[kVectors], weight[kVectors], old[kVectors], on[kVectors];
    get(task.codes + at_atoms + k * n, old, count);
    for (int i = 0; i < kVectors; ++i) {
      on[i] = valid[i] * task.active[k];
      weight[i] = all<T>(1);
    }
    if (task.excluded != nullptr) {
      for (int64_t s = 0; s < count; ++s)
        if (task.excluded[at + s] == k) on[s / kLanes<T>][s % kLanes<T>] = 0;
    }
    const bool idle = task.active[k] == 0 && !any<T>((old[0] != 0) | (old[1] != 0) | (old[2] != 0) | (old[3] != 0));
    Vec<T> mean[kVectors] = {}, probability[kVectors] = {}, square[kVectors] = {}, log_evidence[kVectors] = {};
    if (!idle) {
      Vec<T> size[kVectors], variance[kVectors], weighted[kVectors];
      correct_and_correlate<masked>(P, before, change, atom, residual, observed, row, weight);
      for (int i = 0; i < kVectors; ++i) {
        Entry<T> q;
        if constexpr (masked) {
          weight[i] = weight[i] < least ? all<T>(least) : weight[i];
          const auto own = likelihood<slab, T, Vec<T>>(precision * weight[i], rate);
          q = entry<slab, T>(precision * (row[i] + weight[i] * old[i]), own, usage, unused, rate);
        } else {
          q = entry<slab, T>(precision * (row[i] + old[i]), common, usage, unused, rate);
        }
        mean[i] = on[i] * q.mean;
        square[i] = on[i] * q.square;
        probability[i] = on[i] * q.probability;
        log_evidence[i] = on[i] * q.log_evidence;
        size[i] = on[i] * q.size;
        const Vec<T> spread = square[i] - mean[i] * mean[i];
        variance[i] = weight[i] * (spread < T(0) ? Vec<T>{} : spread);
        weighted[i] = weight[i] * square[i];
        bound[i] -= on[i] * q.divergence + T(0.5) * precision * variance[i];
        change[i] = mean[i] - old[i];
      }
      before = atom;
      const Vec<T>* parts[kSums] = {probability, size, weighted, variance, log_evidence};
      for (int j = 0; j < kSums; ++j) sums[j * K + k] += total_of(parts[j]);
    }
    put(task.new_codes + at_atoms + k * n, mean, count);
    if (task.probability != nullptr) {
      put(task.probability + at_atoms + k * n, probability, count);
      put(task.square + at_atoms + k * n, square, count);
      put(task.log_evidence + at_atoms + k * n, log_evidence, count);
    }
  }
  correct<masked>(P, before, change, residual, observed);
  scatter(residual, n, P, count, task.new_residual + at_features);
  put(task.bound + at, bound, count);
}

template <Slab slab, typename T>
void sweep(const CodeTask<T>& task, ffi::ThreadPool& pool) {
  const int64_t K = task.atoms, unit = kBlocks * kBlock<T>, units_a_tile = (task.samples + unit - 1) / unit;
  const int64_t units = task.tiles * units_a_tile;
  // Of each unit, so that the order of addition does not depend on the threads.
  std::vector<double> parts(units * kSums * K);
  auto one = [&task, &parts, K, unit, units_a_tile](int64_t i) {
    const int64_t tile = i / units_a_tile, begin = (i % units_a_tile) * unit;
    const int64_t end = std::min(begin + unit, task.samples);
    Scratch<T> scratch(task.features, task.observed != nullptr);
    std::vector<Vec<double>> sums(kSums * K);
    for (int64_t first = begin; first < end; first += kBlock<T>) {
      const int64_t count = std::min<int64_t>(kBlock<T>, end - first);
      if (task.observed == nullptr)
        sweep_block<slab, false>(task, tile, first, count, scratch, sums.data());
      else
        sweep_block<slab, true>(task, tile, first, count, scratch, sums.data());
    }
    for (int64_t j = 0; j < kSums * K; ++j) parts[i * kSums * K + j] = total_of(sums[j]);
  };
  Team(pool, units).run(units, one);
  for (int64_t tile = 0; tile < task.tiles; ++tile)
    for (int64_t j = 0; j < kSums * K; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < units_a_tile; ++i) sum += parts[(tile * units_a_tile + i) * kSums * K + j];
      task.sums[tile * kSums * K + j] = static_cast<T>(sum);
    }
}

template <ffi::DataType type, typename T>
ffi::Error code_sweep(ffi::ThreadPool pool, int32_t slab, CodeBuffers<type> buffers) {
  const auto task = code_task<T>(slab, buffers);
  if (!task) return task.error();
  switch (static_cast<Slab>(slab)) {
    case Slab::kLaplace: sweep<Slab::kLaplace>(*task, pool); break;
    case Slab::kExponential: sweep<Slab::kExponential>(*task, pool); break;
    case Slab::kGaussian: sweep<Slab::kGaussian>(*task, pool); break;
    case Slab::kHalfNormal: sweep<Slab::kHalfNormal>(*task, pool); break;
  }
  return ffi::Error::Success();
}

template <ffi::DataType type, typename T>
auto implementation() {
  return [](ffi::ThreadPool pool, int32_t slab, auto... buffers) {
    return code_sweep<type, T>(pool, slab, {buffers...});
  };
}

template <ffi::DataType type>
auto binding() {
  return with_code_buffers<type>(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>());
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_code_sweep_f32, (implementation<ffi::F32, float>()), binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_code_sweep_f64, (implementation<ffi::F64, double>()), binding<ffi::F64>());
#pragma GCC visibility pop

}  // namespace padl
