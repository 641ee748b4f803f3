"""A Laplace (or exponential) law by its rate, cut at a bound: one code given its atom's envelope."""

from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import random
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from padl_bayes.distributions._ratios import (
    expm1_ratio,
    log1p_ratio,
    truncated_mean_ratio,
    truncated_square_ratio,
)

_WORDS = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}


class TruncatedLaplace(Distribution):
    """Density proportional to ``exp(-rate |r|)`` on [-bound, bound], or on [0, bound].

    Parameters
    ----------
    rate : array_like
        Nonnegative; 0 is the uniform law and needs a finite bound.
    bound : array_like, optional
        Positive; infinite, or None, leaves the law uncut.
    nonnegative : bool
        One-sided: r >= 0.

    Notes
    -----
    `log_prob` is -inf outside the bounds whether or not arguments are validated. Draws are reparametrised
    by inversion and keep full resolution in the far tail: the uniform number is built from a whole word of
    random bits, counted from the tail's end.
    """

    arg_constraints: ClassVar = {"rate": constraints.nonnegative, "bound": constraints.positive}
    reparametrized_params: ClassVar = ["rate", "bound"]
    pytree_aux_fields = ("nonnegative", "_bounded")

    def __init__(self, rate, bound=None, *, nonnegative=False, validate_args=None):
        self.nonnegative = bool(nonnegative)
        self._bounded = bound is not None
        self.rate, self.bound = promote_shapes(rate, jnp.inf if bound is None else bound)
        batch_shape = jnp.broadcast_shapes(jnp.shape(rate), jnp.shape(self.bound))
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        if not self._bounded:
            return constraints.nonnegative if self.nonnegative else constraints.real
        return constraints.interval(
            jnp.zeros_like(self.bound) if self.nonnegative else -self.bound, self.bound
        )

    @validate_sample
    def log_prob(self, value):
        size = jnp.abs(value)
        inside = (size <= self.bound) & (value >= 0 if self.nonnegative else True)
        log_sides = 0.0 if self.nonnegative else jnp.log(2.0)
        return jnp.where(inside, -self.rate * size - log_sides - log_width(self.rate, self.bound), -jnp.inf)

    def sample(self, key, sample_shape=()):
        return draw_truncated(key, self.rate, self.bound, self.shape(sample_shape), self.nonnegative)

    @property
    def mean_abs(self):
        """E|r|, shape ``batch_shape``."""
        bound, finite = _finite(self.bound)
        rate = jnp.where(finite, 1.0, self.rate)
        return jnp.where(finite, bound * truncated_mean_ratio(self.rate * bound), 1 / rate)

    @property
    def mean_square(self):
        """E r^2, shape ``batch_shape``."""
        bound, finite = _finite(self.bound)
        rate = jnp.where(finite, 1.0, self.rate)
        return jnp.where(finite, bound**2 * truncated_square_ratio(self.rate * bound), 2 / rate**2)

    @property
    def mean(self):
        return self.mean_abs if self.nonnegative else jnp.zeros(self.batch_shape, jnp.result_type(float))

    @property
    def variance(self):
        return self.mean_square - self.mean**2


def log_width(rate, bound):
    """log of the integral of exp(-rate a) over a in [0, bound]."""
    finite_bound, finite = _finite(bound)
    safe_rate = jnp.where(finite, 1.0, rate)
    cut = jnp.log(finite_bound) + jnp.log(expm1_ratio(rate * finite_bound))
    return jnp.where(finite, cut, -jnp.log(safe_rate))


def _finite(bound):
    finite = jnp.isfinite(bound)
    return jnp.where(finite, bound, 1.0), finite


@partial(jax.jit, static_argnames=("shape", "nonnegative"))
def draw_truncated(key, rate, bound, shape, nonnegative=False):
    """Draws of `TruncatedLaplace` of ``shape``, against which rate and bound broadcast."""
    dtype = jnp.result_type(rate, bound, float)
    bits = random.bits(key, shape, _WORDS[dtype.itemsize])
    survival = ((bits >> 1).astype(dtype) + 0.5) * 2.0 ** (1 - 8 * dtype.itemsize)
    size = _inverse_survival(survival, rate, bound)
    return size if nonnegative else jnp.where(bits & 1 == 1, size, -size)


def _inverse_survival(survival, rate, bound):
    """The size a in [0, bound] whose probability of being exceeded is ``survival``."""
    finite_bound, finite = _finite(bound)
    x = rate * finite_bound
    nearly_uniform = finite & (x < 0.1)
    short = jnp.where(nearly_uniform, x, 0.0)
    shrink = expm1_ratio(short)
    rank = 1 - survival
    flat = finite_bound * rank * shrink * log1p_ratio(-rank * short * shrink)
    floor = jnp.where(finite, jnp.exp(-jnp.where(finite, x, 1.0)), 0.0)
    steep = -jnp.log(survival + rank * floor) / jnp.where(nearly_uniform, 1.0, rate)
    return jnp.minimum(jnp.where(nearly_uniform, flat, steep), bound)
