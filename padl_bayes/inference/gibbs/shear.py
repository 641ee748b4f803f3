"""Shears: an atom turns towards another, whose codes make up for it, so that the data are explained as before.

Where every code is in use, only the prior tells ``c_k d_k^T + c_j d_j^T`` from the same sum with d_k turned in the
plane of the two and c_j changed accordingly: given the codes an atom hardly turns, and given the atoms codes hardly
change.
With u orthogonal to d_j, write ``d_k = (u + a d_j) / sqrt(1 + a^2)``, ``c_k = sqrt(1 + a^2) g`` and ``c_j = h - a g``.
Given u, d_j, g and h the likelihood does not depend on a, and

    log p(a) = (N - P) / 2 log(1 + a^2) - E_k(c_k) - E_j(c_j),

E the negative log prior of an atom's codes, envelopes integrated out; the first term is what becomes of the volumes of
sphere and codes. It is sampled by slices, for disjoint pairs of atoms side by side.

A group of transformations as in Liu and Sabatti, Biometrika 87(2), 353-369, 2000.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from padl_bayes.kernels.slice_sampling import N_UNIFORMS, slice_update
from padl_bayes.kernels.uniforms import draw_uniforms

ROUNDS = 24


class CodePrior(NamedTuple):
    """Prior of an atom's codes (N,) where all are in use.

    Attributes
    ----------
    energy : callable
        ``(codes, scales) -> array ()``: the negative log density up to a constant.
    strength : callable
        ``scales -> array ()``: about one over the spread of a code.
    scales : pytree
        What the density of each atom depends on, the atom as first axis.
    nonnegative : bool
    """

    energy: Callable
    strength: Callable
    scales: tuple
    nonnegative: bool


def _log_volume(a, n_samples, n_features):
    return (n_samples - n_features) / 2 * jnp.log1p(a * a)


def _shear_pair(uniforms, prior, scales, directions, codes):
    """Direction (P,) of the first of two atoms, and codes (2, N) of both."""
    of_first, of_other = (jax.tree.map(lambda a, i=i: a[i], scales) for i in (0, 1))
    direction, other = directions
    cosine = direction @ other
    across = direction - cosine * other
    sine = jnp.linalg.norm(across)
    g, start = codes[0] * sine, cosine / sine

    def sheared(a):
        return jnp.sqrt(1 + a * a) * g, codes[1] - (a - start) * g

    def log_density(a):
        first, second = sheared(a)
        volume = _log_volume(a, len(g), len(other))
        value = volume - prior.energy(first, of_first) - prior.energy(second, of_other)
        return jnp.where(jnp.any(second < 0), -jnp.inf, value) if prior.nonnegative else value

    # A few standard deviations.
    width = 4 / (prior.strength(of_other) * jnp.maximum(jnp.linalg.norm(g), jnp.finfo(g.dtype).tiny))
    a = slice_update(uniforms, log_density, start, width)
    turned = across / sine + a * other
    return turned / jnp.linalg.norm(turned), jnp.stack(sheared(a))


def shear(key, z, prior):
    """Shear pairs of active atoms that every sample uses, `ROUNDS` times each with another.

    Parameters
    ----------
    key : PRNG key
    z : dict
        Envelopes are taken for integrated out: they must be drawn anew afterwards.
    prior : CodePrior

    Returns
    -------
    dict
    """
    (n_atoms, n_features), dtype = z["dictionary"].shape, z["codes"].dtype
    n_pairs = n_atoms // 2
    if not n_pairs or n_features == 1:
        return z
    # No shear makes or fills zeros.
    full = (z["active"] == 1) & jnp.all(z["codes"] != 0, axis=0)
    shapes = {"order": (n_atoms,), "slices": (n_pairs, N_UNIFORMS)}

    def step(carry, uniforms):
        dictionary, codes = carry
        order = jnp.argsort(jnp.where(full, uniforms["order"], 2))
        pairs = order[: 2 * n_pairs].reshape(n_pairs, 2)
        scales = jax.tree.map(lambda a: a[pairs], prior.scales)
        turned, moved = jax.vmap(_shear_pair, (0, None, 0, 0, 0))(
            uniforms["slices"], prior, scales, dictionary[pairs], codes[pairs]
        )
        # Not finite: two directions that are the same to rounding.
        valid = jnp.all(full[pairs], axis=1) & jnp.all(jnp.isfinite(turned), axis=1)
        turned = jnp.where(valid[:, None], turned, dictionary[pairs[:, 0]])
        moved = jnp.where(valid[:, None, None], moved, codes[pairs])
        return (dictionary.at[pairs[:, 0]].set(turned), codes.at[pairs].set(moved)), None

    uniforms = draw_uniforms(key, shapes, (ROUNDS,), dtype)
    (dictionary, codes), _ = jax.lax.scan(step, (z["dictionary"], z["codes"].T), uniforms)
    return z | {"dictionary": dictionary, "codes": codes.T}
