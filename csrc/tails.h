// Truncated-normal functions of a code's posterior, as padl_bayes/kernels/special.py states them, of whatever the header
// before this one calls a vector: csrc/cuda/entry.h has numbers, vector_math.h vectors.
#pragma once

#ifndef PADL_SCALARS
#include "vector_math.h"
#endif

namespace padl {

// (u + 1) (phi(u) / Phi(-u) - u) from y = (u - 4) / (u + 4), where 1 - u mean begins to cancel, and where fourth powers
// cease to be finite.
template <typename T>
struct Mills;
template <>
struct Mills<double> {
  static constexpr double far = 80, huge = 1e70;
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
  static constexpr float far = 16, huge = 1e8;
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

// What a normal has on one axis: sqrt(2 / pi) times the integral of exp(-u r - r^2 / 2) over r > 0 is mass exp(scale), and
// with r and r^2 in it first exp(scale) and second exp(scale).
template <typename T>
struct Tail {
  Vec<T> scale, damped, mass, first, second;  // damped = exp(-scale)
};

// Of u >= 0 from `Mills.excess` and scaled = sqrt(2 / pi) / (u (u + 1) + excess).
template <typename T>
PADL_INLINE Tail<T> tail_of(Vec<T> u, Vec<T> excess, Vec<T> scaled) {
  return {Vec<T>{}, all<T>(1), scaled * (u + T(1)), scaled * excess, scaled * ((u + T(1)) - u * excess)};
}

// What `positive_axis` gets wrong: where ``huge``, all of it.
template <typename T, int n>
PADL_INLINE void far_out(const Vec<T> (&u)[n], bool huge, Tail<T> (&tail)[n]) {
  for (int i = 0; i < n; ++i) {
    if (huge) {
      const Vec<T> mean = Mills<T>::excess((u[i] - T(4)) / (u[i] + T(4))) / (u[i] + T(1));
      tail[i].mass = T(kRootTwoOverPi) / (u[i] + mean);
      tail[i].first = tail[i].mass * mean;
      tail[i].second = tail[i].mass * (T(1) - u[i] * mean);
    }
    // A continued fraction, of which the denominators must not be 0.
    const Vec<T> least = u[i] < T(1) ? all<T>(1) : u[i];
    const Vec<T> second = T(2) * tail[i].first / (u[i] + T(3) / (u[i] + T(4) / (u[i] + T(5) / least)));
    tail[i].second = u[i] > Mills<T>::far ? second : tail[i].second;
  }
}

// Of some u >= 0, with scale 0; the mean is h - u, h the hazard of a unit normal at u, and the mean square 1 - u (h - u),
// which cancels far out. There ``second`` is right to a rounding of what is 1, or where ``small`` is set of itself.
template <typename T, int n>
PADL_INLINE void positive_axis(const Vec<T> (&u)[n], Bits<T> small, Tail<T> (&tail)[n]) {
  constexpr T c = kRootTwoOverPi;
  Vec<T> product = all<T>(1), excess[n], below[n];
  Bits<T> far{}, huge{};
  for (int i = 0; i < n; ++i) {
    product *= u[i] + T(4);
    far |= u[i] > Mills<T>::far;
    huge |= u[i] > Mills<T>::huge;
  }
  // One division in place of one for each.
  const Vec<T> inverse = T(1) / product;
  product = all<T>(1);
  for (int i = 0; i < n; ++i) {
    Vec<T> mine = inverse;
    for (int j = 0; j < n; ++j)
      if (j != i) mine *= u[j] + T(4);
    excess[i] = Mills<T>::excess((u[i] - T(4)) * mine);
    below[i] = u[i] * (u[i] + T(1)) + excess[i];
    product *= below[i];
  }
  const Vec<T> scaled = c / product;
  for (int i = 0; i < n; ++i) {
    Vec<T> mine = scaled;
    for (int j = 0; j < n; ++j)
      if (j != i) mine *= below[j];
    tail[i] = tail_of<T>(u[i], excess[i], mine);
  }
  if (__builtin_expect(any<T>((far & small) | huge), 0)) far_out<T>(u, any<T>(huge), tail);
}

// From the tail at x = |u| to that at u, where ``u`` is negative; damped = exp(-x^2 / 2) there.
template <typename T>
PADL_INLINE Tail<T> reflected(Bits<T> negative, Vec<T> x, Vec<T> damped, const Tail<T>& tail) {
  const Vec<T> mass = T(2) - damped * tail.mass, first = x * mass + T(kRootTwoOverPi) * damped;
  return {negative ? T(0.5) * x * x : Vec<T>{}, negative ? damped : all<T>(1), negative ? mass : tail.mass,
          negative ? first : tail.first, negative ? mass + x * first : tail.second};
}

template <typename T>
PADL_INLINE Tail<T> reflect(Vec<T> u, Vec<T> x, Tail<T> tail) {
  const Bits<T> negative = u < T(0);
  return any<T>(negative) ? reflected<T>(negative, x, exp_nonpositive(T(-0.5) * x * x), tail) : tail;
}

template <typename T>
PADL_INLINE Tail<T> upper_tail(Vec<T> u) {
  const Vec<T> x[1] = {magnitude<T>(u)};
  Tail<T> tail[1];
  positive_axis<T>(x, u > T(0), tail);
  return reflect<T>(u, x[0], tail[0]);
}

}  // namespace padl
