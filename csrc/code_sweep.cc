// The pass of variational EM over the codes of tiles of samples; padl_bayes/kernels/code_sweep.py is what it must agree
// with.

#include <cstdint>
#include <string>
#include <vector>

#include "buffers.h"
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

template <typename T>
struct Given {
  T precision;
  const T *usage_logit, *rate;
  T *probability, *square, *log_evidence, *bound;
};

// Posterior means; the sums are those of padl_bayes.kernels.code_sweep.AtomSums.
template <Slab slab, typename T>
class PosteriorMeans {
 public:
  static constexpr int kSums = 5;
  struct Block {
    Row<T> bound;
  };

  PosteriorMeans(const Pass<T>& pass, const Given<T>& given) : pass_(pass), given_(given) {
    for (int64_t k = 0; k < pass.atoms; ++k) {
      const T logit = given.usage_logit[k], rate = given.rate[k];
      prior_.push_back({T(1) / (T(1) + std::exp(-logit)), T(1) / (T(1) + std::exp(logit)), rate});
      common_.push_back(likelihood<slab, T, T>(given.precision, rate));
    }
  }

  Block start(const Place&) const { return {}; }

  template <bool masked>
  PADL_INLINE Row<T> update(int64_t k, const Place& place, Block& block, const Row<T>& linear, const Row<T>& weight,
                            const Row<T>& old, const Row<T>& on, Vec<double>* sums) const {
    const Prior<T> prior = prior_[k];
    const T precision = given_.precision;
    Row<T> mean, probability, square, log_evidence, size, variance, weighted;
    for (int i = 0; i < kVectors; ++i) {
      Entry<T> q;
      if constexpr (masked) {
        const auto own = likelihood<slab, T, Vec<T>>(precision * weight[i], prior.rate);
        q = entry<slab, T>(precision * (linear[i] + weight[i] * old[i]), own, prior.usage, prior.unused, prior.rate);
      } else {
        q = entry<slab, T>(precision * (linear[i] + old[i]), common_[k], prior.usage, prior.unused, prior.rate);
      }
      mean[i] = on[i] * q.mean;
      square[i] = on[i] * q.square;
      probability[i] = on[i] * q.probability;
      log_evidence[i] = on[i] * q.log_evidence;
      size[i] = on[i] * q.size;
      const Vec<T> spread = square[i] - mean[i] * mean[i];
      variance[i] = weight[i] * (spread < T(0) ? Vec<T>{} : spread);
      weighted[i] = weight[i] * square[i];
      block.bound[i] -= on[i] * q.divergence + T(0.5) * precision * variance[i];
    }
    const Row<T>* parts[kSums] = {&probability, &size, &weighted, &variance, &log_evidence};
    for (int j = 0; j < kSums; ++j) sums[j * pass_.atoms + k] += total_of(*parts[j]);
    put_entry(k, place, probability, square, log_evidence);
    return mean;
  }

  void idle(int64_t k, const Place& place) const { put_entry(k, place, {}, {}, {}); }

  void finish(const Block& block, const Place& place) const { put(given_.bound + place.at, block.bound, place.count); }

 private:
  PADL_INLINE void put_entry(int64_t k, const Place& place, const Row<T>& probability, const Row<T>& square,
                             const Row<T>& log_evidence) const {
    if (given_.probability == nullptr) return;
    const int64_t at = place.at_atoms + k * pass_.samples;
    put(given_.probability + at, probability, place.count);
    put(given_.square + at, square, place.count);
    put(given_.log_evidence + at, log_evidence, place.count);
  }

  const Pass<T> pass_;
  const Given<T> given_;
  std::vector<Prior<T>> prior_;
  std::vector<Likelihood<T, T>> common_;
};

ffi::Error wrong(const char* what) { return ffi::Error::InvalidArgument(std::string("code_sweep: ") + what); }

template <ffi::DataType type, typename T>
ffi::Error code_sweep(ffi::ThreadPool pool, int32_t slab, ffi::Buffer<type> residual, ffi::Buffer<type> codes,
                      ffi::Buffer<type> valid, ffi::Buffer<type> dictionary, ffi::Buffer<type> usage_logit,
                      ffi::Buffer<type> rate, ffi::Buffer<type> active, ffi::Buffer<type> precision,
                      ffi::Buffer<type> observed, ffi::Buffer<ffi::S32> excluded, ffi::Result<ffi::Buffer<type>> new_residual,
                      ffi::Result<ffi::Buffer<type>> new_codes, ffi::Result<ffi::Buffer<type>> probability,
                      ffi::Result<ffi::Buffer<type>> square, ffi::Result<ffi::Buffer<type>> log_evidence,
                      ffi::Result<ffi::Buffer<type>> sums, ffi::Result<ffi::Buffer<type>> bound) {
  Pass<T> pass{};
  const char* problem = pass_of(residual, codes, dictionary, observed, *new_residual, *new_codes, &pass);
  if (problem == nullptr) problem = restrict_pass(valid, active, excluded, &pass);
  if (problem != nullptr) return wrong(problem);
  const int64_t tiles = pass.tiles, K = pass.atoms, n = pass.samples;
  if (!has_shape(usage_logit, {K}) || !has_shape(rate, {K})) return wrong("usage_logit and rate must be (atoms,)");
  if (!has_shape(precision, {})) return wrong("precision must be a scalar");
  const bool entries = probability->element_count() > 0;
  for (auto* out : {&probability, &square, &log_evidence})
    if (entries ? !has_shape(**out, {tiles, K, n}) : (*out)->element_count() != 0)
      return wrong("probability, square and log_evidence must all be (tiles, atoms, samples), or all empty");
  if (!has_shape(*sums, {tiles, 5, K})) return wrong("sums must be (tiles, 5, atoms)");
  if (!has_shape(*bound, {tiles, n})) return wrong("bound must be (tiles, samples)");
  const Given<T> given{*precision.typed_data(), usage_logit.typed_data(), rate.typed_data(),
                       entries ? probability->typed_data() : nullptr, entries ? square->typed_data() : nullptr,
                       entries ? log_evidence->typed_data() : nullptr, bound->typed_data()};
  T* out = sums->typed_data();
  switch (static_cast<Slab>(slab)) {
    case Slab::kLaplace: sweep(pass, PosteriorMeans<Slab::kLaplace, T>(pass, given), pool, out); break;
    case Slab::kExponential: sweep(pass, PosteriorMeans<Slab::kExponential, T>(pass, given), pool, out); break;
    case Slab::kGaussian: sweep(pass, PosteriorMeans<Slab::kGaussian, T>(pass, given), pool, out); break;
    case Slab::kHalfNormal: sweep(pass, PosteriorMeans<Slab::kHalfNormal, T>(pass, given), pool, out); break;
    default: return wrong("unknown slab");
  }
  return ffi::Error::Success();
}

template <ffi::DataType type>
auto binding() {
  using In = ffi::Buffer<type>;
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<int32_t>("slab")
      .template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>()
      .template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>()
      .template Arg<ffi::Buffer<ffi::S32>>()
      .template Ret<In>().template Ret<In>().template Ret<In>().template Ret<In>().template Ret<In>()
      .template Ret<In>().template Ret<In>();
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_code_sweep_f32, (code_sweep<ffi::F32, float>), binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_code_sweep_f64, (code_sweep<ffi::F64, double>), binding<ffi::F64>());
#pragma GCC visibility pop

}  // namespace padl
