// What every platform's code sweep is given, and the check that it fits together.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "buffers.h"
#include "xla/ffi/api/ffi.h"

namespace padl {

constexpr int kSums = 5;  // used, size, square, variance, log evidence

// Where things are, in the platform's own memory; null where not given or not wanted.
template <typename T>
struct CodeTask {
  int64_t tiles, features, atoms, samples;
  const T *residual, *codes, *valid, *observed, *dictionary, *usage_logit, *rate, *active, *precision;
  const int32_t* excluded;
  T *new_residual, *new_codes, *probability, *square, *log_evidence, *sums, *bound;
};

// In the order of the call in padl_bayes/kernels/handlers.py.
template <xla::ffi::DataType type>
struct CodeBuffers {
  using In = xla::ffi::Buffer<type>;
  using Out = xla::ffi::Result<In>;
  In residual, codes, valid, dictionary, usage_logit, rate, active, precision, observed;
  xla::ffi::Buffer<xla::ffi::S32> excluded;
  Out new_residual, new_codes, probability, square, log_evidence, sums, bound;
};

// ``binding`` holds what the platform gives a handler: then come the slab's number and the buffers.
template <xla::ffi::DataType type, typename Binding>
auto with_code_buffers(Binding binding) {
  using In = xla::ffi::Buffer<type>;
  return std::move(binding)
      .template Attr<int32_t>("slab")
      .template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>()
      .template Arg<In>().template Arg<In>().template Arg<In>().template Arg<In>()
      .template Arg<xla::ffi::Buffer<xla::ffi::S32>>()
      .template Ret<In>().template Ret<In>().template Ret<In>().template Ret<In>().template Ret<In>()
      .template Ret<In>().template Ret<In>();
}

template <typename T, xla::ffi::DataType type>
xla::ffi::ErrorOr<CodeTask<T>> code_task(int32_t slab, CodeBuffers<type>& b) {
  auto wrong = [](const char* what) {
    return xla::ffi::Unexpected(xla::ffi::Error::InvalidArgument(std::string("code_sweep: ") + what));
  };
  const auto shape = b.residual.dimensions();
  if (shape.size() != 3) return wrong("residual must have 3 dimensions");
  const int64_t tiles = shape[0], P = shape[1], n = shape[2];
  if (b.dictionary.dimensions().size() != 2) return wrong("dictionary must have 2 dimensions");
  const int64_t K = b.dictionary.dimensions()[0];
  if (!has_shape(b.dictionary, {K, P})) return wrong("dictionary must be (atoms, features)");
  if (!has_shape(b.codes, {tiles, K, n})) return wrong("codes must be (tiles, atoms, samples)");
  if (!has_shape(b.valid, {tiles, n})) return wrong("valid must be (tiles, samples)");
  if (!has_shape(b.usage_logit, {K}) || !has_shape(b.rate, {K}) || !has_shape(b.active, {K}))
    return wrong("usage_logit, rate and active must be (atoms,)");
  if (!has_shape(b.precision, {})) return wrong("precision must be a scalar");
  const bool masked = b.observed.element_count() > 0, excludes = b.excluded.element_count() > 0;
  if (masked && !has_shape(b.observed, {tiles, P, n})) return wrong("observed must be (tiles, features, samples)");
  if (excludes && !has_shape(b.excluded, {tiles, n})) return wrong("excluded must be (tiles, samples)");
  if (!has_shape(*b.new_residual, {tiles, P, n})) return wrong("the new residual must be (tiles, features, samples)");
  if (!has_shape(*b.new_codes, {tiles, K, n})) return wrong("the new codes must be (tiles, atoms, samples)");
  const bool entries = b.probability->element_count() > 0;
  for (auto* out : {&b.probability, &b.square, &b.log_evidence})
    if (entries ? !has_shape(**out, {tiles, K, n}) : (*out)->element_count() != 0)
      return wrong("probability, square and log_evidence must all be (tiles, atoms, samples), or all empty");
  if (!has_shape(*b.sums, {tiles, kSums, K})) return wrong("sums must be (tiles, 5, atoms)");
  if (!has_shape(*b.bound, {tiles, n})) return wrong("bound must be (tiles, samples)");
  if (slab < 0 || slab > 3) return wrong("unknown slab");

  return CodeTask<T>{tiles, P, K, n,
                     b.residual.typed_data(), b.codes.typed_data(), b.valid.typed_data(),
                     masked ? b.observed.typed_data() : nullptr, b.dictionary.typed_data(),
                     b.usage_logit.typed_data(), b.rate.typed_data(), b.active.typed_data(), b.precision.typed_data(),
                     excludes ? b.excluded.typed_data() : nullptr, b.new_residual->typed_data(),
                     b.new_codes->typed_data(), entries ? b.probability->typed_data() : nullptr,
                     entries ? b.square->typed_data() : nullptr, entries ? b.log_evidence->typed_data() : nullptr,
                     b.sums->typed_data(), b.bound->typed_data()};
}

}  // namespace padl
