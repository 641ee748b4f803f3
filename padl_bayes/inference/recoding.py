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


def _follow(slab, x, codes, atoms, ladder, n_steps, tile):
    """Sweep at the first ``n_steps`` noise precisions of ``ladder`` in turn."""

    def step(i, carry):
        codes, residual, *_ = carry
        done = sweep_tile(slab, residual, codes, atoms, ladder[i], tile)
        bound = done.bound - 0.5 * ladder[i] * jnp.sum(done.residual**2, axis=0)
        return done.codes, done.residual, done.probability, done.square, bound

    blank = jnp.zeros_like(codes)
    start = (
        codes,
        residual_of(x, codes, atoms.dictionary, tile.observed),
        blank,
        blank,
        jnp.zeros_like(tile.valid),
    )
    codes, _, probability, square, bound = jax.lax.fori_loop(0, n_steps, step, start)
    return Coded(codes, probability, square, bound)


@partial(jax.jit, static_argnums=0)
def recode_tile(slab, x, codes, atoms, precision, hot, tile):
    """Better, sample by sample, of the codes refined and the codes found afresh.

    Parameters
    ----------
    slab : tuple (str, bool)
        Key of `SLABS`.
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
    warm = jnp.full(COOLING_STEPS + SETTLING_SWEEPS, precision)
    cold = jnp.concatenate([cooling(hot, precision), settle])
    starts = jnp.stack([codes, jnp.zeros_like(codes)])
    n_steps = jnp.array([SETTLING_SWEEPS, len(cold)])
    both = jax.lax.map(
        lambda one: _follow(SLABS[slab], x, one[0], atoms, one[1], one[2], tile),
        (starts, jnp.stack([warm, cold]), n_steps),
    )
    colder = both.bound[1] > both.bound[0]
    return jax.tree.map(lambda a: jnp.where(colder, a[1], a[0]), both)


def recode(slab, x, valid, observed, codes, state, hot, excluded=None):
    """`recode_tile` on all tiles, one after the other: compiled once for however many there are.

    Parameters
    ----------
    slab : tuple (str, bool)
    x, observed : array, shape (tiles, P, n)
        ``observed`` may be None.
    valid : array, shape (tiles, n)
    codes : array, shape (tiles, K, n)
    state : State
        Its atoms and noise precision are used, its codes are not.
    hot : scalar
    excluded : array of int, shape (tiles, n), optional
        Atom that a sample must not use.

    Returns
    -------
    Coded
        With a leading axis of tiles.
    """
    if excluded is None:
        excluded = jnp.full(valid.shape, -1)
    coded = [
        recode_tile(
            slab,
            x[t],
            codes[t],
            state.atoms,
            state.precision,
            hot,
            Tile(valid[t], None if observed is None else observed[t], excluded[t]),
        )
        for t in range(len(x))
    ]
    return jax.tree.map(lambda *tiles: jnp.stack(tiles), *coded)


def recode_all(slab, problem, state):
    """`recode` of all samples of a problem from the codes they have."""
    return recode(slab, problem.x, problem.valid, problem.observed, state.codes, state, problem.hot)
