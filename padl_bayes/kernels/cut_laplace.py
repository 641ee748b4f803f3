"""Posterior of one code entry under a Laplace law cut at its atom's envelope, by the interface of `.slabs`.

In place of a rate these take a pair: the rate and the bound. There is no statistic of the pair to average.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes.distributions.truncated import log_width

from .slabs import Slab, SlabMoments
from .truncated_normal import invert_box, log_box_mass

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


def _piece(linear, precision, rate, bound):
    """On r > 0: standard deviation, and minus the mean, the width and the log mass in its units."""
    sd = jax.lax.rsqrt(precision)
    u, width = jnp.broadcast_arrays((rate - linear) * sd, bound / sd)
    return sd, u, width, log_box_mass(u, width)


def _mean_and_square(u, width):
    """E z and E z^2 of the law on [0, width] to a few digits, by Gauss's rule: they only place proposals."""
    top = jnp.clip(-u, 0, width)
    slope = jnp.maximum(jnp.maximum(u, -(u + width)), 0)
    reach = jnp.minimum(8, 40 / jnp.maximum(slope, 1))
    low, high = jnp.maximum(top - reach, 0), jnp.minimum(top + reach, width)
    z = low[..., None] + (high - low)[..., None] * (_NODES + 1) / 2
    rise = (top[..., None] - z) * (u[..., None] + (top[..., None] + z) / 2)
    mass = _WEIGHTS * jnp.exp(rise)
    mass = mass / mass.sum(axis=-1, keepdims=True)
    return jnp.sum(mass * z, axis=-1), jnp.sum(mass * z * z, axis=-1)


def log_integral(linear, precision, shape, nonnegative):
    """log of the integral of ``exp(linear r - precision / 2 r^2 - rate |r|)`` within the bound: no normaliser."""
    sd, _, _, log_mass = _piece(linear, precision, *shape)
    if not nonnegative:
        log_mass = jnp.logaddexp(log_mass, _piece(-linear, precision, *shape)[3])
    return log_mass + jnp.log(sd)


def _within(u, width, uniform, sd, bound):
    """A magnitude, which rounding must not carry over the bound."""
    return jnp.minimum(invert_box(u, width, uniform) * sd, bound)


def cut_exponential(linear, precision, shape):
    """One-sided: ``exp(-rate r)`` on [0, bound], normalised."""
    sd, u, width, log_mass = _piece(linear, precision, *shape)
    mean, square = _mean_and_square(u, width)
    return SlabMoments(log_mass + jnp.log(sd) - log_width(*shape), mean * sd, mean * sd, square * sd * sd)


def draw_cut_exponential(linear, precision, shape, uniforms):
    """Draw from the truncated normal of `cut_exponential`."""
    sd, u, width, _ = _piece(linear, precision, *shape)
    return _within(u, width, uniforms[1], sd, shape[1])


def cut_laplace(linear, precision, shape):
    """Two-sided: ``exp(-rate abs(r))`` on [-bound, bound], normalised."""
    up, down = cut_exponential(linear, precision, shape), cut_exponential(-linear, precision, shape)
    q = jax.nn.sigmoid(down.log_evidence - up.log_evidence)
    log_evidence = jnp.logaddexp(up.log_evidence, down.log_evidence) - math.log(2)
    size, square = (1 - q) * up.mean + q * down.mean, (1 - q) * up.square + q * down.square
    return SlabMoments(log_evidence, (1 - q) * up.mean - q * down.mean, size, square)


def draw_cut_laplace(linear, precision, shape, uniforms):
    """Draw from the two truncated normals of `cut_laplace`: a side, then a magnitude."""
    up, down = _piece(linear, precision, *shape), _piece(-linear, precision, *shape)
    negative = uniforms[0] < jax.nn.sigmoid(down[3] - up[3])
    sd, u, width, _ = (jnp.where(negative, b, a) for a, b in zip(up, down, strict=True))
    magnitude = _within(u, width, uniforms[1], sd, shape[1])
    return jnp.where(negative, -magnitude, magnitude)


CUT_SLABS = {
    ("l1linf", False): Slab(cut_laplace, draw_cut_laplace, jnp.abs, 1.0, -math.log(2)),
    ("l1linf", True): Slab(cut_exponential, draw_cut_exponential, jnp.abs, 1.0, 0.0),
}
