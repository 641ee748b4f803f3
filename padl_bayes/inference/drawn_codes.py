"""Codes of samples by draws from their posterior given everything global: means without mean field's bias.

Where many atoms are used at once, mean field settles on one of several explanations of a sample and takes its codes to
be independent. Draws from the exact conditionals go over from one to another, and their covariances are the true ones.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._devices import over_samples
from .._precision import precision_of
from ..kernels import draw_tiles
from ..kernels.code_draw import keys_of_samples
from ..kernels.code_sweep import Tile
from ..kernels.slabs import SLABS
from .recoding import cooling
from .variational import atoms_of, make_problem, untile_rows

SETTLING_SWEEPS = 5
SWEEPS = 20


class Moments(NamedTuple):
    """Posterior moments, but for Monte Carlo error."""

    mean: np.ndarray
    """(N, M) of the outputs."""
    variance: np.ndarray
    """(N, M) of the outputs."""
    probability: np.ndarray
    """(N, K) that a sample uses an atom."""


def draw_codes(slab, problem, atoms, precision, codes, residual, key, mesh=None):
    """One sweep of draws of all samples' codes, each from its exact conditional.

    Parameters
    ----------
    slab : tuple
        Name, and whether codes are nonnegative.
    problem : Problem
    atoms : Atoms
    precision : Array, shape ()
    codes, residual : Array, shapes (tiles, K, n) and (tiles, P, n)
        What the sweep starts from.
    key : Array
        What one sample is drawn with does not depend on how many there are.
    mesh : Mesh, optional
        What the samples are spread over.

    Returns
    -------
    Draws
        With the sums of each tile.
    """

    def each(split, whole):
        residual, codes, valid, observed, keys = split
        atoms, precision = whole
        return draw_tiles(SLABS[slab], residual, codes, atoms, precision, Tile(valid, observed, keys=keys))

    keys = keys_of_samples(key, len(problem.x), problem.x.shape[2])
    split = residual, codes, problem.valid, problem.observed, keys
    return over_samples(mesh, each)(split, (atoms, precision))


@partial(jax.jit, static_argnums=(0, 1))
def _run(slab, n_sweeps, problem, atoms, outputs, precision, key):
    """Sums over ``n_sweeps`` of the outputs (tiles, M, n), their squares, and uses (tiles, K, n)."""
    n_tiles, _, n = problem.x.shape
    dtype = problem.x.dtype

    def sweep(codes, residual, precision, key):
        done = draw_codes(slab, problem, atoms, precision, codes, residual, key)
        return done.codes, done.residual

    def settle(carry, given):
        return sweep(*carry, *given), None

    def collect(carry, key):
        (codes, residual), (total, square, used) = carry
        codes, residual = sweep(codes, residual, precision, key)
        out = jnp.einsum("km,tkn->tmn", outputs, codes)
        return ((codes, residual), (total + out, square + out**2, used + (codes != 0))), None

    ladder = jnp.concatenate([cooling(problem.hot, precision), jnp.full(SETTLING_SWEEPS, precision)])
    codes = jnp.zeros((n_tiles, len(atoms.rate), n), dtype)
    first, second = jax.random.split(key)
    start, _ = jax.lax.scan(settle, (codes, problem.x), (ladder, jax.random.split(first, len(ladder))))
    blank = jnp.zeros((n_tiles, outputs.shape[1], n), dtype)
    zero = blank, blank, jnp.zeros(codes.shape, dtype)
    (_, sums), _ = jax.lax.scan(collect, (start, zero), jax.random.split(second, n_sweeps))
    return sums


def moments_by_draws(X, learned, outputs, *, mask=None, n_sweeps=SWEEPS, random_state=0):
    """Moments of linear functions of the codes, ``codes @ outputs``, given everything global.

    Sweeps of draws start from nothing and cool the noise down to its level, so that they do not start in the trough of
    one explanation; those at the level itself are averaged.

    Parameters
    ----------
    X : ndarray, shape (N, P)
        Zero outside ``mask``.
    learned : Learned
        Of a multiple of 8 atoms.
    outputs : ndarray, shape (K, M)
    mask : ndarray of bool, shape (N, P), optional
    n_sweeps : int
        Sweeps to average. What one sample is drawn with does not depend on the others.
    random_state : int

    Returns
    -------
    Moments
    """
    with precision_of(X):
        problem = make_problem(X, mask, slab=learned.slab)
        problem = problem._replace(hot=jnp.asarray(learned.data_scale**-2, X.dtype))
        sums = _run(
            (learned.slab, learned.nonnegative), n_sweeps, problem, atoms_of(learned, X.dtype),
            jnp.asarray(outputs, X.dtype), jnp.asarray(learned.coding_noise_scale**-2, X.dtype),
            jax.random.key(random_state),
        )  # fmt: skip
        mean, square, used = (untile_rows(a, len(X)) / n_sweeps for a in sums)
    return Moments(mean, np.maximum(square - mean**2, 0) * n_sweeps / max(n_sweeps - 1, 1), used)
