"""One pass of samples, in independent tiles, through all atoms: what every rule for a code has in common.

Arrays sized by samples are tiled, ``(tiles, features or atoms, samples in a tile)``, so that one tile's residual stays
in cache while all atoms go over it, and so that tiles can go to other devices without meeting.
"""

from functools import partial

import jax
import jax.numpy as jnp

BLOCK = 8


def _update_block(rule, carry, block):
    """Update a block of atoms in turn; the residual is corrected through the block's Gram matrix, then once."""
    residual, kept = carry
    index, own, codes = block
    dictionary = own[0]
    correlation = dictionary @ residual
    gram = dictionary @ dictionary.T

    def update(inner, one):
        change, kept = inner
        position, index, gram, own, old, row = one
        row = row - gram @ change
        kept, new, outputs = rule(kept, index, own, old, row, jnp.ones_like(row))
        return (change.at[position].set(new - old), kept), (new, outputs)

    inputs = (jnp.arange(codes.shape[0]), index, gram, own, codes, correlation)
    (change, kept), outputs = jax.lax.scan(update, (jnp.zeros_like(codes), kept), inputs)
    return (residual - dictionary.T @ change, kept), outputs


def _update_masked_atom(rule, observed, carry, one):
    """Update one atom where entries are missing: its energy differs from sample to sample."""
    residual, kept = carry
    index, own, old = one
    # A sample may see nothing of an atom: then the posterior is the prior, not a division by zero.
    weight = jnp.maximum(own[0] ** 2 @ observed, jnp.finfo(old.dtype).eps)
    row = own[0] @ residual
    kept, new, outputs = rule(kept, index, own, old, row, weight)
    residual = residual - observed * jnp.outer(own[0], new - old)
    return (residual, kept), (new, outputs)


def through_atoms(rule, kept, residual, codes, own, observed=None):
    """Update every code of one tile once, in the order of the atoms.

    Parameters
    ----------
    rule : callable
        ``(kept, index, own, old, row, weight) -> (kept, new, outputs)`` for the codes (n,) of one atom: in the code r
        the squared error is ``weight r^2 - 2 (row + weight * old) r`` and a constant.
    kept : pytree
        What goes from atom to atom.
    residual : array, shape (P, n)
        ``x - dictionary.T @ codes``, zero where unobserved.
    codes : array, shape (K, n)
        K must be a multiple of `BLOCK` unless entries are missing.
    own : tuple of arrays (K, ...)
        What belongs to each atom, first the dictionary (K, P) of unit-norm rows.
    observed : array, shape (P, n), or None

    Returns
    -------
    residual, kept, codes, outputs
        The outputs of all atoms stacked.
    """
    n_atoms = len(codes)
    everything = (jnp.arange(n_atoms), own, codes)
    if observed is None:
        inputs = jax.tree.map(lambda a: a.reshape(n_atoms // BLOCK, BLOCK, *a.shape[1:]), everything)
        (residual, kept), outputs = jax.lax.scan(partial(_update_block, rule), (residual, kept), inputs)
        outputs = jax.tree.map(lambda a: a.reshape(n_atoms, *a.shape[2:]), outputs)
    else:
        step = partial(_update_masked_atom, rule, observed)
        (residual, kept), outputs = jax.lax.scan(step, (residual, kept), everything)
    return residual, kept, *outputs
