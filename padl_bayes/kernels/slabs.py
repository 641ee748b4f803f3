"""Posterior of one code entry under a spike-and-slab prior and a Gaussian likelihood, in closed form.

The likelihood of an entry r is ``exp(-precision / 2 r^2 + linear r)``. Each function returns the log evidence of its
slab (relative to r = 0) and the moments of r given that the slab is used, or draws r. A new slab is one more entry of
`SLABS`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from .special import upper_tail
from .truncated_normal import invert_above


class SlabMoments(NamedTuple):
    """What a slab says of one entry: log evidence and, given use, E r, the mean statistic of its rate, E r^2."""

    log_evidence: jax.Array
    mean: jax.Array
    size: jax.Array
    square: jax.Array


class Slab(NamedTuple):
    """A slab as an exponential family in its rate: density proportional to ``rate^shape exp(-rate size(r))``.

    Attributes
    ----------
    moments : callable
        ``(linear, precision, rate) -> SlabMoments``.
    draw : callable
        ``(linear, precision, rate, uniforms)`` to a draw of r given use; two uniform numbers, on the first axis.
    size : callable
        The statistic of the rate.
    shape : float
        1 where size(r) = abs(r), 1/2 where size(r) = r^2 / 2.
    log_constant : float
        Logarithm of the density's constant factor.
    """

    moments: Callable
    draw: Callable
    size: Callable
    shape: float
    log_constant: float

    def log_density(self, r, rate):
        """Log density of the slab at r."""
        return self.log_constant + self.shape * jnp.log(rate) - rate * self.size(r)


class EntryMoments(NamedTuple):
    """Spike-and-slab posterior of one entry.

    Attributes
    ----------
    probability : array
        P(used).
    mean, size, square : array
        E r, E size(r) and E r^2, see `Slab`.
    log_evidence : array
        log of spike plus slab evidence relative to r = 0.
    divergence : array
        KL(q || prior).
    """

    probability: jax.Array
    mean: jax.Array
    size: jax.Array
    square: jax.Array
    log_evidence: jax.Array
    divergence: jax.Array


def _sides(linear, precision, rate):
    """Standardised `upper_tail` arguments of the two pieces, on the side of ``linear`` and on the other."""
    sd = jax.lax.rsqrt(precision)
    return sd, (rate - jnp.abs(linear)) * sd, (rate + jnp.abs(linear)) * sd


def laplace(linear, precision, rate):
    """Two-sided exponential slab ``rate / 2 exp(-rate abs(r))``: a two-piece truncated normal."""
    sd, near, far = _sides(linear, precision, rate)
    scale, mass, mean, square = upper_tail(near)
    _, far_mass, far_mean, far_square = upper_tail(far)
    far_mass = far_mass * jnp.exp(-scale)
    total = mass + far_mass
    q = far_mass / total
    log_evidence = jnp.log(rate * sd * total) + scale + 0.5 * math.log(math.pi / 8)
    signed = jnp.sign(linear) * ((1 - q) * mean - q * far_mean) * sd
    size = ((1 - q) * mean + q * far_mean) * sd
    return SlabMoments(log_evidence, signed, size, ((1 - q) * square + q * far_square) * sd * sd)


def draw_laplace(linear, precision, rate, uniforms):
    """Draw from the two-piece truncated normal of `laplace`: a side, then a magnitude."""
    sd, near, far = _sides(linear, precision, rate)
    scale, mass, *_ = upper_tail(near)
    far_mass = upper_tail(far)[1] * jnp.exp(-scale)
    other = uniforms[0] * (mass + far_mass) < far_mass
    magnitude = invert_above(jnp.where(other, far, near), uniforms[1]) * sd
    return jnp.where(other ^ (linear < 0), -magnitude, magnitude)


def exponential(linear, precision, rate):
    """One-sided slab ``rate exp(-rate r)`` on r > 0."""
    sd = jax.lax.rsqrt(precision)
    scale, mass, mean, square = upper_tail((rate - linear) * sd)
    log_evidence = jnp.log(rate * sd * mass) + scale + 0.5 * math.log(math.pi / 2)
    return SlabMoments(log_evidence, mean * sd, mean * sd, square * sd * sd)


def draw_exponential(linear, precision, rate, uniforms):
    """Draw from the truncated normal of `exponential`."""
    sd = jax.lax.rsqrt(precision)
    return invert_above((rate - linear) * sd, uniforms[1]) * sd


def gaussian(linear, precision, rate):
    """Gaussian slab with precision ``rate``."""
    total = precision + rate
    mean = linear / total
    log_evidence = 0.5 * jnp.log(rate / total) + 0.5 * linear * mean
    square = mean * mean + 1 / total
    return SlabMoments(log_evidence, mean, 0.5 * square, square)


def draw_gaussian(linear, precision, rate, uniforms):
    """Draw from the normal of `gaussian`; of the other sign if ``linear`` is."""
    total = precision + rate
    magnitude = jnp.abs(linear) / total + ndtri(uniforms[1]) * jax.lax.rsqrt(total)
    return jnp.where(linear < 0, -magnitude, magnitude)


def half_normal(linear, precision, rate):
    """Gaussian slab with precision ``rate`` folded onto r > 0."""
    total = precision + rate
    sd = jax.lax.rsqrt(total)
    scale, mass, mean, square = upper_tail(-linear * sd)
    log_evidence = 0.5 * jnp.log(rate / total) + jnp.log(mass) + scale
    square = square * sd * sd
    return SlabMoments(log_evidence, mean * sd, 0.5 * square, square)


def draw_half_normal(linear, precision, rate, uniforms):
    """Draw from the truncated normal of `half_normal`."""
    sd = jax.lax.rsqrt(precision + rate)
    return invert_above(-linear * sd, uniforms[1]) * sd


def _half_square(r):
    return 0.5 * r * r


SLABS = {
    ("bernoulli_laplace", False): Slab(laplace, draw_laplace, jnp.abs, 1.0, -math.log(2)),
    ("bernoulli_laplace", True): Slab(exponential, draw_exponential, jnp.abs, 1.0, 0.0),
    ("bernoulli_gaussian", False): Slab(
        gaussian, draw_gaussian, _half_square, 0.5, -0.5 * math.log(2 * math.pi)
    ),
    ("bernoulli_gaussian", True): Slab(
        half_normal, draw_half_normal, _half_square, 0.5, 0.5 * math.log(2 / math.pi)
    ),
}


def entry_moments(slab, linear, precision, usage_logit, rate):
    """Posterior of one entry with prior ``(1 - usage) delta_0 + usage * slab``.

    Parameters
    ----------
    slab : Slab
    linear, precision : array
        Linear and quadratic coefficient of the log likelihood.
    usage_logit, rate : array
        Log odds of use and the slab's rate (Laplace) or precision (Gaussian).

    Returns
    -------
    EntryMoments
    """
    used = slab.moments(linear, precision, rate)
    log_odds = usage_logit + used.log_evidence
    probability = jax.nn.sigmoid(log_odds)
    mean, square = probability * used.mean, probability * used.square
    log_evidence = jax.nn.softplus(log_odds) - jax.nn.softplus(usage_logit)
    divergence = linear * mean - 0.5 * precision * square - log_evidence
    return EntryMoments(probability, mean, probability * used.size, square, log_evidence, divergence)


def draw_entry(slab, linear, precision, usage_logit, rate, uniforms):
    """Draw of one entry from the posterior of `entry_moments`, from three uniform numbers, on the first axis."""
    used = uniforms[2] < jax.nn.sigmoid(usage_logit + slab.moments(linear, precision, rate).log_evidence)
    return jnp.where(used, slab.draw(linear, precision, rate, uniforms[:2]), 0)
