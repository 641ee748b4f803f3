// The pass of variational EM over the codes of tiles of samples; padl_bayes/kernels/code_sweep.py is what it must agree
// with.

#include <cstdint>
#include <vector>

#include "code_sweep.h"
#include "slabs.h"
#include "sweep.h"
#include "xla/ffi/api/ffi.h"

namespace padl {
namespace {

namespace ffi = xla::ffi;

// Prior of an atom's codes.
template <typename T>
struct Prior {
  T usage, unused, rate;
};

// Posterior means; the sums are those of padl_bayes.kernels.code_sweep.AtomSums.
template <Slab slab, typename T>
class PosteriorMeans {
 public:
  static constexpr int kSums = padl::kSums;
  struct Block {
    Row<T> bound;
  };

  explicit PosteriorMeans(const CodeTask<T>& task) : task_(task) {
    for (int64_t k = 0; k < task.atoms; ++k) {
      const T logit = task.usage_logit[k], rate = task.rate[k];
      prior_.push_back({T(1) / (T(1) + std::exp(-logit)), T(1) / (T(1) + std::exp(logit)), rate});
      common_.push_back(likelihood<slab, T, T>(*task.precision, rate));
    }
  }

  Block start(const Place&) const { return {}; }

  template <bool masked>
  PADL_INLINE Row<T> update(int64_t k, const Place& place, Block& block, const Row<T>& linear, const Row<T>& weight,
                            const Row<T>& old, const Row<T>& on, Vec<double>* sums) const {
    const Prior<T> prior = prior_[k];
    const T precision = *task_.precision;
    Row<T> mean, probability, square, log_evidence;
    Vec<double> totals[kSums];
    for (int j = 0; j < kSums; ++j) totals[j] = sums[j * task_.atoms + k];
    Vec<T> c[kVectors], total[kVectors], log_total[kVectors];
    Moments<T> given[kVectors];
    for (int i = 0; i < kVectors; ++i) c[i] = precision * (linear[i] + (masked ? weight[i] * old[i] : old[i]));
    if constexpr (!masked) {
      moments_of<slab, T, kVectors>(c, common_[k], prior.rate, given);
      for (int i = 0; i < kVectors; ++i) total[i] = sides<T, T>(given[i], common_[k], prior.usage, prior.unused).all;
      for (int i = 0; i < kVectors; ++i) log_total[i] = log_positive(total[i]);
    }
    for (int i = 0; i < kVectors; ++i) {
      Entry<T> q;
      if constexpr (masked) {
        q = entry<slab, T>(c[i], likelihood<slab, T, Vec<T>>(precision * weight[i], prior.rate), prior.usage, prior.unused,
                           prior.rate);
      } else {
        q = entry_of<T, T>(c[i], given[i], common_[k], prior.usage, total[i], log_total[i]);
      }
      mean[i] = on[i] * q.mean;
      square[i] = on[i] * q.square;
      probability[i] = on[i] * q.probability;
      log_evidence[i] = on[i] * q.log_evidence;
      const Vec<T> spread = square[i] - mean[i] * mean[i];
      const Vec<T> variance = weight[i] * (spread < T(0) ? Vec<T>{} : spread);
      block.bound[i] -= on[i] * q.divergence + T(0.5) * precision * variance;
      const Vec<T> parts[kSums] = {probability[i], on[i] * q.size, weight[i] * square[i], variance, log_evidence[i]};
      for (int j = 0; j < kSums; ++j) totals[j] += widened(parts[j]);
    }
    for (int j = 0; j < kSums; ++j) sums[j * task_.atoms + k] = totals[j];
    put_entry(k, place, probability, square, log_evidence);
    return mean;
  }

  void idle(int64_t k, const Place& place) const { put_entry(k, place, {}, {}, {}); }

  void finish(const Block& block, const Place& place) const { put(task_.bound + place.at, block.bound, place.count); }

 private:
  PADL_INLINE void put_entry(int64_t k, const Place& place, const Row<T>& probability, const Row<T>& square,
                             const Row<T>& log_evidence) const {
    if (task_.probability == nullptr) return;
    const int64_t at = place.at_atoms + k * task_.samples;
    put(task_.probability + at, probability, place.count);
    put(task_.square + at, square, place.count);
    put(task_.log_evidence + at, log_evidence, place.count);
  }

  const CodeTask<T> task_;
  std::vector<Prior<T>> prior_;
  std::vector<Likelihood<T, T>> common_;
};

template <Slab slab, typename T>
void run(const CodeTask<T>& task, ffi::ThreadPool& pool) {
  const Pass<T> pass{task.tiles, task.features, task.atoms, task.samples, task.residual, task.codes, task.valid,
                     task.observed, task.dictionary, task.active, task.excluded, task.new_residual, task.new_codes};
  sweep(pass, PosteriorMeans<slab, T>(task), pool, task.sums);
}

template <ffi::DataType type, typename T>
ffi::Error code_sweep(ffi::ThreadPool pool, int32_t slab, CodeBuffers<type> buffers) {
  const auto task = code_task<T>(slab, buffers);
  if (!task) return task.error();
  switch (static_cast<Slab>(slab)) {
    case Slab::kLaplace: run<Slab::kLaplace>(*task, pool); break;
    case Slab::kExponential: run<Slab::kExponential>(*task, pool); break;
    case Slab::kGaussian: run<Slab::kGaussian>(*task, pool); break;
    case Slab::kHalfNormal: run<Slab::kHalfNormal>(*task, pool); break;
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
