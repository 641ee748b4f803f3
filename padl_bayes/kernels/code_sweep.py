"""One pass of coordinate ascent over the codes: posterior means under a spike and slab, and what a bound needs."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .atom_pass import through_atoms
from .slabs import entry_moments


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
    keys : array of uint32, shape (2, n), or None
        Each sample's random key, see `padl_bayes.kernels.code_draw`.
    """

    valid: jax.Array
    observed: jax.Array | None = None
    excluded: jax.Array | None = None
    keys: jax.Array | None = None


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
        E r, P(used), E r^2 and the log evidence of each entry when it was updated; the last three may
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


def switched_on(tile, index, active):
    """1.0 for the samples (n,) that may use the atom."""
    on = tile.valid * active
    return on if tile.excluded is None else on * (tile.excluded != index)


def _posterior_means(slab, precision, tile, bound, index, atom, old, row, weight):
    """Posterior of one atom's entries over a tile, its sums and its share of the bound."""
    q = entry_moments(slab, precision * (row + weight * old), precision * weight, atom.usage_logit, atom.rate)
    on = switched_on(tile, index, atom.active)
    mean, square, probability, log_evidence = (
        on * q.mean,
        on * q.square,
        on * q.probability,
        on * q.log_evidence,
    )
    variance = weight * jnp.maximum(square - mean * mean, 0)
    bound = bound - on * q.divergence - 0.5 * precision * variance
    sums = AtomSums(*map(jnp.sum, (probability, on * q.size, weight * square, variance, log_evidence)))
    return bound, mean, (sums, (probability, square, log_evidence))


def sweep_tile(slab, residual, codes, atoms, precision, tile):
    """Update every code of one tile once, in the order of the atoms.

    Parameters
    ----------
    slab : Slab
        One of `padl_bayes.kernels.slabs.SLABS`.
    residual : array, shape (P, n)
        ``X.T - dictionary.T @ codes``, zero where unobserved.
    codes : array, shape (K, n)
        Posterior means; K must be a multiple of `padl_bayes.kernels.atom_pass.BLOCK`.
    atoms : Atoms
    precision : scalar
        Noise precision.
    tile : Tile

    Returns
    -------
    Sweep
    """
    rule = partial(_posterior_means, slab, precision, tile)
    bound = jnp.zeros(codes.shape[1], residual.dtype)
    residual, bound, codes, outputs = through_atoms(rule, bound, residual, codes, atoms, tile.observed)
    sums, (probability, square, log_evidence) = outputs
    return Sweep(residual, codes, probability, square, log_evidence, sums, bound)


def residual_of(x, codes, dictionary, observed=None):
    """``x - dictionary.T @ codes`` of one tile, zero where unobserved."""
    residual = x - dictionary.T @ codes
    return residual if observed is None else observed * residual
