// Two vectors at once: while the arithmetic of one waits for its last result, the other's goes on.
#pragma once

#include <utility>

#include "vector_math.h"

namespace padl {

template <typename T>
struct Pair {
  Vec<T> a, b;
};

template <typename T>
struct PairMask {
  Bits<T> a, b;
};

// The numbers in V, a vector or a pair, and what a comparison of two V is.
template <typename V>
struct Numbers {
  using type = std::remove_reference_t<decltype(std::declval<V&>()[0])>;
  using mask = Bits<type>;
};
template <typename T>
struct Numbers<Pair<T>> {
  using type = T;
  using mask = PairMask<T>;
};

template <typename T>
PADL_INLINE Pair<T> load_pair(const T* from) {
  return {load(from), load(from + kLanes<T>)};
}

template <typename T>
PADL_INLINE void store_pair(T* to, Pair<T> pair) {
  store(to, pair.a);
  store(to + kLanes<T>, pair.b);
}

#define PADL_OF_PAIRS(op)                                                                                \
  template <typename T>                                                                                  \
  PADL_INLINE Pair<T> operator op(Pair<T> x, Pair<T> y) {                                                \
    return {x.a op y.a, x.b op y.b};                                                                     \
  }                                                                                                      \
  template <typename T>                                                                                  \
  PADL_INLINE Pair<T> operator op(Pair<T> x, T y) {                                                      \
    return {x.a op y, x.b op y};                                                                         \
  }                                                                                                      \
  template <typename T>                                                                                  \
  PADL_INLINE Pair<T> operator op(T x, Pair<T> y) {                                                      \
    return {x op y.a, x op y.b};                                                                         \
  }
PADL_OF_PAIRS(+)
PADL_OF_PAIRS(-)
PADL_OF_PAIRS(*)
PADL_OF_PAIRS(/)
#undef PADL_OF_PAIRS

#define PADL_COMPARE_PAIRS(op)                                                                           \
  template <typename T>                                                                                  \
  PADL_INLINE PairMask<T> operator op(Pair<T> x, Pair<T> y) {                                            \
    return {x.a op y.a, x.b op y.b};                                                                     \
  }                                                                                                      \
  template <typename T>                                                                                  \
  PADL_INLINE PairMask<T> operator op(Pair<T> x, T y) {                                                  \
    return {x.a op y, x.b op y};                                                                         \
  }
PADL_COMPARE_PAIRS(<)
PADL_COMPARE_PAIRS(>)
PADL_COMPARE_PAIRS(>=)
PADL_COMPARE_PAIRS(==)
#undef PADL_COMPARE_PAIRS

template <typename T>
PADL_INLINE Pair<T> operator-(Pair<T> x) {
  return {-x.a, -x.b};
}
template <typename T>
PADL_INLINE Pair<T>& operator*=(Pair<T>& x, Pair<T> y) {
  return x = x * y;
}

template <typename T>
PADL_INLINE PairMask<T> operator&(PairMask<T> x, PairMask<T> y) {
  return {x.a & y.a, x.b & y.b};
}
template <typename T>
PADL_INLINE PairMask<T> operator|(PairMask<T> x, PairMask<T> y) {
  return {x.a | y.a, x.b | y.b};
}
template <typename T>
PADL_INLINE PairMask<T>& operator|=(PairMask<T>& x, PairMask<T> y) {
  return x = x | y;
}

template <typename T>
PADL_INLINE bool any(PairMask<T> mask) {
  return any(mask.a | mask.b);
}
template <typename T>
PADL_INLINE Pair<T> where(PairMask<T> mask, Pair<T> yes, Pair<T> no) {
  return {mask.a ? yes.a : no.a, mask.b ? yes.b : no.b};
}
template <typename T>
PADL_INLINE Pair<T> magnitude(Pair<T> x) {
  return {magnitude(x.a), magnitude(x.b)};
}
template <typename T>
PADL_INLINE Pair<T> root(Pair<T> x) {
  return {root(x.a), root(x.b)};
}
template <typename T>
PADL_INLINE Pair<T> exp_nonpositive(Pair<T> x) {
  return {exp_nonpositive(x.a), exp_nonpositive(x.b)};
}
template <typename T>
PADL_INLINE Pair<T> log_positive(Pair<T> x) {
  return {log_positive(x.a), log_positive(x.b)};
}
template <typename T, int n>
PADL_INLINE Pair<T> polynomial(const T (&c)[n], Pair<T> y) {
  return {polynomial(c, y.a), polynomial(c, y.b)};
}

}  // namespace padl
