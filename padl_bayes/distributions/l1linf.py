"""The l1 + l_inf slab of PADL and the law of its envelope."""

from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import random
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from padl_bayes._validation import check_count
from padl_bayes.distributions._normaliser import as_float, expected_norms, linf_variance, log_normaliser
from padl_bayes.distributions.truncated import draw_truncated, log_width


class L1LinfLaplace(Distribution):
    """Density ``exp(-rate_l1 ||r||_1 - rate_linf ||r||_inf) / Z`` over r in R^n.

    The codes of one atom over all n samples. With rate_linf = 0 the coordinates are independent Laplace
    variables; with rate_l1 = 0 it is the democratic prior of Elvira, Chainais and Dobigeon (IEEE TSP 2017).
    Both limits, and the way to them, are exact.

    Parameters
    ----------
    rate_l1, rate_linf : array_like
        Nonnegative rates, not both zero; they broadcast to the batch shape.
    n : int
        Number of coordinates; the event shape is (n,).
    nonnegative : bool
        Restrict to r >= 0; the normaliser loses its n log 2.

    Raises
    ------
    ValueError
        n < 1; with ``validate_args=True`` also a negative rate, or both rates zero.

    Notes
    -----
    The law is a scale mixture: an envelope t (see `Envelope`) is drawn first, and given t the coordinates
    are independent Laplace variables cut to [-t, t]. `sample` follows it, so draws are exact. Pathwise
    derivatives of draws hold for positive rates.
    """

    arg_constraints: ClassVar = {"rate_l1": constraints.nonnegative, "rate_linf": constraints.nonnegative}
    reparametrized_params: ClassVar = ["rate_l1", "rate_linf"]
    pytree_aux_fields = ("n", "nonnegative")

    def __init__(self, rate_l1, rate_linf, n, *, nonnegative=False, validate_args=None):
        self.n = check_count(n, "n")
        self.nonnegative = bool(nonnegative)
        self.rate_l1, self.rate_linf = promote_shapes(rate_l1, rate_linf)
        batch_shape = jnp.broadcast_shapes(jnp.shape(rate_l1), jnp.shape(rate_linf))
        super().__init__(batch_shape, (self.n,), validate_args=validate_args)

    def validate_args(self, strict=True):
        super().validate_args(strict)
        with jax.ensure_compile_time_eval():
            improper = jnp.any((self.rate_l1 == 0) & (self.rate_linf == 0))
        if not isinstance(improper, jax.core.Tracer) and improper:
            raise ValueError("L1LinfLaplace needs rate_l1 > 0 or rate_linf > 0, found both zero")

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self):
        return (
            constraints.independent(constraints.nonnegative, 1)
            if self.nonnegative
            else constraints.real_vector
        )

    @validate_sample
    def log_prob(self, value):
        size = jnp.abs(value)
        penalty = self.rate_l1 * size.sum(-1) + self.rate_linf * size.max(-1)
        log_prob = -penalty - log_normaliser(self.rate_l1, self.rate_linf, self.n, self.nonnegative)
        return jnp.where(jnp.any(value < 0, -1), -jnp.inf, log_prob) if self.nonnegative else log_prob

    def sample(self, key, sample_shape=()):
        return self.sample_with_envelope(key, sample_shape)[0]

    def sample_with_envelope(self, key, sample_shape=()):
        """Draw ``(r, t)``: r of shape (..., n) and its envelope t of shape (...), t >= ||r||_inf."""
        key_envelope, key_codes = random.split(key)
        shape = tuple(sample_shape) + self.batch_shape
        envelope = sample_envelope(key_envelope, self.rate_l1, self.rate_linf, self.n, shape)
        rate = jnp.broadcast_to(self.rate_l1, shape)
        codes = draw_truncated(
            key_codes, rate[..., None], envelope[..., None], (*shape, self.n), self.nonnegative
        )
        return codes, envelope

    @property
    def expected_l1(self):
        """E||r||_1 = n/rate_l1 - rho E||r||_inf, shape ``batch_shape``."""
        return expected_norms(self.rate_l1, self.rate_linf, self.n)[0]

    @property
    def expected_linf(self):
        """E||r||_inf = [digamma(n + rho + 1) - digamma(rho + 1)] / rate_l1, shape ``batch_shape``."""
        return expected_norms(self.rate_l1, self.rate_linf, self.n)[1]

    @property
    def mean(self):
        mean = self.expected_l1 / self.n if self.nonnegative else jnp.zeros_like(self.expected_l1)
        return jnp.broadcast_to(mean[..., None], self.shape())

    @property
    def variance(self):
        return jnp.broadcast_to(self._mean_square()[..., None], self.shape()) - self.mean**2

    def _mean_square(self):
        """E r_i^2 = [2 - (rho/n) (L^2 + V + 2 L)] / rate_l1^2, L and V the mean and variance of
        rate_l1 ||r||_inf, summed over the sorted magnitudes instead: all terms positive, both limits regular.
        """
        count = jnp.arange(1, self.n + 1)
        spacing = 1 / (count * as_float(self.rate_l1)[..., None] + as_float(self.rate_linf)[..., None])
        sorted_means = jnp.cumsum(spacing[..., ::-1], -1)
        return (jnp.square(sorted_means).mean(-1) + (count * jnp.square(spacing)).mean(-1)).reshape(
            self.batch_shape
        )


