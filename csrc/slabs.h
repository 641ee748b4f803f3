// Posterior of code entries under a spike and slab, as padl_bayes/kernels/slabs.py states it.
#pragma once

#include "tails.h"

namespace padl {

// Numbered as in padl_bayes/kernels/cpu.py.
enum class Slab { kLaplace = 0, kExponential = 1, kGaussian = 2, kHalfNormal = 3 };

// Of the slab: its evidence mass exp(scale), but for the factor of `Likelihood`, and the same with r, the statistic of the
// rate or r^2 under the integral; damped = exp(-scale).
template <typename T>
struct Moments {
  Vec<T> mass, first, size, second, scale, damped;
};

// What is the same for all entries of an atom that have one precision.
template <typename T, typename Q>
struct Likelihood {
  Q precision, sd, total, inverse, factor;
};

// ``Q`` is a number, or a vector where entries are missing and each sample has a precision of its own.
template <Slab slab, typename T, typename Q>
PADL_INLINE Likelihood<T, Q> likelihood(Q precision, T rate) {
  constexpr T kRootPiOverEight = 0.62665706865775012560, kRootPiOverTwo = 1.2533141373155002512;
  if constexpr (slab == Slab::kLaplace || slab == Slab::kExponential) {
    const Q sd = T(1) / root(precision);
    return {precision, sd, precision, sd, rate * sd * (slab == Slab::kLaplace ? kRootPiOverEight : kRootPiOverTwo)};
  } else {
    const Q total = precision + rate, inverse = T(1) / total;
    return {precision, root(inverse), total, inverse, root(rate * inverse)};
  }
}

// Of a Laplace slab, from the tails on the side of ``linear`` and on the other.
template <typename T, typename Q>
PADL_INLINE Moments<T> of_sides(Vec<T> linear, const Tail<T>& here, const Tail<T>& there, Q sd) {
  const Vec<T> other = there.first * here.damped, first = (here.first - other) * sd;
  return {here.mass + there.mass * here.damped, linear < T(0) ? -first : first, (here.first + other) * sd,
          (here.second + there.second * here.damped) * (sd * sd), here.scale, here.damped};
}

template <Slab slab, typename T, typename Q>
PADL_INLINE Moments<T> moments(Vec<T> linear, const Likelihood<T, Q>& like, T rate) {
  const Q sd = like.sd;
  if constexpr (slab == Slab::kLaplace) {
    const Vec<T> size = magnitude<T>(linear), near = (rate - size) * sd;
    const Vec<T> u[2] = {magnitude<T>(near), (rate + size) * sd};
    Tail<T> side[2];
    // Where less than exp(-18) of the other side counts, its roundings do not.
    positive_axis<T>(u, near > T(-6), side);
    // A reference to the second side ends GCC 12 with an internal error.
    const Tail<T> here = reflect<T>(near, u[0], side[0]), there = side[1];
    return of_sides<T, Q>(linear, here, there, sd);
  } else if constexpr (slab == Slab::kExponential) {
    const Tail<T> tail = upper_tail<T>((rate - linear) * sd);
    const Vec<T> first = tail.first * sd;
    return {tail.mass, first, first, tail.second * (sd * sd), tail.scale, tail.damped};
  } else if constexpr (slab == Slab::kGaussian) {
    const Vec<T> mean = linear * like.inverse, square = mean * mean + like.inverse, scale = T(0.5) * linear * mean;
    return {all<T>(1), mean, T(0.5) * square, square, scale, exp_nonpositive(-scale)};
  } else {
    const Tail<T> tail = upper_tail<T>(-linear * sd);
    const Vec<T> second = tail.second * (sd * sd);
    return {tail.mass, tail.first * sd, T(0.5) * second, second, tail.scale, tail.damped};
  }
}

// The same for n vectors, a step at a time for all of them: one alone waits for each step's result.
template <Slab slab, typename T, int n>
PADL_INLINE void moments_of(const Vec<T> (&linear)[n], const Likelihood<T, T>& like, T rate, Moments<T> (&given)[n]) {
  const T sd = like.sd;
  if constexpr (slab == Slab::kLaplace) {
    Vec<T> excess[2][n], damped[n];
    Bits<T> wrong{};
    for (int i = 0; i < n; ++i) {
      const Vec<T> size = magnitude<T>(linear[i]), near = (rate - size) * sd, x = magnitude<T>(near), far = (rate + size) * sd;
      const Vec<T> inverse = T(1) / ((x + T(4)) * (far + T(4)));
      excess[0][i] = (x - T(4)) * ((far + T(4)) * inverse);
      excess[1][i] = (far - T(4)) * ((x + T(4)) * inverse);
      damped[i] = T(-0.5) * x * x;
      wrong |= ((far > Mills<T>::far) & (near > T(-6))) | (far > Mills<T>::huge);
    }
    if (__builtin_expect(any<T>(wrong), 0)) {
      for (int i = 0; i < n; ++i) given[i] = moments<slab, T, T>(linear[i], like, rate);
      return;
    }
    for (int i = 0; i < n; ++i) {
      excess[0][i] = Mills<T>::excess(excess[0][i]);
      excess[1][i] = Mills<T>::excess(excess[1][i]);
    }
    for (int i = 0; i < n; ++i) damped[i] = exp_nonpositive(damped[i]);
    for (int i = 0; i < n; ++i) {
      const Vec<T> size = magnitude<T>(linear[i]), near = (rate - size) * sd, x = magnitude<T>(near), far = (rate + size) * sd;
      const Vec<T> below = x * (x + T(1)) + excess[0][i], also = far * (far + T(1)) + excess[1][i];
      const Vec<T> scaled = T(kRootTwoOverPi) / (below * also);
      const Tail<T> here = reflected<T>(near < T(0), x, damped[i], tail_of<T>(x, excess[0][i], scaled * also));
      given[i] = of_sides<T, T>(linear[i], here, tail_of<T>(far, excess[1][i], scaled * below), sd);
    }
  } else {
    for (int i = 0; i < n; ++i) given[i] = moments<slab, T, T>(linear[i], like, rate);
  }
}

// Both sides of the spike and slab divided by exp(scale).
template <typename T>
struct Sides {
  Vec<T> slab, all;
};

template <typename T, typename Q>
PADL_INLINE Sides<T> sides(const Moments<T>& given, const Likelihood<T, Q>& like, T usage, T unused) {
  constexpr T tiny = std::numeric_limits<T>::min();
  const Vec<T> slab = (usage * like.factor) * given.mass, evidence = unused * given.damped + slab;
  return {slab, evidence < tiny ? padl::all<T>(tiny) : evidence};
}

template <typename T>
struct Entry {
  Vec<T> probability, mean, size, square, log_evidence, divergence;
};

// Prior (1 - usage) delta_0 + usage slab; ``total`` is that of `sides`, and its logarithm.
template <typename T, typename Q>
PADL_INLINE Entry<T> entry_of(Vec<T> linear, const Moments<T>& given, const Likelihood<T, Q>& like, T usage, Vec<T> total,
                              Vec<T> log_total) {
  const Vec<T> share = (usage * like.factor) / total;
  Entry<T> q;
  q.probability = share * given.mass;
  q.mean = share * given.first;
  q.size = share * given.size;
  q.square = share * given.second;
  q.log_evidence = log_total + given.scale;
  q.divergence = linear * q.mean - T(0.5) * like.precision * q.square - q.log_evidence;
  return q;
}

template <Slab slab, typename T, typename Q>
PADL_INLINE Entry<T> entry(Vec<T> linear, const Likelihood<T, Q>& like, T usage, T unused, T rate) {
  const Moments<T> given = moments<slab, T, Q>(linear, like, rate);
  const Vec<T> total = sides<T, Q>(given, like, usage, unused).all;
  return entry_of<T, Q>(linear, given, like, usage, total, log_positive(total));
}

}  // namespace padl
