// Vectors as wide as the registers, their exponential and their logarithm.
//
// Plain GCC vector types, of which the compiler makes code for any instruction set, though very slow code where a vector
// is wider than a register. NaN in, NaN out: comparisons
// are written so that a NaN fails them and stays.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace padl {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

template <typename T>
struct VectorOf;
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kBytes)));
  typedef int64_t bits __attribute__((vector_size(kBytes)));
};
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kBytes)));
  typedef int32_t bits __attribute__((vector_size(kBytes)));
};

template <typename T>
using Vec = typename VectorOf<T>::type;
template <typename T>
using Bits = typename VectorOf<T>::bits;
template <typename T>
constexpr int kLanes = kBytes / sizeof(T);

#define PADL_INLINE inline __attribute__((always_inline))

template <typename T>
PADL_INLINE Vec<T> all(T value) {
  return Vec<T>{} + value;
}

template <typename T>
PADL_INLINE Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, kBytes);
  return v;
}

template <typename T>
PADL_INLINE void store(T* to, Vec<T> v) {
  std::memcpy(to, &v, kBytes);
}

template <typename T>
PADL_INLINE Vec<T> magnitude(Vec<T> x) {
  constexpr auto mask = sizeof(T) == 8 ? INT64_MAX : static_cast<int64_t>(INT32_MAX);
  return (Vec<T>)((Bits<T>)x & static_cast<std::conditional_t<sizeof(T) == 8, int64_t, int32_t>>(mask));
}

PADL_INLINE double root(double x) { return std::sqrt(x); }
PADL_INLINE float root(float x) { return std::sqrt(x); }

template <typename V, typename = decltype(V{}[0])>
PADL_INLINE V root(V x) {
  using T = std::remove_reference_t<decltype(x[0])>;
  V y;
  for (int i = 0; i < kLanes<T>; ++i) y[i] = std::sqrt(x[i]);
  return y;
}

template <typename T>
PADL_INLINE bool any(Bits<T> mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX__)
  return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#else
  Bits<T> zero{};
  return std::memcmp(&mask, &zero, kBytes) != 0;
#endif
}

// Writes first + j for each lane j where a mask is set, and returns how many; it may write up to kBytes.
template <typename T>
PADL_INLINE int numbers_where(Bits<T> mask, int first, int* to) {
#if defined(__AVX512DQ__) && defined(__AVX512VL__)
  if constexpr (sizeof(T) == 8) {
    const __mmask8 set = _mm512_movepi64_mask((__m512i)mask);
    const __m256i all = _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    _mm256_storeu_si256((__m256i*)to, _mm256_maskz_compress_epi32(set, all));
    return __builtin_popcount(set);
  } else {
    const __mmask16 set = _mm512_movepi32_mask((__m512i)mask);
    const __m512i all = _mm512_add_epi32(_mm512_set1_epi32(first),
                                         _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(set, all));
    return __builtin_popcount(set);
  }
#else
  int count = 0;
  for (int j = 0; j < kLanes<T>; ++j) {
    to[count] = first + j;
    count += mask[j] != 0;
  }
  return count;
#endif
}

// c[0] + c[1] y + ...; four interleaved chains, as one alone would wait for itself.
template <typename T, int n>
PADL_INLINE Vec<T> polynomial(const T (&c)[n], Vec<T> y) {
  constexpr int top = (n + 3) / 4 - 1;
  const Vec<T> y2 = y * y, y4 = y2 * y2;
  Vec<T> part[4];
  for (int j = 0; j < 4; ++j) {
    part[j] = all<T>(4 * top + j < n ? c[4 * top + j < n ? 4 * top + j : 0] : T(0));
    for (int i = top - 1; i >= 0; --i) part[j] = part[j] * y4 + c[4 * i + j];
  }
  return (part[0] + part[1] * y) + y2 * (part[2] + part[3] * y);
}

