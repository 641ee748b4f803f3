"""Conditionals of an atom under the two-level slabs: is it active, its codes, its usage and its rate.

An atom is a dictionary of what belongs to it: ``dictionary`` (P,), ``usage`` and ``rate``.
"""

import jax
import jax.numpy as jnp

from padl_bayes.kernels.slabs import SLABS, draw_entry

from .probability import draw_beta_and_gamma, logit
from .rules import Rules
from .shear import CodePrior, shear


def _code_prior(z, law, nonnegative):
    def energy(codes, rate):
        return rate * jnp.sum(law.size(codes))

    return CodePrior(energy, lambda rate: rate**law.shape, z["rate"], nonnegative)


def rules(slab, nonnegative, priors, fixed, n_samples, every_code=False):
    """Return the `Rules` of a two-level slab.

    Parameters
    ----------
    slab : {"bernoulli_laplace", "bernoulli_gaussian"}
    nonnegative : bool
    priors : Hyperpriors
    fixed : mapping
        Values of usage and rate that are not sampled.
    n_samples : int
    every_code : bool
        Whether the usage is given, and such that every sample uses every atom.

    Returns
    -------
    Rules
    """
    law = SLABS[slab, nonnegative]

    def flip(uniforms, linear, tau, atom, active, shared):
        prior = logit(atom["usage"])
        log_slab = law.moments(linear, tau, atom["rate"]).log_evidence
        log_odds = jnp.sum(jax.nn.softplus(prior + log_slab) - jax.nn.softplus(prior))
        return atom, log_odds, log_odds

    def draw(uniforms, linear, tau, atom, shared):
        usage_logit = logit(atom["usage"])
        return draw_entry(law, linear, tau, usage_logit, atom["rate"], uniforms["entries"]), atom

    def draw_atom(key, codes, active, atom, shared):
        on = jnp.asarray(active, codes.dtype)
        used = codes != 0
        count = on * jnp.sum(used, dtype=codes.dtype)
        size = on * jnp.sum(jnp.where(used, law.size(codes), 0))
        a, b = priors.usage
        shape, rate = priors.rate
        missed = on * codes.size - count
        usage, gamma = draw_beta_and_gamma(key, a + count, b + missed, shape + law.shape * count)
        drawn = {"usage": usage, "rate": gamma / (rate + size)}
        return atom | {name: value for name, value in drawn.items() if name not in fixed}

    def draw_shared(key, z):
        sheared = every_code and "dictionary" not in fixed
        return shear(key, z, _code_prior(z, law, nonnegative)) if sheared else z

    return Rules(flip, draw, draw_atom, draw_shared, ("usage", "rate"), 0, {"entries": (3, n_samples)})
