"""One cyclic pass of exact row updates: for each atom in turn, its codes over all samples at once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from padl_bayes.kernels.reference import clip_rows, row_sums, shrink

BLOCK = 16


class Rows(NamedTuple):
    """Atoms to sweep over, padded with zero rows to a multiple of `BLOCK`, and the two weights."""

    atoms: jax.Array
    """(W, P)"""
    n_rows: jax.Array
    """() how many rows hold atoms; blocks beyond them cost nothing."""
    alpha1: jax.Array
    alpha2: jax.Array

    @property
    def n_blocks(self):
        """() how many blocks hold atoms."""
        return (self.n_rows + BLOCK - 1) // BLOCK


def pad_rows(dictionary, alpha1, alpha2):
    """`Rows` that hold all atoms of a dictionary."""
    n_rows, dtype = dictionary.shape[0], dictionary.dtype
    atoms = jnp.pad(dictionary, ((0, -n_rows % BLOCK), (0, 0)))
    return Rows(atoms, jnp.asarray(n_rows), jnp.asarray(alpha1, dtype), jnp.asarray(alpha2, dtype))


def matmul(a, b):
    """Matrix product without the reduced precision that is a GPU's default."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def penalty(codes, alpha1, alpha2):
    """``alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf`` of codes with one atom a row, shape (K, N)."""
    size = jnp.abs(codes)
    return alpha1 * jnp.sum(size) + alpha2 * jnp.sum(jnp.max(size, axis=1))


def take_block(array, block):
    """Rows of one block."""
    return lax.dynamic_slice_in_dim(array, block * BLOCK, BLOCK)


def put_block(array, values, block):
    """``array`` with the rows of one block replaced."""
    return lax.dynamic_update_slice_in_dim(array, values, block * BLOCK, 0)


def update_block(rows, block, codes, thresholds, residual, *, nonnegative):
    """Minimise over each row of a block in turn; exact for unit-norm atoms, a step downhill for any nearly so.

    The correlations with the residual are computed once for the block; what the earlier rows of the block
    changed is taken off through their Gram matrix. All work but O(BLOCK N) per row is a matrix product then.

    Parameters
    ----------
    rows : Rows
    block : int
    codes : Array, shape (BLOCK, N)
    thresholds : Array, shape (BLOCK,)
        Clip levels of the last update, where the prox starts its search.
    residual : Array, shape (P, N)
        Data minus reconstruction, features first.

    Returns
    -------
    codes, thresholds, residual
    """
    atoms = take_block(rows.atoms, block)
    targets = matmul(atoms, residual) + codes
    gram = matmul(atoms, atoms.T)

    def update_row(j, state):
        change, thresholds = state
        v = targets[j] - matmul(gram[j], change)
        u = shrink(v, rows.alpha1, nonnegative=nonnegative)
        total = row_sums(u)
        row, level = lax.cond(
            total <= rows.alpha2,
            lambda: (jnp.zeros_like(v), jnp.zeros_like(total)),
            lambda: clip_rows(v, u, total, rows.alpha2, thresholds[j]),
        )
        return change.at[j].set(row - codes[j]), thresholds.at[j].set(level)

    change, thresholds = lax.fori_loop(0, BLOCK, update_row, (jnp.zeros_like(codes), thresholds))
    return codes + change, thresholds, residual - matmul(atoms.T, change)


class Iterate(NamedTuple):
    """Codes of the working set and what goes with them."""

    history: jax.Array
    """(2, W, N) codes now and one sweep earlier: one array, so that XLA updates both in place."""
    residual: jax.Array
    """(P, N) of the codes now."""
    previous_residual: jax.Array
    """(P, N) of the codes one sweep earlier."""
    thresholds: jax.Array
    """(W,)"""


def sweep(rows, iterate, momentum, *, nonnegative):
    """One pass over all rows from ``codes + momentum (codes - previous)``.

    A momentum of -1 starts from the previous codes: it undoes the last sweep.

    Returns
    -------
    iterate : Iterate
    objective : Array, shape ()
        ``1/2 ||X - R D||_F^2 + alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf`` of the new codes.
    """

    def update(block, state):
        history, residual, thresholds, penalty = state
        old, older = lax.dynamic_slice_in_dim(history, block * BLOCK, BLOCK, axis=1)
        start = old + momentum * (old - older)
        new, levels, residual = update_block(
            rows, block, start, take_block(thresholds, block), residual, nonnegative=nonnegative
        )
        penalty += rows.alpha1 * jnp.sum(row_sums(jnp.abs(new)))
        penalty += rows.alpha2 * jnp.sum(jnp.where(jnp.isinf(levels), 0, levels))
        history = lax.dynamic_update_slice_in_dim(history, jnp.stack([new, old]), block * BLOCK, axis=1)
        return history, residual, put_block(thresholds, levels, block), penalty

    start = iterate.residual + momentum * (iterate.residual - iterate.previous_residual)
    state = (iterate.history, start, iterate.thresholds, jnp.zeros((), start.dtype))
    history, residual, thresholds, penalty = lax.fori_loop(0, rows.n_blocks, update, state)
    objective = 0.5 * jnp.sum(residual**2) + penalty
    return Iterate(history, residual, iterate.residual, thresholds), objective
