"""One pass of coordinate ascent over the codes: every sample through every atom, samples in independent tiles.

Arrays sized by samples are tiled, ``(tiles, features or atoms, samples in a tile)``, so that one tile's residual stays
in cache while all atoms go over it, and so that tiles can go to other devices without meeting.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .slabs import draw_entry, entry_moments

BLOCK = 8


class Atoms(NamedTuple):
    """Everything global that a sweep reads; all arrays have the atom as first axis.

    Attributes
    ----------
    dictionary : array, shape (K, P)
        Unit-norm rows.
    usage_logit, rate : array, shape (K,)
        Prior log odds that a sample uses the atom, and the slab's rate.
    active : array, shape (K,)
        1.0 for atoms in use, 0.0 for switched-off ones.
    """

    dictionary: jax.Array
    usage_logit: jax.Array
    rate: jax.Array
    active: jax.Array


class Tile(NamedTuple):
    """One tile of samples.

    Attributes
    ----------
    valid : array, shape (n,)
        1.0 for samples, 0.0 for padding.
    observed : array, shape (P, n), or None
        1.0 where an entry was observed; None if all were.
    excluded : array of int, shape (n,), or None
        Index of an atom that the sample must not use, -1 for none.
    uniforms : array, shape (K, 3, n), or None
        Standard uniform numbers: with them codes are drawn, without them they are posterior means.
    """

    valid: jax.Array
    observed: jax.Array | None = None
    excluded: jax.Array | None = None
    uniforms: jax.Array | None = None


class AtomSums(NamedTuple):
    """Sums over samples, each (K,).

    P(used); the statistic of the slab's rate; E r^2 and Var r, both weighted by the observed share of the atom's
    energy; the log evidence of the entries.
    """

    used: jax.Array
    size: jax.Array
    square: jax.Array
    variance: jax.Array
    log_evidence: jax.Array


class Sweep(NamedTuple):
    """What a sweep leaves behind.

    Attributes
    ----------
    residual : array, shape (P, n)
    codes, probability, square, log_evidence : array, shape (K, n)
        E r or a draw of r, P(used), E r^2 and the log evidence of each entry when it was updated; the last three may
        be None, see `padl_bayes.kernels.sweep_tiles`.
    sums : AtomSums
    bound : array, shape (n,)
        A sample's share of the evidence lower bound, but for its squared residual and the constant of the Gaussian.
    """

    residual: jax.Array
    codes: jax.Array
    probability: Any
    square: Any
    log_evidence: Any
    sums: AtomSums
    bound: jax.Array


def _update_entry_row(slab, precision, tile, atom, index, old, row, weight):
    """Posterior of one atom's entries over a tile, its sums and its share of the bound."""
    likelihood = (precision * (row + weight * old), precision * weight)
    q = entry_moments(slab, *likelihood, atom.usage_logit, atom.rate)
    on = tile.valid * atom.active
    if tile.excluded is not None:
        on = on * (tile.excluded != index)
    mean, square, probability, log_evidence = (
        on * q.mean,
        on * q.square,
        on * q.probability,
        on * q.log_evidence,
    )
    variance = weight * jnp.maximum(square - mean * mean, 0)
    bound = -on * q.divergence - 0.5 * precision * variance
    sums = AtomSums(*map(jnp.sum, (probability, on * q.size, weight * square, variance, log_evidence)))
    codes = mean
    if tile.uniforms is not None:
        codes = on * draw_entry(slab, *likelihood, atom.usage_logit, atom.rate, tile.uniforms[index])
    return bound, sums, (codes, probability, square, log_evidence)


def _update_block(slab, precision, tile, carry, block):
    """Update a block of atoms in turn; the residual is corrected through the block's Gram matrix, then once."""
    residual, bound = carry
    index, atoms, codes = block
    correlation = atoms.dictionary @ residual
    gram = atoms.dictionary @ atoms.dictionary.T

    def update(inner, one):
        change, bound = inner
        position, index, gram, atom, old, row = one
        row = row - gram @ change
        share, sums, outputs = _update_entry_row(
            slab, precision, tile, atom, index, old, row, jnp.ones_like(row)
        )
        return (change.at[position].set(outputs[0] - old), bound + share), (sums, outputs)

    inputs = (jnp.arange(codes.shape[0]), index, gram, atoms, codes, correlation)
    (change, bound), outputs = jax.lax.scan(update, (jnp.zeros_like(codes), bound), inputs)
    return (residual - atoms.dictionary.T @ change, bound), outputs


def _update_masked_atom(slab, precision, tile, carry, one):
    """Update one atom where entries are missing: its energy differs from sample to sample."""
    residual, bound = carry
    index, atom, old = one
    # A sample may see nothing of an atom: then the posterior is the prior, not a division by zero.
    weight = jnp.maximum(atom.dictionary**2 @ tile.observed, jnp.finfo(old.dtype).eps)
    row = atom.dictionary @ residual
    share, sums, outputs = _update_entry_row(slab, precision, tile, atom, index, old, row, weight)
    residual = residual - tile.observed * jnp.outer(atom.dictionary, outputs[0] - old)
    return (residual, bound + share), (sums, outputs)


def sweep_tile(slab, residual, codes, atoms, precision, tile):
    """Update every code of one tile once, in the order of the atoms.

    Parameters
    ----------
    slab : Slab
        One of `padl_bayes.kernels.slabs.SLABS`.
    residual : array, shape (P, n)
        ``X.T - dictionary.T @ codes``, zero where unobserved.
    codes : array, shape (K, n)
        Posterior means; K must be a multiple of `BLOCK`.
    atoms : Atoms
    precision : scalar
        Noise precision.
    tile : Tile

    Returns
    -------
    Sweep
    """
    n_atoms, n = codes.shape
    index = jnp.arange(n_atoms)
    carry = (residual, jnp.zeros(n, residual.dtype))
    if tile.observed is None:
        inputs = jax.tree.map(
            lambda a: a.reshape(n_atoms // BLOCK, BLOCK, *a.shape[1:]), (index, atoms, codes)
        )
        (residual, bound), outputs = jax.lax.scan(
            partial(_update_block, slab, precision, tile), carry, inputs
        )
        outputs = jax.tree.map(lambda a: a.reshape(n_atoms, *a.shape[2:]), outputs)
    else:
        (residual, bound), outputs = jax.lax.scan(
            partial(_update_masked_atom, slab, precision, tile), carry, (index, atoms, codes)
        )
    sums, (codes, probability, square, log_evidence) = outputs
    return Sweep(residual, codes, probability, square, log_evidence, sums, bound)


def residual_of(x, codes, dictionary, observed=None):
    """``x - dictionary.T @ codes`` of one tile, zero where unobserved."""
    residual = x - dictionary.T @ codes
    return residual if observed is None else observed * residual
