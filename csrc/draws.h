// Random bits and draws from the posterior of an entry, as padl_bayes/kernels/code_draw.py and truncated_normal.py state
// them.
#pragma once

#include "slabs.h"

namespace padl {

typedef uint32_t Words __attribute__((vector_size(kBytes)));
constexpr int kWords = kBytes / sizeof(uint32_t);

template <int bits>
PADL_INLINE Words rotated(Words x) {
  return (x << bits) | (x >> (32 - bits));
}

// threefry2x32, 20 rounds, of the counter (0, counter): Salmon et al., Parallel random numbers: as easy as 1, 2, 3, 2011.
PADL_INLINE void threefry(Words key0, Words key1, uint32_t counter, Words* high, Words* low) {
  const Words keys[3] = {key0, key1, key0 ^ key1 ^ 0x1BD11BDAu};
  Words x = key0, y = key1 + counter;
#define PADL_ROUND(bits) \
  x += y;                \
  y = rotated<bits>(y) ^ x;
  for (uint32_t i = 1; i <= 5; ++i) {
    if (i % 2 == 1) {
      PADL_ROUND(13) PADL_ROUND(15) PADL_ROUND(26) PADL_ROUND(6)
    } else {
      PADL_ROUND(17) PADL_ROUND(29) PADL_ROUND(16) PADL_ROUND(24)
    }
    x += keys[i % 3];
    y += keys[(i + 1) % 3] + i;
  }
#undef PADL_ROUND
  *high = x;
  *low = y;
}

// jax.random.uniform of numbers on [1, 2), on (eps / 2, 1 - eps / 2).
template <typename T>
PADL_INLINE Vec<T> inside(Bits<T> bits) {
  constexpr T eps = std::numeric_limits<T>::epsilon();
  const Vec<T> value = ((Vec<T>)bits - T(1)) * ((1 - eps / 2) - eps / 2) + eps / 2;
  return value < eps / 2 ? all<T>(eps / 2) : value;
}

PADL_INLINE void uniforms_of(Words high, Words low, float* to) {
  store<float>(to, inside<float>((Bits<float>)((high ^ low) >> 9 | 0x3f800000u)));
}

PADL_INLINE void uniforms_of(Words high, Words low, double* to) {
  typedef uint32_t Half __attribute__((vector_size(kBytes / 2)));
  typedef uint64_t Wide __attribute__((vector_size(kBytes)));
  Half halves[2][2];
  std::memcpy(halves[0], &high, kBytes);
  std::memcpy(halves[1], &low, kBytes);
  for (int i = 0; i < 2; ++i) {
    const Wide above = __builtin_convertvector(halves[0][i], Wide), below = __builtin_convertvector(halves[1][i], Wide);
    const Wide bits = (above << 32 | below) >> 12 | 0x3ff0000000000000u;
    store<double>(to + i * kLanes<double>, inside<double>((Bits<double>)bits));
  }
}

// Numbers for ``size`` samples, a multiple of kWords, with these key words.
template <int size, typename T>
PADL_INLINE void uniforms(const uint32_t* key0, const uint32_t* key1, uint32_t counter, T* to) {
  static_assert(size % kWords == 0);
  for (int first = 0; first < size; first += kWords) {
    Words keys[2], high, low;
    std::memcpy(&keys[0], key0 + first, kBytes);
    std::memcpy(&keys[1], key1 + first, kBytes);
    threefry(keys[0], keys[1], counter, &high, &low);
    uniforms_of(high, low, to + first);
  }
}

// As in padl_bayes/kernels/truncated_normal.py.
constexpr double kMostCurvature = 0.9824, kCurvatureFade = 0.319;

// Mean of a unit-variance normal with mean -u cut to the positive axis, u >= 0.
template <typename T>
PADL_INLINE Vec<T> mills_excess(Vec<T> u) {
  return Mills<T>::excess((u - T(4)) / (u + T(4))) / (u + T(1));
}

template <typename T>
PADL_INLINE Vec<T> larger(Vec<T> a, Vec<T> b) {
  return a < b ? b : a;
}
template <typename T>
PADL_INLINE Vec<T> smaller(Vec<T> a, Vec<T> b) {
  return b < a ? b : a;
}

// The z >= 0 with log P(Z > z) = log_survival under the law exp(-u z - z^2 / 2), u >= 0, by Halley's method; ``start`` is
// the hazard of a unit normal at u.
template <typename T>
PADL_INLINE Vec<T> invert(Vec<T> u, Vec<T> start, Vec<T> log_survival) {
  constexpr T top = kMostCurvature, fade = kCurvatureFade;
  const Vec<T> log_start = log_positive(start);
  const Vec<T> curvature = top - (top - start * (start - u)) / root(T(1) - fade * log_survival);
  Vec<T> z = T(-2) * log_survival / (start + root(start * start - T(2) * log_survival * curvature));
  for (int step = 0; step < (sizeof(T) == 8 ? 2 : 1); ++step) {
    const Vec<T> excess = mills_excess<T>(u + z), hazard = u + z + excess;
    const Vec<T> newton = (-z * (u + T(0.5) * z) - log_positive(hazard) + log_start - log_survival) / hazard;
    z = larger<T>(z + newton / (T(1) + T(0.5) * newton * excess), Vec<T>{});
  }
  return z;
}

// Draw of the law exp(-u z - z^2 / 2) on z > 0, u of either sign; ``mass`` is of the tail at |u|, and ``damped`` of that
// at u.
template <typename T>
PADL_INLINE Vec<T> invert_above(Vec<T> u, Vec<T> mass, Vec<T> damped, Vec<T> uniform) {
  const Vec<T> mean = u < T(0) ? -u : Vec<T>{};
  // With the mean inside, what is beyond it on either side is the tail of a half-normal law.
  const Vec<T> below = T(0.5) * damped * mass;
  const Vec<T> survival = uniform * (T(1) - below), rest = (T(1) - uniform) + uniform * below;
  const Vec<T> inside = smaller<T>(T(2) * smaller<T>(survival, rest), all<T>(1));
  const Vec<T> start = T(kRootTwoOverPi) / (u < T(0) ? all<T>(1) : mass);
  const Vec<T> distance = invert<T>(larger<T>(u, Vec<T>{}), start, log_positive(u < T(0) ? inside : uniform));
  const Vec<T> from_mean = larger<T>(mean + (survival < rest ? distance : -distance), Vec<T>{});
  return u < T(0) ? from_mean : distance;
}

template <typename T>
PADL_INLINE Vec<T> draw_above(Vec<T> u, Vec<T> uniform) {
  const Vec<T> x[1] = {magnitude<T>(u)};
  Tail<T> tail[1];
  positive_axis<T>(x, Bits<T>{}, tail);
  return invert_above<T>(u, tail[0].mass, reflect<T>(u, x[0], tail[0]).damped, uniform);
}

template <typename T>
PADL_INLINE Vec<T> standard_normal(Vec<T> uniform) {
  const Vec<T> share = smaller<T>(uniform, T(1) - uniform);
  const Vec<T> distance = invert<T>(Vec<T>{}, all<T>(kRootTwoOverPi), log_positive(T(2) * share));
  return uniform < T(0.5) ? -distance : distance;
}

// The code given that the atom is used, from two uniform numbers: the side, the magnitude.
template <Slab slab, typename T, typename Q>
PADL_INLINE Vec<T> draw_used(Vec<T> linear, const Likelihood<T, Q>& like, T rate, Vec<T> side, Vec<T> uniform) {
  const Q sd = like.sd;
  if constexpr (slab == Slab::kLaplace) {
    const Vec<T> size = magnitude<T>(linear), near = (rate - size) * sd, far = (rate + size) * sd;
    const Vec<T> u[2] = {magnitude<T>(near), far};
    Tail<T> tails[2];
    positive_axis<T>(u, Bits<T>{}, tails);
    const Tail<T> here = reflect<T>(near, u[0], tails[0]);
    const Vec<T> far_mass = tails[1].mass * here.damped;
    const auto other = side * (here.mass + far_mass) < far_mass;
    const Vec<T> drawn =
        invert_above<T>(other ? far : near, other ? tails[1].mass : tails[0].mass, here.damped, uniform) * sd;
    return (other ^ (linear < T(0))) ? -drawn : drawn;
  } else if constexpr (slab == Slab::kExponential) {
    return draw_above<T>((rate - linear) * sd, uniform) * sd;
  } else if constexpr (slab == Slab::kGaussian) {
    const Vec<T> drawn = magnitude<T>(linear) * like.inverse + standard_normal<T>(uniform) * sd;
    return linear < T(0) ? -drawn : drawn;
  } else {
    return draw_above<T>(-linear * sd, uniform) * sd;
  }
}

}  // namespace padl
