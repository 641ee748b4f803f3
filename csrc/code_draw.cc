// The pass of Gibbs draws over the codes of tiles of samples; padl_bayes/kernels/code_draw.py is what it must agree with.
//
// Whether an entry is used is drawn for all samples; how large it is only for those that use the atom, gathered from the
// whole block.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "buffers.h"
#include "draws.h"
#include "sweep.h"
#include "xla/ffi/api/ffi.h"

namespace padl {
namespace {

namespace ffi = xla::ffi;

template <typename T>
struct Given {
  T precision;
  const T *usage_logit, *rate;
  const uint32_t* keys;
};

template <Slab slab, typename T>
class GibbsDraws {
 public:
  static constexpr int kSums = 3;
  static constexpr int kPadded = kBlock<T> > kWords ? kBlock<T> : kWords;
  struct Block {
    uint32_t keys[2][kPadded] = {};
  };

  GibbsDraws(const Pass<T>& pass, const Given<T>& given) : pass_(pass), given_(given) {
    for (int64_t k = 0; k < pass.atoms; ++k) common_.push_back(likelihood<slab, T, T>(given.precision, given.rate[k]));
  }

  Block start(const Place& place) const {
    Block block;
    for (int word = 0; word < 2; ++word) {
      const uint32_t* from = given_.keys + (2 * place.tile + word) * pass_.samples + place.first;
      std::copy(from, from + place.count, block.keys[word]);
    }
    return block;
  }

  template <bool masked>
  PADL_INLINE Row<T> update(int64_t k, const Place&, Block& block, const Row<T>& row, const Row<T>& weight, const Row<T>& old,
                            const Row<T>& on, Vec<double>* sums) const {
    const T logit = given_.usage_logit[k], rate = given_.rate[k], precision = given_.precision;
    const T usage = T(1) / (T(1) + std::exp(-logit)), unused = T(1) / (T(1) + std::exp(logit));
    alignas(kBytes) T uniform[kPadded], linear[kBlock<T>], weights[kBlock<T>], codes[kBlock<T>] = {};
    uniforms<kPadded>(block.keys[0], block.keys[1], 3 * k + 2, uniform);
    int used[kBlock<T> + kWords], count = 0;
    for (int i = 0; i < kVectors; ++i) {
      const Vec<T> own = weight[i] * old[i], c = precision * (row[i] + own);
      store(linear + i * kLanes<T>, c);
      if (masked) store(weights + i * kLanes<T>, weight[i]);
      const Sides<T> use =
          masked ? use_of<Vec<T>>(c, likelihood<slab, T, Vec<T>>(precision * weight[i], rate), usage, unused, rate)
                 : use_of<T>(c, common_[k], usage, unused, rate);
      // What is not a number is used, so that it stays.
      const Bits<T> not_used = (on[i] == T(0)) | (load(uniform + i * kLanes<T>) * use.all >= use.slab);
      count += numbers_where<T>(~not_used, i * kLanes<T>, used + count);
    }
    for (int first = 0; first < count; first += kLanes<T>)
      draw_some<masked>(k, block, used + first, std::min(count - first, kLanes<T>), linear, weights, codes, sums);
    Row<T> drawn;
    for (int i = 0; i < kVectors; ++i) drawn[i] = load(codes + i * kLanes<T>);
    return drawn;
  }

  void idle(int64_t, const Place&) const {}
  void finish(const Block&, const Place&) const {}

 private:
  // P(used) = slab / all.
  template <typename Q>
  PADL_INLINE static Sides<T> use_of(Vec<T> c, const Likelihood<T, Q>& like, T usage, T unused, T rate) {
    return sides<T, Q>(moments<slab, T, Q>(c, like, rate), like, usage, unused);
  }

  // ``count`` <= kLanes draws for the samples ``used``, and their sums.
  template <bool masked>
  PADL_INLINE void draw_some(int64_t k, const Block& block, const int* used, int count, const T* linear, const T* weights,
                             T* codes, Vec<double>* sums) const {
    constexpr int size = kLanes<T> > kWords ? kLanes<T> : kWords;
    uint32_t keys[2][size] = {};
    T c[kLanes<T>] = {}, w[kLanes<T>], side[size], uniform[size];
    std::fill(w, w + kLanes<T>, T(1));
    for (int j = 0; j < count; ++j) {
      c[j] = linear[used[j]];
      if (masked) w[j] = weights[used[j]];
      for (int word = 0; word < 2; ++word) keys[word][j] = block.keys[word][used[j]];
    }
    if constexpr (slab == Slab::kLaplace) uniforms<size>(keys[0], keys[1], 3 * k, side);
    uniforms<size>(keys[0], keys[1], 3 * k + 1, uniform);
    const T rate = given_.rate[k];
    const Vec<T> sides = slab == Slab::kLaplace ? load(side) : Vec<T>{};
    Vec<T> drawn;
    if constexpr (masked) {
      const auto like = likelihood<slab, T, Vec<T>>(given_.precision * load(w), rate);
      drawn = draw_used<slab, T>(load(c), like, rate, sides, load(uniform));
    } else {
      drawn = draw_used<slab, T>(load(c), common_[k], rate, sides, load(uniform));
    }
    for (int j = 0; j < count; ++j) codes[used[j]] = drawn[j];
    add(k, drawn, masked ? load(w) : all<T>(1), count, sums);
  }

