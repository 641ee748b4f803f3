"""What the compiled kernels of all platforms share: names, loading, and one description of each call.

Every call takes the ``tag`` of a library, the end of the names under which `load` made its handlers known.
"""

import ctypes
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ..exceptions import KernelsWarning, warn
from .box_sweep import BoxSweep
from .code_draw import DrawnSums, Draws
from .code_sweep import AtomSums, Sweep
from .row_sweep import Iterate
from .slabs import SLABS

VARIABLE = "PADL_BAYES_KERNELS"
FOLDER = Path(__file__).parent / "lib"
SUFFIX = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}


def setting():
    """What `VARIABLE` asks for; empty is not set."""
    return os.environ.get(VARIABLE) or "auto"


def target(kernel, dtype, tag):
    """Name under which JAX knows a handler."""
    return f"padl_{kernel}_{SUFFIX[np.dtype(dtype)]}_{tag}"


def load(path, tag, kernels, platform, check=lambda library: None):
    """Load a library and register its handlers; whether that worked, which is warned of where it did not.

    Parameters
    ----------
    path : path_like
    tag : str
    kernels : sequence of str
    platform : str
        Of JAX: cpu or CUDA.
    check : callable, optional
        Given the library: an error is a reason not to use it.
    """
    try:
        library = ctypes.cdll.LoadLibrary(str(path))
        check(library)
        for kernel in kernels:
            for dtype, suffix in SUFFIX.items():
                handler = jax.ffi.pycapsule(getattr(library, f"padl_{kernel}_{suffix}"))
                jax.ffi.register_ffi_target(target(kernel, dtype, tag), handler, platform=platform)
    except Exception as error:
        # A library of another JAX, or a damaged one, is no reason to do without an answer.
        warn(f"the {platform} kernels cannot be used, plain JAX takes over: {error}", KernelsWarning)
        return False
    return True


def _through_atoms(name, slab, results, residual, codes, atoms, precision, tile, *more):
    """A pass over the codes: the new residual and codes, and results of these shapes."""
    dtype = residual.dtype
    number = [law is slab for law in SLABS.values()].index(True)
    call = jax.ffi.ffi_call(
        name,
        [jax.ShapeDtypeStruct(one, dtype) for one in (residual.shape, codes.shape, *results)],
        input_output_aliases={0: 0, 1: 1},
        vmap_method="sequential",
    )
    observed = jnp.zeros(0, dtype) if tile.observed is None else tile.observed
    excluded = jnp.zeros(0, jnp.int32) if tile.excluded is None else tile.excluded.astype(jnp.int32)
    precision = jnp.asarray(precision, dtype)
    arguments = residual, codes, tile.valid, *atoms, precision, observed, excluded, *more
    return call(*arguments, slab=np.int32(number))


def sweep_tiles(tag, residual, codes, atoms, precision, tile, *, slab, entries):
    """`padl_bayes.kernels.sweep_tiles` of a library."""
    tiles, n_atoms, n = codes.shape
    each = codes.shape if entries else (0,)
    results = (each, each, each, (tiles, len(AtomSums._fields), n_atoms), (tiles, n))
    name = target("code_sweep", residual.dtype, tag)
    done = _through_atoms(name, slab, results, residual, codes, atoms, precision, tile)
    residual, codes, probability, square, log_evidence, sums, bound = done
    sums = AtomSums(*jnp.moveaxis(sums, 1, 0))
    swept = Sweep(residual, codes, probability, square, log_evidence, sums, bound)
    return swept if entries else swept._replace(probability=None, square=None, log_evidence=None)


def draw_tiles(tag, residual, codes, atoms, precision, tile, *, slab):
    """`padl_bayes.kernels.draw_tiles` of a library."""
    results = ((len(codes), len(DrawnSums._fields), codes.shape[1]),)
    name = target("code_draw", residual.dtype, tag)
    arguments = residual, codes, atoms, precision, tile, tile.keys
    residual, codes, sums = _through_atoms(name, slab, results, *arguments)
    return Draws(residual, codes, DrawnSums(*jnp.moveaxis(sums, 1, 0)))


def box_tiles(tag, residual, codes, dictionary, envelope, alpha1, observed, *, nonnegative):
    """`padl_bayes.kernels.box_tiles` of a library."""
    dtype, by_sample = residual.dtype, (len(residual), residual.shape[2])
    shapes = residual.shape, codes.shape, by_sample
    call = jax.ffi.ffi_call(
        target("box_sweep", dtype, tag),
        [jax.ShapeDtypeStruct(one, dtype) for one in shapes],
        input_output_aliases={0: 0, 1: 1},
        vmap_method="sequential",
    )
    observed = jnp.zeros(0, dtype) if observed is None else observed
    alpha1 = jnp.asarray(alpha1, dtype)
    return BoxSweep(*call(residual, codes, dictionary, envelope, alpha1, observed, nonnegative=nonnegative))


def _call_row_sweep(tag, rows, arrays, momentum, nonnegative):
    dtype = rows.atoms.dtype
    call = jax.ffi.ffi_call(
        target("row_sweep", dtype, tag),
        [*(jax.ShapeDtypeStruct(a.shape, dtype) for a in arrays), jax.ShapeDtypeStruct((), dtype)],
        input_output_aliases={i: i for i in range(len(arrays))},
        vmap_method="sequential",
    )
    n_rows = jnp.asarray(rows.n_rows, jnp.int32)
    scalars = (jnp.asarray(a, dtype) for a in (rows.alpha1, rows.alpha2, momentum))
    return call(*arrays, rows.atoms, n_rows, *scalars, nonnegative=nonnegative)


def sweep_rows(tag, rows, iterate, momentum, *, nonnegative):
    """`padl_bayes.kernels.sweep_rows` of a library."""
    *arrays, objective = _call_row_sweep(tag, rows, iterate, momentum, nonnegative)
    return Iterate(*arrays), objective


def feasibility_sweep(tag, rows, F, *, nonnegative):
    """`padl_bayes.kernels.feasibility_sweep` of a library."""
    none = jnp.zeros(0, F.dtype)
    guesses = jnp.zeros(rows.atoms.shape[0], F.dtype)
    return _call_row_sweep(tag, rows, (none, F, none, guesses), 0.0, nonnegative)[1]


def newton_step(tag, rows, correlations, codes):
    """`padl_bayes.kernels.newton_step` of a library: solved directly, not by iterations."""
    dtype = codes.dtype
    call = jax.ffi.ffi_call(
        target("newton", dtype, tag),
        jax.ShapeDtypeStruct(codes.shape, dtype),
        vmap_method="sequential",
    )
    levels = jnp.max(jnp.abs(codes), axis=1)
    n_rows = jnp.asarray(rows.n_rows, jnp.int32)
    alphas = (jnp.asarray(a, dtype) for a in (rows.alpha1, rows.alpha2))
    return call(rows.atoms, correlations, codes, levels, n_rows, *alphas)
