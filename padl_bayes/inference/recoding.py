"""Codes of samples given everything global: from where they stand, and afresh.

Given the dictionary, samples are independent, so each may keep the better of two codes without regard to the others:
the one it has, refined, and those found from nothing while the noise is cooled down, the atoms visited in an order and
in its reverse. This undoes codes that use one atom in place of two, and answers what a sample would lose without an
atom. Which atom comes first decides which local optimum is found: another order each time finds them all in the end.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..kernels import sweep_tile, sweep_tiles
from ..kernels.code_sweep import Tile, residual_of
from ..kernels.slabs import SLABS

COOLING_STEPS = 12
SETTLING_SWEEPS = 3
TRANSFORM_SWEEPS = 30


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


def code_afresh(slab, x, valid, atoms, precision, hot, settle):
    """Codes found from nothing while the noise is cooled down: the pass of a mini-batch.

    Parameters
    ----------
    slab : tuple (str, bool)
    x : array, shape (tiles, P, n)
    valid : array, shape (tiles, n)
    atoms : Atoms
    precision, hot : scalar
    settle : int
        Sweeps at the noise precision itself.

    Returns
    -------
    Sweep
        The last one, with a leading axis of tiles; nothing is kept of single entries but their codes.
    """
    ladder = jnp.concatenate([cooling(hot, precision), jnp.full(settle - 1, precision)])
    tile = Tile(valid)

    def step(carry, precision):
        residual, codes = carry
        done = sweep_tiles(SLABS[slab], residual, codes, atoms, precision, tile, entries=False)
        return (done.residual, done.codes), None

    blank = jnp.zeros((len(x), atoms.rate.shape[0], x.shape[2]), x.dtype)
    (residual, codes), _ = jax.lax.scan(step, (x, blank), ladder)
    return sweep_tiles(SLABS[slab], residual, codes, atoms, precision, tile, entries=False)


def _reordered(slab, x, codes, atoms, ladder, n_steps, tile, order):
    """`_follow` with the atoms visited in ``order``."""
    place = jnp.argsort(order)
    excluded = jnp.where(tile.excluded < 0, -1, place[tile.excluded])
    atoms = jax.tree.map(lambda a: a[order], atoms)
    coded = _follow(slab, x, codes[order], atoms, ladder, n_steps, tile._replace(excluded=excluded))
    return Coded(coded.codes[place], coded.probability[place], coded.square[place], coded.bound)


@partial(jax.jit, static_argnums=0, static_argnames="settle")
def recode_tile(slab, x, codes, atoms, precision, hot, tile, order, settle=SETTLING_SWEEPS):
    """Best, sample by sample, of the codes refined and the two codes found afresh.

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
    order : array of int, shape (K,)
        Permutation of the atoms, visited so and in reverse.
    settle : int
        Sweeps at the noise precision itself. Atoms that are much alike need more of them.

    Returns
    -------
    Coded
    """
    warm = jnp.full(COOLING_STEPS + settle, precision)
    cold = jnp.concatenate([cooling(hot, precision), warm[:settle]])
    blank = jnp.zeros_like(codes)
    starts = jnp.stack([codes, blank, blank])
    n_steps = jnp.array([settle, len(cold), len(cold)])
    orders = jnp.stack([jnp.arange(len(order)), order, order[::-1]])
    tried = jax.lax.map(
        lambda one: _reordered(SLABS[slab], x, one[0], atoms, one[1], one[2], tile, one[3]),
        (starts, jnp.stack([warm, cold, cold]), n_steps, orders),
    )
    best = jnp.argmax(tried.bound, axis=0)
    return jax.tree.map(
        lambda a: jnp.take_along_axis(a, jnp.expand_dims(best, range(a.ndim - 1)), 0)[0], tried
    )


def recode(slab, x, valid, observed, codes, state, hot, excluded=None, order=None, settle=SETTLING_SWEEPS):
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
    order : array of int, shape (K,), optional
        Permutation of the atoms; they are visited so and in reverse.
    settle : int
        As in `recode_tile`.

    Returns
    -------
    Coded
        With a leading axis of tiles.
    """
    if excluded is None:
        excluded = jnp.full(valid.shape, -1)
    order = jnp.arange(codes.shape[1]) if order is None else jnp.asarray(order)
    coded = [
        recode_tile(
            slab,
            x[t],
            codes[t],
            state.atoms,
            state.precision,
            hot,
            Tile(valid[t], None if observed is None else observed[t], excluded[t]),
            order,
            settle=settle,
        )
        for t in range(len(x))
    ]
    return jax.tree.map(lambda *tiles: jnp.stack(tiles), *coded)


def recode_all(slab, problem, state, order=None, settle=SETTLING_SWEEPS):
    """`recode` of all samples of a problem from the codes they have."""
    data = (problem.x, problem.valid, problem.observed)
    return recode(slab, *data, state.codes, state, problem.hot, order=order, settle=settle)