// exp(x) for x <= 0; zero below what is a normal number.
PADL_INLINE Vec<double> exp_nonpositive(Vec<double> x) {
  constexpr double taylor[] = {1.0,          1.0,          1.0 / 2,       1.0 / 6,        1.0 / 24,
                               1.0 / 120,    1.0 / 720,    1.0 / 5040,    1.0 / 40320,    1.0 / 362880,
                               1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
  constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  const auto gone = x < -708.0;
  x = gone ? all<double>(-708.0) : x;
  const Vec<double> shifted = x * 1.4426950408889634 + magic;
  const Vec<double> n = shifted - magic;
  const Vec<double> r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  const Bits<double> power = ((Bits<double>)shifted << 52) + (int64_t{1023} << 52);
  const Vec<double> y = polynomial(taylor, r) * (Vec<double>)power;
  return gone ? Vec<double>{} : y;
}

PADL_INLINE Vec<float> exp_nonpositive(Vec<float> x) {
  constexpr float taylor[] = {1.0f,       1.0f,       1.0f / 2,    1.0f / 6,
                              1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
  constexpr float magic = 12582912.0f;  // 1.5 * 2^23
  const auto gone = x < -87.0f;
  x = gone ? all<float>(-87.0f) : x;
  const Vec<float> shifted = x * 1.44269504f + magic;
  const Vec<float> n = shifted - magic;
  const Vec<float> r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  const Bits<float> power = ((Bits<float>)shifted << 23) + (int32_t{127} << 23);
  const Vec<float> y = polynomial(taylor, r) * (Vec<float>)power;
  return gone ? Vec<float>{} : y;
}

// Mantissa in [sqrt(1/2), sqrt(2)) less one, and exponent, of a positive normal number.
PADL_INLINE void split(Vec<double> x, Vec<double>* f, Vec<double>* e) {
  constexpr int64_t half = 0x3fe6a09e667f3bcdLL;  // sqrt(1/2)
  const Bits<double> shifted = (Bits<double>)x - half;
  const Bits<double> exponent = shifted >> 52;
  *f = (Vec<double>)((Bits<double>)x - (exponent << 52)) - 1.0;
  // Small integers to floating point without a conversion, which only some instruction sets have.
  *e = (Vec<double>)((exponent + (int64_t{1} << 51)) ^ 0x4330000000000000LL) - 6755399441055744.0;
}

PADL_INLINE void split(Vec<float> x, Vec<float>* f, Vec<float>* e) {
  constexpr int32_t half = 0x3f3504f3;
  const Bits<float> shifted = (Bits<float>)x - half;
  const Bits<float> exponent = shifted >> 23;
  *f = (Vec<float>)((Bits<float>)x - (exponent << 23)) - 1.0f;
  *e = __builtin_convertvector(exponent, Vec<float>);
}

// log(x) for positive normal x, by the series of atanh (fdlibm's coefficients in double precision).
PADL_INLINE Vec<double> log_positive(Vec<double> x) {
  constexpr double lg[] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                           2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                           1.479819860511658591e-01};
  Vec<double> f, e;
  split(x, &f, &e);
  const Vec<double> s = f / (2.0 + f), z = s * s, square = 0.5 * f * f;
  const Vec<double> rest = z * polynomial(lg, z);
  const Vec<double> y =
      e * 6.93147180369123816490e-01 - ((square - (s * (square + rest) + e * 1.90821492927058770002e-10)) - f);
  return x > 0.0 ? y : (x == 0.0 ? all<double>(-INFINITY) : all<double>(NAN));
}

PADL_INLINE Vec<float> log_positive(Vec<float> x) {
  constexpr float lg[] = {0.66666662693f, 0.40000972152f, 0.28498786688f, 0.24279078841f};
  Vec<float> f, e;
  split(x, &f, &e);
  const Vec<float> s = f / (2.0f + f), z = s * s, square = 0.5f * f * f;
  const Vec<float> rest = z * polynomial(lg, z);
  const Vec<float> y = e * 0.693359375f - ((square - (s * (square + rest) + e * -2.12194440e-4f)) - f);
  return x > 0.0f ? y : (x == 0.0f ? all<float>(-INFINITY) : all<float>(NAN));
}

}  // namespace padl
