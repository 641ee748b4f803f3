"""Conditionals of an atom under the two-level slabs: is it active, its codes, its usage and its rate.

An atom is a dictionary of what belongs to it: ``dictionary`` (P,), ``usage`` and ``rate``.
"""

import jax
import jax.numpy as jnp

from padl_bayes.kernels.slabs import SLABS
from padl_bayes.kernels.truncated_normal import uniform_open

from .probability import draw_beta, logit
from .rules import Rules


def draw_codes(key, law, linear, precision, usage_logit, rate):
    """Codes of one atom, (N,): zeros, and draws of the slab ``law`` where it is used."""
    uniforms = uniform_open(key, (3, *linear.shape), linear.dtype)
    log_slab = law.moments(linear, precision, rate).log_evidence
    used = uniforms[2] < jax.nn.sigmoid(usage_logit + log_slab)
    return jnp.where(used, law.draw(linear, precision, rate, uniforms[:2]), 0)


def rules(slab, nonnegative, priors, fixed):
    """Return the `Rules` of a two-level slab.

    Parameters
    ----------
    slab : {"bernoulli_laplace", "bernoulli_gaussian"}
    nonnegative : bool
    priors : Hyperpriors
    fixed : mapping
        Values of usage and rate that are not sampled.

    Returns
    -------
    Rules
    """
    law = SLABS[slab, nonnegative]

    def flip(key, linear, tau, atom, active, shared):
        prior = logit(atom["usage"])
        log_slab = law.moments(linear, tau, atom["rate"]).log_evidence
        log_odds = jnp.sum(jax.nn.softplus(prior + log_slab) - jax.nn.softplus(prior))
        return atom, log_odds, log_odds

    def draw(key, linear, tau, atom, shared):
        return draw_codes(key, law, linear, tau, logit(atom["usage"]), atom["rate"]), atom

    def draw_atom(key, codes, active, atom, shared):
        on = jnp.asarray(active, codes.dtype)
        used = codes != 0
        count = on * jnp.sum(used, dtype=codes.dtype)
        size = on * jnp.sum(jnp.where(used, law.size(codes), 0))
        key_usage, key_rate = jax.random.split(key)
        drawn = {}
        if "usage" not in fixed:
            a, b = priors.usage
            drawn["usage"] = draw_beta(key_usage, a + count, b + on * codes.size - count)
        if "rate" not in fixed:
            shape, rate = priors.rate
            drawn["rate"] = jax.random.gamma(key_rate, shape + law.shape * count) / (rate + size)
        return atom | drawn

    def draw_shared(key, z):
        return z

    return Rules(flip, draw, draw_atom, draw_shared, ("usage", "rate"))
