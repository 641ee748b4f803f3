"""The normaliser of the l1 + l_inf exponential family and its derivatives, at a cost free of n.

The spacings of the sorted magnitudes are independent exponentials with rates ``j rate_l1 + rate_linf``,
j = n, ..., 1, so

    Z = (2/rate_l1)^n n! Gamma(rho + 1) / Gamma(n + rho + 1) = 2^n / prod_j (rate_l1 + rate_linf / j),

rho = rate_linf / rate_l1. The product is regular where the differences of log-gamma functions cancel
(rho large) or are not defined (rate_l1 = 0). Its logarithm is summed directly up to j = 16 and by
Euler-Maclaurin beyond, with a truncation error below 1e-13.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes.distributions._ratios import log1p_ratio

_DIRECT = 16


def as_float(x):
    """``x`` as a floating array; arrays that are floating keep their type."""
    return jnp.asarray(x, jnp.result_type(x, float))


@partial(jax.jit, static_argnames="n")
def log_rate_sum(rate_l1, rate_linf, n):
    """Sum over j = 1..n of log(rate_l1 + rate_linf / j).

    It is the log-partition function of the family up to sign: its derivatives in (rate_l1, rate_linf)
    are (E||r||_1, E||r||_inf).
    """
    rate_l1, rate_linf = as_float(rate_l1), as_float(rate_linf)
    j = np.arange(1, min(n, _DIRECT) + 1)
    head = jnp.log(rate_l1[..., None] + rate_linf[..., None] / j).sum(-1)
    return head if n <= _DIRECT else head + _tail(rate_l1, rate_linf, _DIRECT, n)


def _tail(rate_l1, rate_linf, m, n):
    """Sum over j = m+1..n by Euler-Maclaurin, log(j rate_l1 + rate_linf) minus log(j) term by term."""
    low, high = m * rate_l1 + rate_linf, n * rate_l1 + rate_linf
    log_low, log_high = jnp.log(rate_l1 + rate_linf / m), jnp.log(rate_l1 + rate_linf / n)
    steps = n - m
    integral = steps * (log_high + log1p_ratio(steps * rate_l1 / low) - log1p_ratio(jnp.asarray(steps / m)))
    ends = _end_correction(rate_l1 / high) - _end_correction(rate_l1 / low)
    return integral + 0.5 * (log_high - log_low) + ends - _end_correction(1 / n) + _end_correction(1 / m)


def _end_correction(x):
    return x * (1 / 12 - x**2 * (1 / 360 - x**2 * (1 / 1260 - x**2 / 1680)))


def log_normaliser(rate_l1, rate_linf, n, nonnegative=False):
    """log Z of exp(-rate_l1 ||r||_1 - rate_linf ||r||_inf) over R^n, or over its nonnegative orthant.

    Parameters
    ----------
    rate_l1, rate_linf : array_like
        Nonnegative, not both zero; broadcast against each other.
    n : int
        Number of coordinates.
    nonnegative : bool
        Integrate over r >= 0 only: the term n log 2 drops.
    """
    return (0.0 if nonnegative else n * jnp.log(2.0)) - log_rate_sum(rate_l1, rate_linf, n)


@partial(jax.jit, static_argnames="n")
def expected_norms(rate_l1, rate_linf, n):
    """``(E||r||_1, E||r||_inf)``: the gradient of `log_rate_sum`."""
    rates = jnp.broadcast_arrays(as_float(rate_l1), as_float(rate_linf))
    value, pullback = jax.vjp(lambda l1, linf: log_rate_sum(l1, linf, n), *rates)
    return pullback(jnp.ones_like(value))


@partial(jax.jit, static_argnames="n")
def linf_variance(rate_l1, rate_linf, n):
    """Variance of ||r||_inf: minus the second derivative of `log_rate_sum` in rate_linf."""
    rate_l1, rate_linf = jnp.broadcast_arrays(as_float(rate_l1), as_float(rate_linf))
    _, slope = jax.jvp(
        lambda linf: expected_norms(rate_l1, linf, n)[1], (rate_linf,), (jnp.ones_like(rate_linf),)
    )
    return -slope
