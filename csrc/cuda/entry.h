// The posterior of one code entry for a host and a device: csrc/slabs.h, of numbers where csrc/vector_math.h has vectors.
//
// The exponential and the logarithm are those of the platform, correct to 1 rounding (CUDA's to 1 unit in the last
// place): the statement of padl_bayes/kernels/special.py holds. NaN in, NaN out.
#pragma once

#include <cmath>
#include <limits>

#include "device.h"

#define PADL_SCALARS
#define PADL_INLINE __host__ __device__ __forceinline__

namespace padl {

template <typename T>
using Vec = T;
template <typename T>
using Bits = bool;

template <typename T>
PADL_INLINE T all(T value) {
  return value;
}

template <typename T>
PADL_INLINE bool any(bool one) {
  return one;
}

template <typename T>
PADL_INLINE T magnitude(T x) {
  return std::fabs(x);
}

template <typename T>
PADL_INLINE T root(T x) {
  return std::sqrt(x);
}

template <typename T>
PADL_INLINE T exp_nonpositive(T x) {
  return std::exp(x);
}

template <typename T>
PADL_INLINE T log_positive(T x) {
  return std::log(x);
}

template <typename T, int n>
PADL_INLINE T polynomial(const T (&c)[n], T y) {
  T value = c[n - 1];
#pragma unroll
  for (int i = n - 2; i >= 0; --i) value = value * y + c[i];
  return value;
}

}  // namespace padl

#include "../slabs.h"
