// The pass of coordinate descent on a lasso in a box; padl_bayes/kernels/box_sweep.py is what it must agree with.

#include <cstdint>
#include <string>

#include "buffers.h"
#include "sweep.h"
#include "xla/ffi/api/ffi.h"

namespace padl {
namespace {

namespace ffi = xla::ffi;

template <typename T>
class Clip {
 public:
  static constexpr int kSums = 0;
  struct Block {
    Row<T> moved;
  };

  Clip(T alpha1, bool nonnegative, const T* envelope, T* moved)
      : alpha1_(alpha1), nonnegative_(nonnegative), envelope_(envelope), moved_(moved) {}

  Block start(const Place&) const { return {}; }

  template <bool masked>
  PADL_INLINE Row<T> update(int64_t k, const Place&, Block& block, const Row<T>& row, const Row<T>& weight, const Row<T>& old,
                            const Row<T>&, Vec<double>*) const {
    const Vec<T> top = all<T>(envelope_[k]), bottom = nonnegative_ ? Vec<T>{} : -top;
    Row<T> codes;
    for (int i = 0; i < kVectors; ++i) {
      const Vec<T> target = row[i] + weight[i] * old[i], left = magnitude<T>(target) - alpha1_;
      const Vec<T> size = left < T(0) ? Vec<T>{} : left, shrunk = target < T(0) ? -size : size;
      Vec<T> code = masked ? shrunk / weight[i] : shrunk;
      code = code > top ? top : code;
      code = code < bottom ? bottom : code;
      const Vec<T> step = magnitude<T>(code - old[i]);
      // Not a number moves, so that it is seen.
      block.moved[i] = step <= block.moved[i] ? block.moved[i] : step;
      codes[i] = code;
    }
    return codes;
  }

  void idle(int64_t, const Place&) const {}
  void finish(const Block& block, const Place& place) const { put(moved_ + place.at, block.moved, place.count); }

 private:
  const T alpha1_;
  const bool nonnegative_;
  const T* envelope_;
  T* moved_;
};

ffi::Error wrong(const char* what) { return ffi::Error::InvalidArgument(std::string("box_sweep: ") + what); }

template <ffi::DataType type, typename T>
ffi::Error box_sweep(ffi::ThreadPool pool, bool nonnegative, ffi::Buffer<type> residual, ffi::Buffer<type> codes,
                     ffi::Buffer<type> dictionary, ffi::Buffer<type> envelope, ffi::Buffer<type> alpha1,
                     ffi::Buffer<type> observed, ffi::Result<ffi::Buffer<type>> new_residual,
                     ffi::Result<ffi::Buffer<type>> new_codes, ffi::Result<ffi::Buffer<type>> moved) {
  Pass<T> pass{};
  const char* problem = pass_of(residual, codes, dictionary, observed, *new_residual, *new_codes, &pass);
  if (problem != nullptr) return wrong(problem);
  if (!has_shape(envelope, {pass.atoms})) return wrong("envelope must be (atoms,)");
  if (!has_shape(alpha1, {})) return wrong("alpha1 must be a scalar");
  if (!has_shape(*moved, {pass.tiles, pass.samples})) return wrong("moved must be (tiles, samples)");
  const Clip<T> clip(*alpha1.typed_data(), nonnegative, envelope.typed_data(), moved->typed_data());
  sweep(pass, clip, pool, static_cast<T*>(nullptr));
  return ffi::Error::Success();
}

template <ffi::DataType type>
auto binding() {
  using In = ffi::Buffer<type>;
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<bool>("nonnegative")
      .template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>()
      .template Ret<In>().template Ret<In>().template Ret<In>();
}

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_box_sweep_f32, (box_sweep<ffi::F32, float>), binding<ffi::F32>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(padl_box_sweep_f64, (box_sweep<ffi::F64, double>), binding<ffi::F64>());
#pragma GCC visibility pop

}  // namespace padl
