"""Samples that use one of two atoms choose anew which: a Gibbs step over which of the two codes is not zero.

Two copies of one atom share out its samples, and each holds its own: a sample that would change has to use both on the
way, which is unlikely. With each sample free to choose, the shares drift until one copy has next to none and dies.
Which pair is chosen depends on directions alone, which stay as they are.
"""

import jax
import jax.numpy as jnp

from padl_bayes.kernels.uniforms import draw_uniforms, gumbel_of

from .birth_death import one_of
from .probability import logit
from .split_merge import LIKENESS
from .sweep import explained


def _likeness(z):
    """Log weights (K, K) of an atom's partners: active others, the more like it the more probable."""
    others = (z["active"] == 1) & ~jnp.eye(len(z["active"]), dtype=bool)
    return jnp.where(others, LIKENESS * (z["dictionary"] @ z["dictionary"].T) ** 2, -jnp.inf)


def _pair(uniforms, on, likeness):
    """Two atoms, the second more probably one like the first; the first evenly, or more probably one that has a like.

    Also whether there are two.
    """
    weights = jnp.where(on, jax.scipy.special.logsumexp(likeness, axis=1), -jnp.inf)
    crowded = jnp.argmax(weights + gumbel_of(uniforms["crowded"]))
    j = jnp.where(uniforms["evenly"] < 0.5, one_of(uniforms["first"], on), crowded)
    k = jnp.argmax(likeness[j] + gumbel_of(uniforms["second"]))
    return j, k, on[j] & jnp.isfinite(likeness[j, k])


def _choose(law, z, likeness, uniforms, residual, codes):
    """Let the samples that use one of two atoms choose which."""
    j, k, possible = _pair(uniforms, z["active"] == 1, likeness)
    tau = z["noise_scale"] ** -2
    pair = jnp.stack([j, k])
    atoms, usage, rate = (z[name][pair] for name in ("dictionary", "usage", "rate"))
    before = codes[:, pair]
    choose = possible & (jnp.sum(before != 0, axis=1) == 1)
    without = residual + before @ atoms
    linear = tau * (without @ atoms.T)
    log_weight = logit(usage) + law.moments(linear, tau, rate).log_evidence
    chosen = (uniforms["which"] < jax.nn.sigmoid(log_weight[:, 1] - log_weight[:, 0])).astype(int)
    of_chosen = jnp.take_along_axis(linear, chosen[:, None], 1)[:, 0]
    code = law.draw(of_chosen, tau, rate[chosen], uniforms["code"])
    after = jnp.where(choose[:, None], code[:, None] * jax.nn.one_hot(chosen, 2, dtype=code.dtype), before)
    residual = residual + explained((before - after).T, atoms)
    return residual, codes.at[:, pair].set(after)


def exchange(key, law, n_tries, residual, z, *, divided=False):
    """Exchange samples between the atoms of some pairs, under a two-level slab.

    Parameters
    ----------
    key : PRNG key
    law : Slab
    n_tries : int
        Pairs, one after the other.
    residual : array, shape (N, P)
    z : dict
    divided : bool
        Whether samples lie on several devices.

    Returns
    -------
    array, dict
        Residual and sites.
    """
    n_samples, n_atoms = z["codes"].shape
    scalars: dict[str, tuple] = {"evenly": ()}
    places = dict.fromkeys(("crowded", "first", "second"), (n_atoms,))
    shapes = scalars | places | {"which": (n_samples,), "code": (2, n_samples)}
    uniforms = draw_uniforms(key, shapes, (n_tries,), residual.dtype, divided=divided)

    likeness = _likeness(z)

    def step(carry, uniforms):
        return _choose(law, z, likeness, uniforms, *carry), None

    residual, codes = jax.lax.scan(step, (residual, z["codes"]), uniforms)[0]
    return residual, z | {"codes": codes}