  // Adds the first ``count`` lanes.
  PADL_INLINE void add(int64_t k, Vec<T> drawn, Vec<T> weight, int count, Vec<double>* sums) const {
    T lanes[kLanes<T>];
    for (int j = 0; j < kLanes<T>; ++j) lanes[j] = T(j);
    const Vec<T> r = load(lanes) < T(count) ? drawn : Vec<T>{};
    const Vec<T> used = r == T(0) ? Vec<T>{} : all<T>(1);
    const Vec<T> size = slab == Slab::kLaplace || slab == Slab::kExponential ? magnitude<T>(r) : T(0.5) * r * r;
    const Vec<T> parts[kSums] = {used, size, weight * r * r};
    for (int j = 0; j < kSums; ++j) sums[j * pass_.atoms + k] += widened(parts[j]);
  }

  const Pass<T> pass_;
  const Given<T> given_;
  std::vector<Likelihood<T, T>> common_;
};

ffi::Error wrong(const char* what) { return ffi::Error::InvalidArgument(std::string("code_draw: ") + what); }

template <ffi::DataType type, typename T>
ffi::Error code_draw(ffi::ThreadPool pool, int32_t slab, ffi::Buffer<type> residual, ffi::Buffer<type> codes,
                     ffi::Buffer<type> valid, ffi::Buffer<type> dictionary, ffi::Buffer<type> usage_logit,
                     ffi::Buffer<type> rate, ffi::Buffer<type> active, ffi::Buffer<type> precision,
                     ffi::Buffer<type> observed, ffi::Buffer<ffi::S32> excluded, ffi::Buffer<ffi::U32> keys,
                     ffi::Result<ffi::Buffer<type>> new_residual, ffi::Result<ffi::Buffer<type>> new_codes,
                     ffi::Result<ffi::Buffer<type>> sums) {
  Pass<T> pass{};
  const char* problem = pass_of(residual, codes, dictionary, observed, *new_residual, *new_codes, &pass);
  if (problem == nullptr) problem = restrict_pass(valid, active, excluded, &pass);
  if (problem != nullptr) return wrong(problem);
  const int64_t K = pass.atoms;
  if (!has_shape(usage_logit, {K}) || !has_shape(rate, {K})) return wrong("usage_logit and rate must be (atoms,)");
  if (!has_shape(precision, {})) return wrong("precision must be a scalar");
  if (!has_shape(keys, {pass.tiles, 2, pass.samples})) return wrong("keys must be (tiles, 2, samples)");
  if (!has_shape(*sums, {pass.tiles, 3, K})) return wrong("sums must be (tiles, 3, atoms)");
  const Given<T> given{*precision.typed_data(), usage_logit.typed_data(), rate.typed_data(), keys.typed_data()};
  T* out = sums->typed_data();
  switch (static_cast<Slab>(slab)) {
    case Slab::kLaplace: sweep(pass, GibbsDraws<Slab::kLaplace, T>(pass, given), pool, out); break;
    case Slab::kExponential: sweep(pass, GibbsDraws<Slab::kExponential, T>(pass, given), pool, out); break;
    case Slab::kGaussian: sweep(pass, GibbsDraws<Slab::kGaussian, T>(pass, given), pool, out); break;
    case Slab::kHalfNormal: sweep(pass, GibbsDraws<Slab::kHalfNormal, T>(pass, given), pool, out); break;
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
      .template Arg<ffi::Buffer<ffi::S32>>().template Arg<ffi::Buffer<ffi::U32>>()
      .template Ret<In>().template Ret<In>().template Ret<In>();
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_code_draw_f32, (code_draw<ffi::F32, float>), binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_code_draw_f64, (code_draw<ffi::F64, double>), binding<ffi::F64>());
#pragma GCC visibility pop

}  // namespace padl
