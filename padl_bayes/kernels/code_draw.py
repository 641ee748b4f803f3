"""One pass of Gibbs draws over the codes: each from its exact conditional given all others.

Randomness is counter-based (threefry) and belongs to sample and atom: what is drawn does not depend on how samples are
tiled or which device has them.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .atom_pass import through_atoms
from .code_sweep import switched_on
from .slabs import draw_entry
from .uniforms import uniform_open

IMPLEMENTATION = "threefry2x32"


class DrawnSums(NamedTuple):
    """Sums over samples, each (K,): how many use the atom, the statistic of the slab's rate, r^2.

    The last is weighted by the observed share of the atom's energy.
    """

    used: jax.Array
    size: jax.Array
    square: jax.Array


class Draws(NamedTuple):
    """What a pass of draws leaves behind.

    Attributes
    ----------
    residual : array, shape (P, n)
    codes : array, shape (K, n)
    sums : DrawnSums
    """

    residual: jax.Array
    codes: jax.Array
    sums: DrawnSums


def keys_of_samples(key, tiles, n):
    """A key for each sample: words (tiles, 2, n), of ``fold_in(key', i)`` with key' from ``key`` and i the sample."""
    words = jax.random.bits(key, (2,), jnp.uint32)
    key = jax.random.wrap_key_data(words, impl=IMPLEMENTATION)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(tiles * n))
    return jnp.swapaxes(jax.random.key_data(keys).reshape(tiles, n, 2), 1, 2)


def uniforms_of(keys, n_atoms, dtype):
    """The numbers (K, 3, n) that samples with these key words (2, n) are drawn with."""
    keys = jax.random.wrap_key_data(keys.T, impl=IMPLEMENTATION)
    return jnp.moveaxis(jax.vmap(lambda key: uniform_open(key, (n_atoms, 3), dtype))(keys), 0, 2)


def _draw(slab, precision, tile, kept, index, own, old, row, weight):
    *atom, uniforms = own
    _, usage_logit, rate, active = atom
    linear, total = precision * (row + weight * old), precision * weight
    drawn = draw_entry(slab, linear, total, usage_logit, rate, uniforms)
    codes = jnp.where(switched_on(tile, index, active) > 0, drawn, 0)
    # Not drawn is zero, and no draw is.
    used = (codes != 0).astype(codes.dtype)
    sums = DrawnSums(*map(jnp.sum, (used, used * slab.size(codes), weight * codes**2)))
    return kept, codes, sums


def draw_tile(slab, residual, codes, atoms, precision, tile):
    """Draw every code of one tile once, in the order of the atoms.

    Parameters
    ----------
    slab : Slab
    residual : array, shape (P, n)
        ``X.T - dictionary.T @ codes``, zero where unobserved.
    codes : array, shape (K, n)
        The codes before; K must be a multiple of `padl_bayes.kernels.atom_pass.BLOCK`.
    atoms : Atoms
    precision : scalar
    tile : Tile
        With keys.

    Returns
    -------
    Draws
    """
    own = (*atoms, uniforms_of(tile.keys, len(codes), residual.dtype))
    rule = partial(_draw, slab, precision, tile)
    residual, _, codes, sums = through_atoms(rule, (), residual, codes, own, tile.observed)
    return Draws(residual, codes, sums)
