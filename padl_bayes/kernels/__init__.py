"""The hot step: `reference` and `code_sweep` are the plain-JAX truth that every fast version must agree with.

What is called from here is the fastest there is for the platform, dtype and rule at hand.
"""

from functools import partial

import jax
import numpy as np

from . import cpu, cuda, dual_bound, handlers, newton, row_sweep
from .box_sweep import BoxSweep, box_tile
from .code_draw import Draws, draw_tile
from .code_sweep import Sweep
from .code_sweep import sweep_tile as _reference


def by_reference(slab, entries, residual, codes, atoms, precision, tile):
    """`sweep_tiles` in plain JAX."""

    def one(inputs):
        residual, codes, tile = inputs
        done = _reference(slab, residual, codes, atoms, precision, tile)
        return done if entries else done._replace(probability=None, square=None, log_evidence=None)

    return jax.lax.map(one, (residual, codes, tile))


def compiled(kernel, dtype):
    """Tag of the library that has a compiled ``kernel`` for arrays of this type, by platform."""
    if np.dtype(dtype) not in handlers.SUFFIX:
        return {}
    tags = {"cpu": (cpu.HANDLERS, cpu.level), "cuda": (cuda.HANDLERS, cuda.tag)}
    found = {platform: tag() for platform, (kernels, tag) in tags.items() if kernel in kernels}
    return {platform: tag for platform, tag in found.items() if tag is not None}


def _fastest(kernel, call, reference, dtype, *arguments):
    """What the compiled kernel says where there is one for the platform, else what the reference says."""
    branches = {platform: partial(call, tag) for platform, tag in compiled(kernel, dtype).items()}
    if not branches:
        return reference(*arguments)
    return jax.lax.platform_dependent(*arguments, default=reference, **branches)


def sweep_tiles(slab, residual, codes, atoms, precision, tile, *, entries=True) -> Sweep:
    """Update every code of all tiles once, in the order of the atoms.

    Parameters
    ----------
    slab : Slab
        One of `padl_bayes.kernels.slabs.SLABS`.
    residual : array, shape (tiles, P, n)
        ``x - dictionary.T @ codes``, zero where unobserved.
    codes : array, shape (tiles, K, n)
        Posterior means; K must be a multiple of `atom_pass.BLOCK`.
    atoms : Atoms
    precision : scalar
        Noise precision.
    tile : Tile
        With a leading axis of tiles.
    entries : bool
        Whether what is known of each entry is returned; if not, it is None.

    Returns
    -------
    Sweep
        With a leading axis of tiles.
    """
    arguments = residual, codes, atoms, precision, tile
    reference = partial(by_reference, slab, entries)
    call = partial(handlers.sweep_tiles, slab=slab, entries=entries)
    return _fastest("code_sweep", call, reference, residual.dtype, *arguments)


def sweep_tile(slab, residual, codes, atoms, precision, tile) -> Sweep:
    """`sweep_tiles` of one tile, without its axis."""
    residual, codes, tile = jax.tree.map(lambda a: a[None], (residual, codes, tile))
    done = sweep_tiles(slab, residual, codes, atoms, precision, tile)
    return jax.tree.map(lambda a: a[0], done)


def draw_by_reference(slab, residual, codes, atoms, precision, tile):
    """`draw_tiles` in plain JAX."""

    def one(inputs):
        residual, codes, tile = inputs
        return draw_tile(slab, residual, codes, atoms, precision, tile)

    return jax.lax.map(one, (residual, codes, tile))


def draw_tiles(slab, residual, codes, atoms, precision, tile) -> Draws:
    """Draw every code of all tiles once from its conditional, in the order of the atoms.

    Parameters
    ----------
    slab : Slab
    residual : array, shape (tiles, P, n)
        ``x - dictionary.T @ codes``, zero where unobserved.
    codes : array, shape (tiles, K, n)
        The codes before; K must be a multiple of `atom_pass.BLOCK`.
    atoms : Atoms
    precision : scalar
        Noise precision.
    tile : Tile
        With a leading axis of tiles, and keys, see `code_draw.keys_of_samples`.

    Returns
    -------
    Draws
        With a leading axis of tiles.
    """
    arguments = residual, codes, atoms, precision, tile
    reference = partial(draw_by_reference, slab)
    # The kernel draws the bits that jax.random draws in this, its usual, mode.
    if not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
        return reference(*arguments)
    call = partial(handlers.draw_tiles, slab=slab)
    return _fastest("code_draw", call, reference, residual.dtype, *arguments)


def box_by_reference(residual, codes, dictionary, envelope, alpha1, observed=None, *, nonnegative):
    """`box_tiles` in plain JAX."""

    def one(inputs):
        residual, codes, observed = inputs
        return box_tile(residual, codes, dictionary, envelope, alpha1, observed, nonnegative=nonnegative)

    return jax.lax.map(one, (residual, codes, observed))


def box_tiles(residual, codes, dictionary, envelope, alpha1, observed=None, *, nonnegative) -> BoxSweep:
    """`padl_bayes.kernels.box_sweep.box_tile` of all tiles; all arrays by samples have a leading axis of tiles."""
    reference = partial(box_by_reference, nonnegative=nonnegative)
    call = partial(handlers.box_tiles, nonnegative=nonnegative)
    arguments = residual, codes, dictionary, envelope, alpha1, observed
    return _fastest("box_sweep", call, reference, residual.dtype, *arguments)


def sweep_rows(rows, iterate, momentum, *, nonnegative):
    """`padl_bayes.kernels.row_sweep.sweep`: one pass of exact updates over all rows of codes."""
    reference = partial(row_sweep.sweep, nonnegative=nonnegative)
    call = partial(handlers.sweep_rows, nonnegative=nonnegative)
    return _fastest("row_sweep", call, reference, iterate.residual.dtype, rows, iterate, momentum)


def feasibility_sweep(rows, F, *, nonnegative):
    """`padl_bayes.kernels.dual_bound.feasibility_sweep`: ``F`` projected on one dual constraint after the other."""
    reference = partial(dual_bound.feasibility_sweep, nonnegative=nonnegative)
    call = partial(handlers.feasibility_sweep, nonnegative=nonnegative)
    return _fastest("row_sweep", call, reference, F.dtype, rows, F)


def newton_step(rows, correlations, codes):
    """`padl_bayes.kernels.newton.newton_step`: change of the codes to the minimum over their face.

    None, zeros, where a direct solution would cost more than the sweeps that it saves.
    """
    step = handlers.newton_step
    return _fastest("newton", step, newton.newton_step, codes.dtype, rows, correlations, codes)
