"""Posterior of one code entry under a spike-and-slab prior and a Gaussian likelihood, in closed form.

The likelihood of an entry r is ``exp(-precision / 2 r^2 + linear r)``. Each function returns the log evidence of its
slab (relative to r = 0) and the moments of r given that the slab is used. A new slab is one more entry of `SLABS`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .special import upper_tail


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
    shape : float
        1 where size(r) = abs(r), 1/2 where size(r) = r^2 / 2.
    """

    moments: Callable
    shape: float


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


def laplace(linear, precision, rate):
    """Two-sided exponential slab ``rate / 2 exp(-rate abs(r))``: a two-piece truncated normal."""
    sd = jax.lax.rsqrt(precision)
    near = (rate - jnp.abs(linear)) * sd
    far = (rate + jnp.abs(linear)) * sd
    scale, mass, mean, square = upper_tail(near)
    _, far_mass, far_mean, far_square = upper_tail(far)
    far_mass = far_mass * jnp.exp(-scale)
    total = mass + far_mass
    q = far_mass / total
    log_evidence = jnp.log(rate * sd * total) + scale + 0.5 * math.log(math.pi / 8)
    signed = jnp.sign(linear) * ((1 - q) * mean - q * far_mean) * sd
    size = ((1 - q) * mean + q * far_mean) * sd
    return SlabMoments(log_evidence, signed, size, ((1 - q) * square + q * far_square) * sd * sd)


def exponential(linear, precision, rate):
    """One-sided slab ``rate exp(-rate r)`` on r > 0."""
    sd = jax.lax.rsqrt(precision)
    scale, mass, mean, square = upper_tail((rate - linear) * sd)
    log_evidence = jnp.log(rate * sd * mass) + scale + 0.5 * math.log(math.pi / 2)
    return SlabMoments(log_evidence, mean * sd, mean * sd, square * sd * sd)


def gaussian(linear, precision, rate):
    """Gaussian slab with precision ``rate``."""
    total = precision + rate
    mean = linear / total
    log_evidence = 0.5 * jnp.log(rate / total) + 0.5 * linear * mean
    square = mean * mean + 1 / total
    return SlabMoments(log_evidence, mean, 0.5 * square, square)


def half_normal(linear, precision, rate):
    """Gaussian slab with precision ``rate`` folded onto r > 0."""
    total = precision + rate
    sd = jax.lax.rsqrt(total)
    scale, mass, mean, square = upper_tail(-linear * sd)
    log_evidence = 0.5 * jnp.log(rate / total) + jnp.log(mass) + scale
    square = square * sd * sd
    return SlabMoments(log_evidence, mean * sd, 0.5 * square, square)


SLABS = {
    ("bernoulli_laplace", False): Slab(laplace, 1.0),
    ("bernoulli_laplace", True): Slab(exponential, 1.0),
    ("bernoulli_gaussian", False): Slab(gaussian, 0.5),
    ("bernoulli_gaussian", True): Slab(half_normal, 0.5),
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
