"""Scalar laws with a point mass at zero: a known switch, or r = s w with s ~ Bernoulli(usage)."""

from functools import partial
from typing import ClassVar

import jax.numpy as jnp
from jax import random
from numpyro.distributions import Distribution, HalfNormal, Normal, constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from padl_bayes.distributions.truncated import TruncatedLaplace


class Gated(Distribution):
    """r drawn from ``slab`` where ``active``, exactly zero elsewhere.

    Where it is active the density is the slab's, at r = 0 too; elsewhere it is that of a point mass.

    Parameters
    ----------
    slab : Distribution
        A scalar law (empty event shape).
    active : array_like
        0 or 1; broadcasts against the slab's batch shape.
    """

    arg_constraints: ClassVar = {"active": constraints.boolean}
    pytree_data_fields = ("slab", "active")

    def __init__(self, slab, active, *, validate_args=None):
        batch_shape = jnp.broadcast_shapes(slab.batch_shape, jnp.shape(active))
        self.slab, self.active = slab.expand(batch_shape), jnp.asarray(active)
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        return self.slab.support

    def log_prob(self, value):
        return jnp.where(self.active == 1, self.slab.log_prob(value), jnp.where(value == 0, 0.0, -jnp.inf))

    def sample(self, key, sample_shape=()):
        return jnp.where(self.active == 1, self.slab.sample(key, sample_shape), 0.0)

    @property
    def mean(self):
        return jnp.where(self.active == 1, self.slab.mean, 0.0)

    @property
    def variance(self):
        return jnp.where(self.active == 1, self.slab.variance, 0.0)


class _SpikeSlab(Distribution):
    """Common part: subclasses hold ``usage``, ``nonnegative`` and their slab's law.

    Densities are with respect to a unit point mass at zero plus Lebesgue measure, which gradient-based
    samplers cannot move through: they need the slab alone.
    """

    @property
    def slab(self):
        """The law of w: r given that it is used."""
        raise NotImplementedError

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        return constraints.nonnegative if self.nonnegative else constraints.real

    @validate_sample
    def log_prob(self, value):
        zero = value == 0
        off = jnp.log1p(-jnp.where(zero, self.usage, 0.5))
        on = jnp.log(jnp.where(zero, 0.5, self.usage)) + self.slab.log_prob(value)
        on = jnp.where(value < 0, -jnp.inf, on) if self.nonnegative else on
        return jnp.where(zero, off, on)

    def sample(self, key, sample_shape=()):
        key_spike, key_slab = random.split(key)
        shape = self.shape(sample_shape)
        used = random.bernoulli(key_spike, self.usage, shape)
        return jnp.where(used, self.slab.expand(self.batch_shape).sample(key_slab, sample_shape), 0.0)

    @property
    def mean(self):
        return jnp.broadcast_to(self.usage * self.slab.mean, self.batch_shape)

    @property
    def variance(self):
        square = self.slab.variance + jnp.square(self.slab.mean)
        return jnp.broadcast_to(self.usage * square, self.batch_shape) - jnp.square(self.mean)


class BernoulliLaplace(_SpikeSlab):
    """r = s w with s ~ Bernoulli(usage) and w Laplace (``nonnegative``: exponential).

    Parameters
    ----------
    usage : array_like
        Probability that r is not zero.
    rate : array_like
        Rate of w: E|w| = 1/rate when it is not cut.
    bound : array_like, optional
        Cut w to [-bound, bound].
    nonnegative : bool
        One-sided slab.

    Notes
    -----
    The density is taken with respect to a unit point mass at zero plus Lebesgue measure: log(1 - usage) at
    r = 0 and log(usage) + log p(w = r) elsewhere.
    """

    arg_constraints: ClassVar = {
        "usage": constraints.unit_interval,
        "rate": constraints.nonnegative,
        "bound": constraints.positive,
    }
    reparametrized_params: ClassVar = ["rate", "bound"]
    pytree_aux_fields = ("nonnegative", "_bounded")

    def __init__(self, usage, rate, bound=None, *, nonnegative=False, validate_args=None):
        self.nonnegative = bool(nonnegative)
        self._bounded = bound is not None
        self.usage, self.rate, self.bound = promote_shapes(usage, rate, jnp.inf if bound is None else bound)
        shapes = (jnp.shape(usage), jnp.shape(rate), jnp.shape(self.bound))
        super().__init__(jnp.broadcast_shapes(*shapes), validate_args=validate_args)

    @property
    def slab(self):
        bound = self.bound if self._bounded else None
        return TruncatedLaplace(self.rate, bound, nonnegative=self.nonnegative, validate_args=False)


class BernoulliGaussian(_SpikeSlab):
    """r = s w with s ~ Bernoulli(usage) and w ~ Normal(0, 1/precision) (``nonnegative``: half-normal).

    Parameters
    ----------
    usage : array_like
        Probability that r is not zero.
    precision : array_like
        Inverse of E w^2.
    nonnegative : bool
        One-sided slab.

    Notes
    -----
    Densities as for `BernoulliLaplace`.
    """

    arg_constraints: ClassVar = {"usage": constraints.unit_interval, "precision": constraints.positive}
    reparametrized_params: ClassVar = ["precision"]
    pytree_aux_fields = ("nonnegative",)

    def __init__(self, usage, precision, *, nonnegative=False, validate_args=None):
        self.nonnegative = bool(nonnegative)
        self.usage, self.precision = promote_shapes(usage, precision)
        batch_shape = jnp.broadcast_shapes(jnp.shape(usage), jnp.shape(precision))
        super().__init__(batch_shape, validate_args=validate_args)

    @property
    def slab(self):
        scale = 1 / jnp.sqrt(self.precision)
        law = HalfNormal if self.nonnegative else partial(Normal, 0.0)
        return law(scale, validate_args=False)
