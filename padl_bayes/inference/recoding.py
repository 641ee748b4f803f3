"""Codes of samples given everything global: from where they stand, and afresh.

Given the dictionary, samples are independent, so each may keep the better of two codes without regard to the others:
the one it has, refined, and one found from nothing while the noise is cooled down. This undoes codes that use one
atom in place of two, and answers what a sample would lose without an atom.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..kernels.code_sweep import Tile, residual_of, sweep_tile
from ..kernels.slabs import SLABS

COOLING_STEPS = 12
SETTLING_SWEEPS = 3


class Coded(NamedTuple):
    """Codes of one tile: E r and P(used) (K, n), E r^2 (K, n), and each sample's bound (n,)."""

    codes: jax.Array
    probability: jax.Array
    square: jax.Array
    bound: jax.Array


def cooling(hot, precision):
    """Noise precisions from ``hot``, where nothing stands out of the noise, to ``precision``, in equal ratios."""
    steps = jnp.arange(COOLING_STEPS, dtype=precision.dtype) / COOLING_STEPS
    return jnp.minimum(hot, precision) ** (1 - steps) * precision**steps


def _follow(slab, x, codes, atoms, precision, tile, ladder):
    """Sweep once at each noise precision of ``ladder`` and then at ``precision``."""

    def step(carry, precision):
        codes, residual = carry
        done = sweep_tile(slab, residual, codes, atoms, precision, tile)
        return (done.codes, done.residual), None

    start = (codes, residual_of(x, codes, atoms.dictionary, tile.observed))
    (codes, residual), _ = jax.lax.scan(step, start, ladder)
    done = sweep_tile(slab, residual, codes, atoms, precision, tile)
    bound = done.bound - 0.5 * precision * jnp.sum(done.residual**2, axis=0)
    return Coded(done.codes, done.probability, done.square, bound)


def recode_tile(slab, x, codes, atoms, precision, hot, tile):
    """Better, sample by sample, of the codes refined and the codes found afresh.

    Parameters
    ----------
    slab : Slab
    x : array, shape (P, n)
    codes : array, shape (K, n)
    atoms : Atoms
    precision, hot : scalar
        Noise precision, and the one from which to cool down.
    tile : Tile

    Returns
    -------
    Coded
    """
    settle = jnp.full(SETTLING_SWEEPS, precision)
    ladder = jnp.concatenate([cooling(hot, precision), settle])
    warm = _follow(slab, x, codes, atoms, precision, tile, settle)
    cold = _follow(slab, x, jnp.zeros_like(codes), atoms, precision, tile, ladder)
    return jax.tree.map(partial(jnp.where, cold.bound > warm.bound), cold, warm)


@partial(jax.jit, static_argnums=0)
def recode(slab, problem, state):
    """`recode_tile` on all tiles: `Coded` with a leading axis of tiles."""

    def one(inputs):
        x, codes, valid, observed = inputs
        return recode_tile(
            SLABS[slab], x, codes, state.atoms, state.precision, problem.hot, Tile(valid, observed)
        )

    return jax.lax.map(one, (problem.x, state.codes, problem.valid, problem.observed))


@partial(jax.jit, static_argnums=0)
def bounds_without(slab, x, observed, codes, excluded, valid, hot, state):
    """Bound of each sample when it must not use one atom.

    Parameters
    ----------
    x, observed : array, shape (tiles, P, n)
    codes : array, shape (tiles, K, n)
    excluded : array of int, shape (tiles, n)
    valid : array, shape (tiles, n)
    hot : scalar

    Returns
    -------
    array, shape (tiles, n)
    """

    def one(inputs):
        x, observed, codes, excluded, valid = inputs
        codes = jnp.where(jnp.arange(codes.shape[0])[:, None] == excluded, 0, codes)
        tile = Tile(valid, observed, excluded)
        return recode_tile(SLABS[slab], x, codes, state.atoms, state.precision, hot, tile).bound

    return jax.lax.map(one, (x, observed, codes, excluded, valid))
