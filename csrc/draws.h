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

// jax.random.uniform of these words on (eps / 2, 1 - eps / 2).
PADL_INLINE double uniform_of(uint32_t high, uint32_t low, double) {
  constexpr double eps = std::numeric_limits<double>::epsilon();
  const uint64_t bits = ((uint64_t{high} << 32 | low) >> 12) | 0x3ff0000000000000u;
  double value;
  std::memcpy(&value, &bits, sizeof(value));
  return std::max(eps / 2, (value - 1) * ((1 - eps / 2) - eps / 2) + eps / 2);
}

PADL_INLINE float uniform_of(uint32_t high, uint32_t low, float) {
  constexpr float eps = std::numeric_limits<float>::epsilon();
  const uint32_t bits = ((high ^ low) >> 9) | 0x3f800000u;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return std::max(eps / 2, (value - 1) * ((1 - eps / 2) - eps / 2) + eps / 2);
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
    for (int j = 0; j < kWords; ++j) to[first + j] = uniform_of(high[j], low[j], T(0));
  }
}

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

// The z >= 0 with log P(Z > z) = log_survival under the law exp(-u z - z^2 / 2), u >= 0, by Halley's method.
template <typename T>
PADL_INLINE Vec<T> invert(Vec<T> u, Vec<T> log_survival) {
  const Vec<T> twice = T(-2) * log_survival;
  Vec<T> z = twice / (u + root(u * u + twice) + std::numeric_limits<T>::min());
  const Vec<T> log_mills = -log_positive(u + mills_excess<T>(u));
  for (int step = 0; step < (sizeof(T) == 8 ? 3 : 2); ++step) {
    const Vec<T> excess = mills_excess<T>(u + z), hazard = u + z + excess;
    const Vec<T> newton = (-z * (u + T(0.5) * z) - log_positive(hazard) - log_mills - log_survival) / hazard;
    z = larger<T>(z + newton / (T(1) + T(0.5) * newton * excess), Vec<T>{});
  }
  return z;
}

// Draw of the law exp(-u z - z^2 / 2) on z > 0, u of either sign.
template <typename T>
PADL_INLINE Vec<T> invert_above(Vec<T> u, Vec<T> uniform) {
  constexpr T kHalfRootTwoOverPi = 0.39894228040143267794;
  const Vec<T> mean = u < T(0) ? -u : Vec<T>{};
  // With the mean inside, what is beyond it on either side is the tail of a half-normal law.
  const Vec<T> below = kHalfRootTwoOverPi * exp_nonpositive(T(-0.5) * mean * mean) / (mean + mills_excess<T>(mean));
  const Vec<T> survival = uniform * (T(1) - below), rest = (T(1) - uniform) + uniform * below;
  const Vec<T> inside = smaller<T>(T(2) * smaller<T>(survival, rest), all<T>(1));
  const Vec<T> distance = invert<T>(larger<T>(u, Vec<T>{}), log_positive(u < T(0) ? inside : uniform));
  const Vec<T> from_mean = larger<T>(mean + (survival < rest ? distance : -distance), Vec<T>{});
  return u < T(0) ? from_mean : distance;
}

template <typename T>
PADL_INLINE Vec<T> standard_normal(Vec<T> uniform) {
  const Vec<T> share = smaller<T>(uniform, T(1) - uniform);
  const Vec<T> distance = invert<T>(Vec<T>{}, log_positive(T(2) * share));
  return uniform < T(0.5) ? -distance : distance;
}

// The code given that the atom is used, from two uniform numbers: the side, the magnitude.
template <Slab slab, typename T, typename Q>
PADL_INLINE Vec<T> draw_used(Vec<T> linear, const Likelihood<T, Q>& like, T rate, Vec<T> side, Vec<T> uniform) {
  const Q sd = like.sd;
  if constexpr (slab == Slab::kLaplace) {
    const Vec<T> size = magnitude<T>(linear), near = (rate - size) * sd, far = (rate + size) * sd;
    const Tail<T> here = upper_tail<T>(near);
    const Vec<T> far_mass = upper_tail<T>(far).mass * here.damped;
    const auto other = side * (here.mass + far_mass) < far_mass;
    const Vec<T> drawn = invert_above<T>(other ? far : near, uniform) * sd;
    return (other ^ (linear < T(0))) ? -drawn : drawn;
  } else if constexpr (slab == Slab::kExponential) {
    return invert_above<T>((rate - linear) * sd, uniform) * sd;
  } else if constexpr (slab == Slab::kGaussian) {
    const Vec<T> drawn = magnitude<T>(linear) * like.inverse + standard_normal<T>(uniform) * sd;
    return linear < T(0) ? -drawn : drawn;
  } else {
    return invert_above<T>(-linear * sd, uniform) * sd;
  }
}

}  // namespace padl
