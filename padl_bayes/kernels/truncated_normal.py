"""Exact draws from, and masses of, normals cut to an interval [0, width], by inversion without cancellation.

A law here has density proportional to ``exp(-u z - z^2 / 2)`` on [0, width]: a unit-variance normal with mean -u. The
survival function is inverted by Halley's method on its logarithm, whose terms are Mills ratios: a draw far out in the
tail keeps its relative precision.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr, ndtri

from .special import mills_excess

# fitted to make the largest relative error of the start least, over u and log_survival
MOST_CURVATURE = 0.9824
CURVATURE_FADE = 0.319
_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


def _log_mills(x):
    """Logarithm of the integral of ``exp(-x z - z^2 / 2)`` over z > 0, for x >= 0."""
    return -jnp.log(x + mills_excess(x))


def _log_survival(u, z):
    """log P(Z > z) for the uncut law with u >= 0."""
    return -z * (u + z / 2) + _log_mills(u + z) - _log_mills(u)


def _invert(u, log_survival):
    """The z >= 0 with log P(Z > z) = ``log_survival`` <= 0, for u >= 0, by Halley's method.

    The slope of the logarithm is minus the hazard, whose own slope is the hazard times `mills_excess`: that at zero for
    small z, next to one for large z. A parabola whose curvature goes over from one to the other is within 0.6 % of z,
    near enough for the method's third order to reach rounding in these steps.
    """
    first_excess = mills_excess(u)
    start = u + first_excess
    fading = 1 / jnp.sqrt(1 - CURVATURE_FADE * log_survival)
    curvature = MOST_CURVATURE - (MOST_CURVATURE - start * first_excess) * fading
    z = -2 * log_survival / (start + jnp.sqrt(start * start - 2 * log_survival * curvature))
    for _ in range(2 if u.dtype == np.float64 else 1):
        excess = mills_excess(u + z)
        hazard = u + z + excess
        newton = (-z * (u + z / 2) - jnp.log(hazard) + jnp.log(start) - log_survival) / hazard
        z = jnp.maximum(z + newton / (1 + newton * excess / 2), 0)
    return z


def invert_above(u, uniform):
    """Draw of the law on z > 0.

    Parameters
    ----------
    u : array
        Minus the mean, of either sign.
    uniform : array
        Uniform on (0, 1), of the same shape and type.

    Returns
    -------
    array
    """
    mean = jnp.maximum(-u, 0)
    # With the mean inside, what is beyond it on either side is the tail of a half-normal law.
    below = jnp.exp(-_HALF_LOG_2_PI - mean * mean / 2 + _log_mills(mean))
    survival, rest = uniform * (1 - below), (1 - uniform) + uniform * below
    share = jnp.where(u >= 0, uniform, jnp.minimum(2 * jnp.minimum(survival, rest), 1))
    distance = _invert(jnp.maximum(u, 0), jnp.log(share))
    return jnp.where(u >= 0, distance, jnp.maximum(mean + jnp.where(survival < rest, distance, -distance), 0))


def _regions(u, width):
    """Where the mean is: whether off the box, whether beyond its upper end, and safe arguments for off and on it.

    A mean beyond the upper end is the mirror image of one below zero.
    """
    above, beyond = u >= 0, u + width <= 0
    near = jnp.where(above, u, jnp.where(beyond, -(u + width), 0))
    return above | beyond, beyond, near, jnp.where(above | beyond, -width / 2, u)


def log_box_mass(u, width):
    """Logarithm of the integral of ``exp(-u z - z^2 / 2)`` over [0, width].

    Parameters
    ----------
    u : array
        Minus the mean, of either sign.
    width : array
        Positive.

    Returns
    -------
    array
    """
    off, beyond, near, inside = _regions(u, width)
    tail = _log_mills(near) + jnp.log(-jnp.expm1(_log_survival(near, width)))
    tail = jnp.where(beyond, tail - width * (u + width / 2), tail)
    low, high = log_ndtr(inside), log_ndtr(inside + width)
    body = high + jnp.log(-jnp.expm1(low - high)) + inside * inside / 2 + _HALF_LOG_2_PI
    wide = jnp.where(off, tail, body)
    middle = u + width / 2
    narrow = width * jnp.maximum(jnp.abs(middle), 1) < (0.03 if u.dtype == np.float64 else 0.3)
    return jnp.where(narrow, _log_narrow_mass(middle, width), wide)


def _log_narrow_mass(middle, width):
    """The same by Taylor's series about the middle, where differences of survival functions cancel."""
    square, half = middle * middle, width * width / 4
    series = half * (square - 1) / 6 + half * half * (square * (square - 6) + 3) / 120
    return jnp.log(width) - width * middle / 2 + half / 2 + jnp.log1p(series)


def invert_box(u, width, uniform):
    """Draw of the law on [0, width].

    Parameters
    ----------
    u : array
        Minus the mean, of either sign.
    width : array
        Positive.
    uniform : array
        Uniform on (0, 1), of the same shape and type.

    Returns
    -------
    array
    """
    off, beyond, near, inside = _regions(u, width)
    rising = jnp.where(beyond, 1 - uniform, uniform)
    tail = _invert(near, jnp.log1p(rising * jnp.expm1(_log_survival(near, width))))
    tail = jnp.where(beyond, width - tail, tail)
    high, low = ndtr(-inside), ndtr(-(inside + width))
    body = -ndtri(high - uniform * (high - low)) - u
    return jnp.clip(jnp.where(off, tail, body), 0, width)
