// What every platform's row sweep is given, and the check that it fits together.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "buffers.h"
#include "xla/ffi/api/ffi.h"

namespace padl {

// Where things are, in the platform's own memory.
template <typename T>
struct RowTask {
  int64_t features, samples, rows;
  bool nonnegative;
  const T *atoms, *alpha1, *alpha2, *momentum;
  const int32_t* n_rows;
  T *codes, *older;  // (rows, samples), or null where codes start from zero and are not wanted
  T *residual, *previous, *levels, *objective;
};

// In the order of the call in padl_bayes/kernels/handlers.py.
template <xla::ffi::DataType type>
struct RowBuffers {
  using In = xla::ffi::Buffer<type>;
  using Out = xla::ffi::Result<In>;
  In history, residual, previous, levels, atoms;
  xla::ffi::Buffer<xla::ffi::S32> n_rows;
  In alpha1, alpha2, momentum;
  Out new_history, new_residual, new_previous, new_levels, objective;
};

// ``binding`` holds what the platform gives a handler: then come the sign of the codes and the buffers.
template <xla::ffi::DataType type, typename Binding>
auto with_row_buffers(Binding binding) {
  using In = xla::ffi::Buffer<type>;
  return std::move(binding)
      .template Attr<bool>("nonnegative")
      .template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>()
      .template Arg<xla::ffi::Buffer<xla::ffi::S32>>()
      .template Arg<In>().template Arg<In>().template Arg<In>()
      .template Ret<In>().template Ret<In>().template Ret<In>().template Ret<In>().template Ret<In>();
}

// ``copy(to, from, count)`` where XLA did not put a result into its argument's place.
template <typename T, xla::ffi::DataType type, typename Copy>
xla::ffi::ErrorOr<RowTask<T>> row_task(bool nonnegative, RowBuffers<type>& b, const Copy& copy) {
  auto wrong = [](const char* what) {
    return xla::ffi::Unexpected(xla::ffi::Error::InvalidArgument(std::string("row_sweep: ") + what));
  };
  if (b.atoms.dimensions().size() != 2) return wrong("atoms must have 2 dimensions");
  const int64_t W = b.atoms.dimensions()[0], P = b.atoms.dimensions()[1];
  if (b.residual.dimensions().size() != 2) return wrong("residual must have 2 dimensions");
  const int64_t N = b.residual.dimensions()[1];
  if (!has_shape(b.residual, {P, N}) || !has_shape(*b.new_residual, {P, N}))
    return wrong("residual must be (features, samples)");
  const bool keeps_codes = b.history.element_count() > 0;
  if (keeps_codes ? !has_shape(b.history, {2, W, N}) || !has_shape(*b.new_history, {2, W, N})
                  : b.new_history->element_count() != 0)
    return wrong("history must be (2, rows, samples), or empty");
  if (keeps_codes ? !has_shape(b.previous, {P, N}) || !has_shape(*b.new_previous, {P, N})
                  : b.new_previous->element_count() != 0)
    return wrong("the previous residual must be (features, samples), or empty without a history");
  if (!has_shape(b.levels, {W}) || !has_shape(*b.new_levels, {W})) return wrong("levels must be (rows,)");
  if (!has_shape(b.n_rows, {}) || !has_shape(b.alpha1, {}) || !has_shape(b.alpha2, {}) ||
      !has_shape(b.momentum, {}) || !has_shape(*b.objective, {}))
    return wrong("n_rows, alpha1, alpha2, momentum and the objective must be scalars");

  auto in_place = [&copy](const auto& from, auto& to) {
    T* values = to->typed_data();
    // A previous residual without a history may be of any size, its result is empty.
    if (values != from.typed_data() && to->element_count() > 0) copy(values, from.typed_data(), to->element_count());
    return values;
  };
  T* codes = in_place(b.history, b.new_history);
  return RowTask<T>{P, N, W, nonnegative,
                    b.atoms.typed_data(), b.alpha1.typed_data(), b.alpha2.typed_data(), b.momentum.typed_data(),
                    b.n_rows.typed_data(), keeps_codes ? codes : nullptr, keeps_codes ? codes + W * N : nullptr,
                    in_place(b.residual, b.new_residual), in_place(b.previous, b.new_previous),
                    in_place(b.levels, b.new_levels), b.objective->typed_data()};
}

}  // namespace padl
