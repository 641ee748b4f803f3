"""A lower bound on PADL's objective from any residual: `padl_bayes.objective` states the dual problem."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from padl_bayes.kernels.reference import row_sums, shrink
from padl_bayes.kernels.row_sweep import BLOCK, matmul, put_block, take_block, update_block


class DualBound(NamedTuple):
    """What `dual_bound` makes of a residual F."""

    bound: jax.Array
    """()"""
    levels: jax.Array
    """(W,) ``sum_n (|<f_n, d_k>| - alpha1)_+`` of F itself; feasible where at most ``alpha2``."""
    distance: jax.Array
    """() between F and the feasible multiple that has the bound."""


def feasibility_sweep(rows, F, *, nonnegative):
    """Project ``F`` on one dual constraint after the other.

    What the prox takes out of ``F d_k`` is what violates atom k's constraint, so a row update from zero codes
    is the exact projection. The result is nearly feasible, and much closer to F than F scaled until it fits.
    """
    shape = (BLOCK, F.shape[1])

    def project(block, F):
        zeros = jnp.zeros(shape, F.dtype)
        return update_block(rows, block, zeros, zeros[:, 0], F, nonnegative=nonnegative)[2]

    return lax.fori_loop(0, rows.n_blocks, project, F)


def dual_bound(X, F, rows, *, nonnegative, lasso):
    """Best lower bound among the feasible multiples of ``F``, and how far F itself is from feasible.

    Parameters
    ----------
    X, F : Array, shape (P, N)
    rows : Rows
    nonnegative : bool
    lasso : bool
        Whether ``alpha2`` is zero: every sample then has a problem, and a multiple, of its own.

    Returns
    -------
    DualBound
    """
    axis = 0 if lasso else None
    inner, energy = jnp.sum(X * F, axis=axis), jnp.sum(F * F, axis=axis)
    scale = jnp.where(energy > 0, jnp.maximum(inner, 0) / jnp.where(energy > 0, energy, 1), 0)
    shrink_scale = _lasso_scale if lasso else _feasible_scale

    def restrict(block, state):
        scale, levels = state
        size = matmul(take_block(rows.atoms, block), F)
        size = jnp.maximum(size, 0) if nonnegative else jnp.abs(size)
        levels = put_block(levels, row_sums(shrink(size, rows.alpha1)), block)
        return shrink_scale(size, scale, rows.alpha1, rows.alpha2), levels

    state = (scale, jnp.zeros(rows.atoms.shape[0], F.dtype))
    scale, levels = lax.fori_loop(0, rows.n_blocks, restrict, state)
    distance = jnp.sqrt(jnp.sum((1 - scale) ** 2 * energy))
    return DualBound(jnp.sum(scale * inner - 0.5 * scale**2 * energy), levels, distance)


def _lasso_scale(size, scale, alpha1, alpha2):
    largest = jnp.max(size, axis=0)
    return jnp.minimum(scale, jnp.where(largest > 0, alpha1 / jnp.where(largest > 0, largest, 1), jnp.inf))


def _feasible_scale(size, scale, alpha1, alpha2):
    """Largest multiple up to ``scale`` for which all rows of ``size`` are feasible.

    The largest level is convex and increasing in the multiple: Newton from the right is monotone and finite.
    """
    tolerance = alpha2 * 64 * jnp.finfo(size.dtype).eps

    def worst(scale):
        levels = row_sums(shrink(scale * size, alpha1))
        row = jnp.argmax(levels)
        return levels[row], row

    def step(state):
        scale, level, row, count = state
        slope = jnp.sum(jnp.where(scale * size[row] > alpha1, size[row], 0))
        scale = scale - (level - alpha2) / jnp.where(slope > 0, slope, jnp.inf)
        return scale, *worst(scale), count + 1

    state = (scale, *worst(scale), 0)
    state = lax.while_loop(lambda s: (s[1] > alpha2 + tolerance) & (s[3] < 100), step, state)
    scale, level = state[:2]
    # The level is convex and zero at zero, so this last factor makes up for rounding and for the cap.
    return scale * jnp.where(level > alpha2, alpha2 / jnp.where(level > 0, level, 1), 1)
