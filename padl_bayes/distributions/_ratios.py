"""Ratios that keep their precision and derivatives where the textbook form is 0/0.

Near zero each one is a short Taylor series, elsewhere the textbook form; the unused branch of every
`jnp.where` gets a harmless argument, so derivatives stay finite.
"""

from math import factorial

import jax.numpy as jnp

_LOG1P_SERIES = tuple((-1) ** k / (k + 1) for k in reversed(range(16)))
_EXPM1_SERIES = tuple((-1) ** k / factorial(k + 1) for k in reversed(range(11)))
# From x / (exp(x) - 1) = 1 - x/2 + x^2/12 - x^4/720 + x^6/30240 - x^8/1209600 + ...
_MEAN_SERIES = (1 / 1209600, 0, -1 / 30240, 0, 1 / 720, 0, -1 / 12, 1 / 2)
_SQUARE_SERIES = (1 / 1209600, 1 / 604800, -1 / 30240, -1 / 15120, 1 / 720, 1 / 360, -1 / 12, 1 / 3)


def _near_zero(x, width, series, textbook):
    small = jnp.abs(x) < width
    near, total = jnp.where(small, x, 0.0), series[0]
    for coefficient in series[1:]:
        total = total * near + coefficient
    return jnp.where(small, total, textbook(jnp.where(small, 1.0, x)))


def log1p_ratio(u):
    """``log1p(u) / u`` for u > -1; equals 1 at 0."""
    return _near_zero(u, 0.1, _LOG1P_SERIES, lambda v: jnp.log1p(v) / v)


def expm1_ratio(x):
    """``(1 - exp(-x)) / x`` for x >= 0; equals 1 at 0."""
    return _near_zero(x, 0.1, _EXPM1_SERIES, lambda v: -jnp.expm1(-v) / v)


def truncated_mean_ratio(x):
    """``E a / b`` for a of density proportional to exp(-x a / b) on [0, b]; equals 1/2 at x = 0."""
    return _near_zero(x, 0.25, _MEAN_SERIES, lambda v: 1 / v - _inverse_expm1(v))


def truncated_square_ratio(x):
    """``E a^2 / b^2`` for a of density proportional to exp(-x a / b) on [0, b]; equals 1/3 at x = 0."""
    return _near_zero(x, 0.25, _SQUARE_SERIES, lambda v: 2 / v**2 - (1 + 2 / v) * _inverse_expm1(v))


def _inverse_expm1(x):
    return jnp.exp(-x) / -jnp.expm1(-x)
