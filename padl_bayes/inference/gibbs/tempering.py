"""Tempered transitions of the codes: all codes of a sample change together, past less likely supports.

Updates of one code at a time cannot leave a support whose neighbours are all unlikely, as of a sample that uses two
atoms in place of one, and then atoms that stand for several others stay. Given all else, samples are independent, so
each goes its own way: its likelihood is raised to powers that fall from one to where the data are no more than noise
and rise again, with one sweep over its codes at each, in reverse order on the way back, and what comes out is accepted
with probability min(1, exp(sum_j (b_{j-1} - b_j) (E_j - E'_j))), E_j and E'_j the energies ``tau ||residual||^2 / 2``
before the sweep at power b_j on the way down, and after it on the way up.

Neal, Statistics and Computing 6, 353-366, 1996.
"""

import jax
import jax.numpy as jnp

from padl_bayes.kernels.slabs import draw_entry
from padl_bayes.kernels.uniforms import uniform_open

from .probability import logit
from .sweep import explained

LEVELS = 16


def _powers(tau, X):
    """Powers (`LEVELS` + 1,) of the likelihood, in equal ratios; they depend on nothing that the move changes."""
    # Down to where the noise is as large as the data.
    hottest = jnp.maximum(tau * jnp.mean(X**2), 1)
    return hottest ** -jnp.linspace(0, 1, LEVELS + 1, dtype=X.dtype)


def _sweep_codes(key, law, z, precision, residual, codes, backwards):
    """Update the codes (K, N) of one atom after the other, at one power of the likelihood."""
    atoms = z["dictionary"], logit(z["usage"]), z["rate"], z["active"] == 1

    def turned(tree):
        return jax.tree.map(lambda a: jnp.where(backwards, a[::-1], a), tree)

    def step(residual, one):
        key, codes, (atom, usage_logit, rate, active) = one
        without = residual + jnp.outer(codes, atom)
        linear = precision * (without @ atom)
        uniforms = uniform_open(key, (3, len(linear)), linear.dtype)
        new = jnp.where(active, draw_entry(law, linear, precision, usage_logit, rate, uniforms), 0)
        return residual + explained((codes, -new), (atom, atom)), new

    keys = jax.random.split(key, len(codes))
    residual, codes = jax.lax.scan(step, residual, (keys, *turned((codes, atoms))))
    return residual, turned(codes)


def _work(precision, residual):
    """What a change of the likelihood by ``precision`` takes of each sample, (N,)."""
    return 0.5 * precision * jnp.sum(residual**2, axis=1)


def temper_codes(key, law, residual, z):
    """Tempered transition of the codes of every sample, under a two-level slab.

    Parameters
    ----------
    key : PRNG key
    law : Slab
    residual : array, shape (N, P)
        Of the completed data.
    z : dict

    Returns
    -------
    array, dict, array
        Residual, sites, and the share of samples whose proposal was accepted.
    """
    tau = z["noise_scale"] ** -2
    X = residual + z["codes"] @ z["dictionary"]
    powers = _powers(tau, X)
    key_accept, key_levels = jax.random.split(key)

    def step(carry, level):
        residual, codes, log_ratio = carry
        key, power, gap, back = level
        down = _work(tau * gap, residual)
        residual, codes = _sweep_codes(key, law, z, tau * power, residual, codes, back)
        return (residual, codes, log_ratio + jnp.where(back, -_work(tau * gap, residual), down)), None

    def there_and_back(a):
        return jnp.concatenate([a, a[::-1]])

    levels = there_and_back(powers[1:]), there_and_back(powers[:-1] - powers[1:])
    keys = jax.random.split(key_levels, 2 * LEVELS)
    carry = residual, z["codes"].T, jnp.zeros(len(X), X.dtype)
    (proposed, codes, log_ratio), _ = jax.lax.scan(
        step, carry, (keys, *levels, jnp.arange(2 * LEVELS) >= LEVELS)
    )
    accepted = jnp.log(jax.random.uniform(key_accept, log_ratio.shape, X.dtype)) < log_ratio
    codes = jnp.where(accepted, codes, z["codes"].T)
    residual = jnp.where(accepted[:, None], proposed, residual)
    return residual, z | {"codes": codes.T}, jnp.mean(accepted.astype(X.dtype))
