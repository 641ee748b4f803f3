// Truncated-normal functions of a code's posterior, as padl_bayes/kernels/special.py states them, of whatever the header
// before this one calls a vector: csrc/cuda/entry.h has numbers, vector_math.h vectors.
#pragma once

#ifndef PADL_SCALARS
#include "vector_math.h"
#endif

namespace padl {

// (u + 1) (phi(u) / Phi(-u) - u) from y = (u - 4) / (u + 4), and where 1 - u mean begins to cancel.
template <typename T>
struct Mills;
template <>
struct Mills<double> {
  static constexpr double far = 80;
  static PADL_INLINE Vec<double> excess(Vec<double> y) {
    constexpr double c[] = {
        1.1280357224473554,     -0.06205637998113664,  -0.1921037481908368,    0.19293246887911109,
        -0.06107108420315128,   -0.030769392022997506, 0.03242420504356223,    -0.00112908610284387,
        -0.010605538940574545,  0.003292660404003658,  0.0027520370279867645,  -0.0016937124911848415,
        -0.0005603819416286118, 0.0006389950410902055, 6.873377055885264e-05,  -0.0002024075780336588,
        9.234113052910978e-06,  5.525654318157617e-05, -1.032293888708473e-05, -1.2681714651519663e-05,
        4.6718560053138635e-06, 2.2045177064932826e-06, -1.6262766448395132e-06, -1.7927174713778942e-07,
        4.7284123911067336e-07, -4.211793183778679e-08, -1.111987977280818e-07, 1.7701312705661022e-08,
        1.8605340394058275e-08, -2.2073114055141977e-09, -1.6131473672760651e-09};
    return polynomial(c, y);
  }
};
template <>
struct Mills<float> {
  static constexpr float far = 16;
  static PADL_INLINE Vec<float> excess(Vec<float> y) {
    constexpr float c[] = {
        1.12803572265265f,     -0.06205644416040681f, -0.19210377425371686f,  0.19293492300442597f,
        -0.06107054346583519f, -0.030796765862064812f, 0.03241996059605093f,  -0.000992646412713931f,
        -0.010589399143541222f, 0.002935304172975804f, 0.00271973055241062f,  -0.0011689276948074984f,
        -0.0005276980870438587f, 0.00020228023533920293f, 5.828176259335638e-05f};
    return polynomial(c, y);
  }
};

constexpr double kRootTwoOverPi = 0.79788456080286535588;

// Means and mean squares on the positive axis of the laws exp(-u r - r^2 / 2) for some u >= 0.
template <typename T, int n>
PADL_INLINE void positive_axis(const Vec<T> (&u)[n], Vec<T> (&mean)[n], Vec<T> (&square)[n]) {
  Vec<T> all_of_them = all<T>(1);
  Bits<T> far{};
  for (int i = 0; i < n; ++i) {
    all_of_them *= (u[i] + T(4)) * (u[i] + T(1));
    far |= u[i] > Mills<T>::far;
  }
  // One division in place of two for each, as long as the product is finite.
  const Vec<T> inverse = T(1) / all_of_them;
  for (int i = 0; i < n; ++i) {
    Vec<T> mine = inverse;
    for (int j = 0; j < n; ++j)
      if (j != i) mine *= (u[j] + T(4)) * (u[j] + T(1));
    const Vec<T> y = (u[i] - T(4)) * (u[i] + T(1)) * mine;
    mean[i] = Mills<T>::excess(y) * (u[i] + T(4)) * mine;
    square[i] = T(1) - u[i] * mean[i];
  }
  if (__builtin_expect(any<T>(far), 0)) {
    for (int i = 0; i < n; ++i) {
      mean[i] = Mills<T>::excess((u[i] - T(4)) / (u[i] + T(4))) / (u[i] + T(1));
      const Vec<T> least = u[i] < T(1) ? all<T>(1) : u[i];
      const Vec<T> tail = T(2) * mean[i] / (u[i] + T(3) / (u[i] + T(4) / (u[i] + T(5) / least)));
      square[i] = u[i] > Mills<T>::far ? tail : T(1) - u[i] * mean[i];
    }
  }
}

// What a normal has on the positive axis: sqrt(2 / pi) times the integral of exp(-u r - r^2 / 2) is mass exp(scale).
template <typename T>
struct Tail {
  Vec<T> scale, damped, mass, mean, square;  // damped = exp(-scale)
};

// From the moments at x = |u| to those at u.
template <typename T>
PADL_INLINE Tail<T> reflect(Vec<T> u, Vec<T> x, Vec<T> mean, Vec<T> square) {
  Tail<T> out{Vec<T>{}, all<T>(1), T(kRootTwoOverPi) / (x + mean), mean, square};
  const auto negative = u < T(0);
  if (any<T>(negative)) {
    const Vec<T> scale = negative ? T(0.5) * x * x : Vec<T>{};
    const Vec<T> damped = exp_nonpositive(-scale);
    const Vec<T> reflected = T(2) - damped * out.mass;
    const Vec<T> inside = x + T(kRootTwoOverPi) * damped / reflected;
    out.scale = scale;
    out.damped = damped;
    out.mass = negative ? reflected : out.mass;
    out.square = negative ? T(1) + x * inside : out.square;
    out.mean = negative ? inside : out.mean;
  }
  return out;
}

template <typename T>
PADL_INLINE Tail<T> upper_tail(Vec<T> u) {
  Vec<T> x[1] = {magnitude<T>(u)}, mean[1], square[1];
  positive_axis<T>(x, mean, square);
  return reflect<T>(u, x[0], mean[0], square[0]);
}

}  // namespace padl
