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
import numpy as np

from .._devices import mesh_of, over_samples
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


def sparse_codes(coded):
    """``E[r | used]`` where P(used) is at least 1/2 and zero elsewhere, of an `EmFit` or of `Coded` (NumPy arrays)."""
    used = coded.probability >= 0.5
    return np.where(used, coded.codes / np.where(used, coded.probability, 1), 0)


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


def code_afresh(slab, x, valid, atoms, precision, hot, settle, mesh=None):
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
    mesh : Mesh, optional
        That the tiles are spread over.

    Returns
    -------
    Sweep
        The last one, with a leading axis of tiles; nothing is kept of single entries but their codes.
    """

    def run(split, whole):
        (x, valid), (atoms, precision, hot) = split, whole
        ladder = jnp.concatenate([cooling(hot, precision), jnp.full(settle - 1, precision)])

        def sweep(residual, codes, precision):
            tile = Tile(valid)
            return sweep_tiles(SLABS[slab], residual, codes, atoms, precision, tile, entries=False)

        def step(carry, precision):
            done = sweep(carry[0], carry[1], precision)
            return (done.residual, done.codes), None

        blank = jnp.zeros((len(x), atoms.rate.shape[0], x.shape[2]), x.dtype)
        (residual, codes), _ = jax.lax.scan(step, (x, blank), ladder)
        return sweep(residual, codes, precision)

    return over_samples(mesh, run)((x, valid), (atoms, precision, hot))


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


@partial(jax.jit, static_argnums=0)
def _each_nth(n, split, t):
    """The ``t``-th tile of each of ``n`` devices (n, ...)."""
    return jax.tree.map(lambda a: a.reshape(n, -1, *a.shape[1:])[:, t], split)


@partial(jax.jit, static_argnums=(0, 1), static_argnames="settle")
def _recode_each(slab, mesh, split, whole, settle):
    """`recode_tile` of one tile on each device."""

    def one(split, whole):
        x, codes, tile = jax.tree.map(lambda a: a[0], split)
        atoms, precision, hot, order = whole
        coded = recode_tile(slab, x, codes, atoms, precision, hot, tile, order, settle=settle)
        return jax.tree.map(lambda a: a[None], coded)

    return over_samples(mesh, one)(split, whole)


def recode(slab, x, valid, observed, codes, state, hot, excluded=None, order=None, settle=SETTLING_SWEEPS):
    """`recode_tile` on all tiles of a device, one after the other: compiled once for however many there are.

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
    split, whole = (x, codes, Tile(valid, observed, excluded)), (state.atoms, state.precision, hot, order)
    mesh = mesh_of(x)
    n_devices = 1 if mesh is None else mesh.size
    coded = [
        _recode_each(slab, mesh, _each_nth(n_devices, split, t), whole, settle=settle)
        for t in range(len(x) // n_devices)
    ]
    return jax.tree.map(lambda *tiles: jnp.stack(tiles, axis=1).reshape(len(x), *tiles[0].shape[1:]), *coded)


def recode_all(slab, problem, state, order=None, settle=SETTLING_SWEEPS):
    """`recode` of all samples of a problem from the codes they have."""
    data = (problem.x, problem.valid, problem.observed)
    return recode(slab, *data, state.codes, state, problem.hot, order=order, settle=settle)
