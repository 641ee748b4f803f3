// Posterior of code entries under a spike and slab, as padl_bayes/kernels/slabs.py states it.
#pragma once

#include "tails.h"

namespace padl {

// Numbered as in padl_bayes/kernels/cpu.py.
enum class Slab { kLaplace = 0, kExponential = 1, kGaussian = 2, kHalfNormal = 3 };

// Given that the slab is used: E r, the mean statistic of the rate, E r^2, and the evidence mass exp(scale), but for
// `factor_of`; damped = exp(-scale).
template <typename T>
struct Moments {
  Vec<T> mean, size, square, mass, scale, damped;
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

template <Slab slab, typename T, typename Q>
PADL_INLINE Moments<T> moments(Vec<T> linear, const Likelihood<T, Q>& like, T rate) {
  const Q sd = like.sd;
  if constexpr (slab == Slab::kLaplace) {
    const Vec<T> size = magnitude<T>(linear), near = (rate - size) * sd;
    Vec<T> u[2] = {magnitude<T>(near), (rate + size) * sd}, mean[2], square[2];
    positive_axis<T>(u, mean, square);
    const Tail<T> tail = reflect<T>(near, u[0], mean[0], square[0]);
    const Vec<T> far_mass = T(kRootTwoOverPi) / (u[1] + mean[1]) * tail.damped, mass = tail.mass + far_mass;
    const Vec<T> q = far_mass / mass, p = T(1) - q;
    const Vec<T> signed_mean = (p * tail.mean - q * mean[1]) * sd;
    return {linear < T(0) ? -signed_mean : signed_mean, (p * tail.mean + q * mean[1]) * sd,
            (p * tail.square + q * square[1]) * (sd * sd), mass, tail.scale, tail.damped};
  } else if constexpr (slab == Slab::kExponential) {
    const Tail<T> tail = upper_tail<T>((rate - linear) * sd);
    const Vec<T> mean = tail.mean * sd;
    return {mean, mean, tail.square * (sd * sd), tail.mass, tail.scale, tail.damped};
  } else if constexpr (slab == Slab::kGaussian) {
    const Vec<T> mean = linear * like.inverse, square = mean * mean + like.inverse, scale = T(0.5) * linear * mean;
    return {mean, T(0.5) * square, square, all<T>(1), scale, exp_nonpositive(-scale)};
  } else {
    const Tail<T> tail = upper_tail<T>(-linear * sd);
    const Vec<T> square = tail.square * (sd * sd);
    return {tail.mean * sd, T(0.5) * square, square, tail.mass, tail.scale, tail.damped};
  }
}

template <typename T>
struct Entry {
  Vec<T> probability, mean, size, square, log_evidence, divergence;
};

// Prior (1 - usage) delta_0 + usage slab.
template <Slab slab, typename T, typename Q>
PADL_INLINE Entry<T> entry(Vec<T> linear, const Likelihood<T, Q>& like, T usage, T unused, T rate) {
  const Moments<T> given = moments<slab, T, Q>(linear, like, rate);
  // Both sides of the spike and slab divided by exp(scale).
  const Vec<T> slab_mass = (usage * like.factor) * given.mass;
  Vec<T> evidence = unused * given.damped + slab_mass;
  constexpr T tiny = std::numeric_limits<T>::min();
  evidence = evidence < tiny ? all<T>(tiny) : evidence;
  Entry<T> q;
  q.probability = slab_mass / evidence;
  q.mean = q.probability * given.mean;
  q.size = q.probability * given.size;
  q.square = q.probability * given.square;
  q.log_evidence = log_positive(evidence) + given.scale;
  q.divergence = linear * q.mean - T(0.5) * like.precision * q.square - q.log_evidence;
  return q;
}

}  // namespace padl