class Envelope(Distribution):
    """The law of the envelope t of `L1LinfLaplace`: t = -log(y) / rate_l1 with y ~ Beta(rho, n + 1).

    Its density is ``rate_linf / Z * w(t)^n * exp(-rate_linf t)``, where w(t) is the integral of
    ``exp(-rate_l1 |r|)`` over [-t, t]; with rate_l1 = 0 that is Gamma(n + 1, rate_linf).

    Parameters
    ----------
    rate_l1 : array_like
        Nonnegative.
    rate_linf : array_like
        Positive.
    n : int
        Number of coordinates under the envelope.
    """

    arg_constraints: ClassVar = {"rate_l1": constraints.nonnegative, "rate_linf": constraints.positive}
    reparametrized_params: ClassVar = ["rate_l1", "rate_linf"]
    support = constraints.positive
    pytree_aux_fields = ("n",)

    def __init__(self, rate_l1, rate_linf, n, *, validate_args=None):
        self.n = check_count(n, "n")
        self.rate_l1, self.rate_linf = promote_shapes(rate_l1, rate_linf)
        batch_shape = jnp.broadcast_shapes(jnp.shape(rate_l1), jnp.shape(rate_linf))
        super().__init__(batch_shape, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value):
        log_scale = jnp.log(self.rate_linf) - log_normaliser(
            self.rate_l1, self.rate_linf, self.n, nonnegative=True
        )
        return log_scale + self.n * log_width(self.rate_l1, value) - self.rate_linf * value

    def sample(self, key, sample_shape=()):
        return sample_envelope(key, self.rate_l1, self.rate_linf, self.n, self.shape(sample_shape))

    @property
    def mean(self):
        return expected_norms(self.rate_l1, self.rate_linf, self.n)[1] + 1 / self.rate_linf

    @property
    def variance(self):
        return linf_variance(self.rate_l1, self.rate_linf, self.n) + 1 / jnp.square(self.rate_linf)


@partial(jax.jit, static_argnames=("n", "shape"))
def sample_envelope(key, rate_l1, rate_linf, n, shape):
    """Draw envelopes of ``shape`` at a cost free of n; infinite where rate_linf = 0.

    -log Beta(rho, n + 1) is softplus(g - h) with g, h the logarithms of independent Gamma(n + 1) and
    Gamma(rho) variables, which neither a small nor a large rho harms.
    """
    rate_l1, rate_linf = jnp.broadcast_arrays(as_float(rate_l1), as_float(rate_linf))
    rho = rate_linf / jnp.where(rate_l1 > 0, rate_l1, 1.0)
    mixed = (rate_l1 > 0) & (rate_linf > 0) & jnp.isfinite(rho)
    rho = jnp.where(mixed, rho, 1.0)
    order = jnp.broadcast_to(jnp.stack([jnp.full_like(rho, n + 1), rho], -1), (*shape, 2))
    log_gamma = random.loggamma(key, order, dtype=order.dtype)
    log_gamma_n, log_gamma_rho = log_gamma[..., 0], log_gamma[..., 1]
    envelope = jax.nn.softplus(log_gamma_n - log_gamma_rho) / jnp.where(mixed, rate_l1, 1.0)
    democratic = jnp.exp(log_gamma_n) / jnp.where(rate_linf > 0, rate_linf, 1.0)
    return jnp.where(mixed, envelope, jnp.where(rate_linf > 0, democratic, jnp.inf))
