"""The C++ kernels of ``csrc``: found, loaded and registered with JAX when first asked for.

Where that fails, for whatever reason, the plain-JAX reference does the work. ``PADL_BAYES_KERNELS=off`` does without
them; ``PADL_BAYES_KERNELS=x86-64-v2`` (or v3, v4) picks a level of instruction sets, and the path of a library that
library.
"""

import ctypes
import functools
import os
import platform
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from .box_sweep import BoxSweep
from .code_draw import DrawnSums, Draws
from .code_sweep import AtomSums, Sweep
from .row_sweep import Iterate
from .slabs import SLABS

VARIABLE = "PADL_BAYES_KERNELS"
FOLDER = Path(__file__).parent / "lib"
# What each level adds, by the names that Linux has for it; best first.
LEVELS = {
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86-64-v2": {"cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"},
}
SUFFIX = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
HANDLERS = ("box_sweep", "code_draw", "code_sweep", "newton", "row_sweep")


def processor_flags():
    """What Linux says the processor has."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def best_level(flags):
    """Name of the highest level that a processor with these flags has, or None."""
    needed, best = set(), None
    for level, added in reversed(LEVELS.items()):
        needed |= added
        if not needed <= flags:
            break
        best = level
    return best


def target(kernel, dtype, chosen):
    """Name under which JAX knows a handler."""
    return f"padl_{kernel}_{SUFFIX[np.dtype(dtype)]}_{chosen}"


@functools.cache
def level():
    """Level of the kernels in use, their handlers registered; None where the reference has to do."""
    asked = os.environ.get(VARIABLE, "auto")
    if asked not in ("auto", "off", *LEVELS) and not Path(asked).is_file():
        raise ValueError(
            f"{VARIABLE} must be auto, off, one of {', '.join(LEVELS)}, or a library, found {asked!r}"
        )
    if asked == "off" or sys.platform != "linux" or platform.machine() != "x86_64" or not FOLDER.is_dir():
        return None
    try:
        chosen = best_level(processor_flags()) if asked == "auto" else asked
        if chosen is None:
            return None
        library = ctypes.cdll.LoadLibrary(
            str(FOLDER / f"libpadl_{chosen}.so" if chosen in LEVELS else chosen)
        )
        for kernel in HANDLERS:
            for dtype in SUFFIX:
                handler = getattr(library, f"padl_{kernel}_{SUFFIX[dtype]}")
                jax.ffi.register_ffi_target(
                    target(kernel, dtype, chosen), jax.ffi.pycapsule(handler), platform="cpu"
                )
    except Exception as error:
        # A library of another JAX, or a damaged one, is no reason to do without an answer.
        warnings.warn(
            f"the C++ kernels cannot be used, plain JAX takes over: {error}", RuntimeWarning, stacklevel=2
        )
        return None
    return chosen


def has_kernels(dtype):
    """Whether there are kernels for arrays of this type."""
    return np.dtype(dtype) in SUFFIX and level() is not None


def _through_atoms(kernel, slab, results, residual, codes, atoms, precision, tile, *more):
    """A pass over the codes: the new residual and codes, and results of these shapes."""
    dtype = residual.dtype
    number = [law is slab for law in SLABS.values()].index(True)
    call = jax.ffi.ffi_call(
        target(kernel, dtype, level()),
        [jax.ShapeDtypeStruct(one, dtype) for one in (residual.shape, codes.shape, *results)],
        input_output_aliases={0: 0, 1: 1},
        vmap_method="sequential",
    )
    observed = jnp.zeros(0, dtype) if tile.observed is None else tile.observed
    excluded = jnp.zeros(0, jnp.int32) if tile.excluded is None else tile.excluded.astype(jnp.int32)
    precision = jnp.asarray(precision, dtype)
    arguments = residual, codes, tile.valid, *atoms, precision, observed, excluded, *more
    return call(*arguments, slab=np.int32(number))


def sweep_tiles(slab, entries, residual, codes, atoms, precision, tile):
    """`padl_bayes.kernels.sweep_tiles` in C++."""
    tiles, n_atoms, n = codes.shape
    each = codes.shape if entries else (0,)
    results = (each, each, each, (tiles, len(AtomSums._fields), n_atoms), (tiles, n))
    done = _through_atoms("code_sweep", slab, results, residual, codes, atoms, precision, tile)
    residual, codes, probability, square, log_evidence, sums, bound = done
    sums = AtomSums(*jnp.moveaxis(sums, 1, 0))
    swept = Sweep(residual, codes, probability, square, log_evidence, sums, bound)
    return swept if entries else swept._replace(probability=None, square=None, log_evidence=None)


def draw_tiles(slab, residual, codes, atoms, precision, tile):
    """`padl_bayes.kernels.draw_tiles` in C++."""
    results = ((len(codes), len(DrawnSums._fields), codes.shape[1]),)
    arguments = residual, codes, atoms, precision, tile, tile.keys
    residual, codes, sums = _through_atoms("code_draw", slab, results, *arguments)
    return Draws(residual, codes, DrawnSums(*jnp.moveaxis(sums, 1, 0)))


def box_tiles(residual, codes, dictionary, envelope, alpha1, observed, *, nonnegative):
    """`padl_bayes.kernels.box_tiles` in C++."""
    dtype, by_sample = residual.dtype, (len(residual), residual.shape[2])
    shapes = residual.shape, codes.shape, by_sample
    call = jax.ffi.ffi_call(
        target("box_sweep", dtype, level()),
        [jax.ShapeDtypeStruct(one, dtype) for one in shapes],
        input_output_aliases={0: 0, 1: 1},
        vmap_method="sequential",
    )
    observed = jnp.zeros(0, dtype) if observed is None else observed
    alpha1 = jnp.asarray(alpha1, dtype)
    return BoxSweep(*call(residual, codes, dictionary, envelope, alpha1, observed, nonnegative=nonnegative))


def _call_row_sweep(rows, arrays, momentum, nonnegative):
    dtype = rows.atoms.dtype
    call = jax.ffi.ffi_call(
        target("row_sweep", dtype, level()),
        [*(jax.ShapeDtypeStruct(a.shape, dtype) for a in arrays), jax.ShapeDtypeStruct((), dtype)],
        input_output_aliases={i: i for i in range(len(arrays))},
        vmap_method="sequential",
    )
    n_rows = jnp.asarray(rows.n_rows, jnp.int32)
    scalars = (jnp.asarray(a, dtype) for a in (rows.alpha1, rows.alpha2, momentum))
    return call(*arrays, rows.atoms, n_rows, *scalars, nonnegative=nonnegative)


def sweep_rows(rows, iterate, momentum, *, nonnegative):
    """`padl_bayes.kernels.sweep_rows` in C++."""
    *arrays, objective = _call_row_sweep(rows, iterate, momentum, nonnegative)
    return Iterate(*arrays), objective


def feasibility_sweep(rows, F, *, nonnegative):
    """`padl_bayes.kernels.feasibility_sweep` in C++."""
    none = jnp.zeros(0, F.dtype)
    guesses = jnp.zeros(rows.atoms.shape[0], F.dtype)
    return _call_row_sweep(rows, (none, F, none, guesses), 0.0, nonnegative)[1]


def newton_step(rows, correlations, codes):
    """`padl_bayes.kernels.newton_step` in C++: solved directly, not by iterations."""
    dtype = codes.dtype
    call = jax.ffi.ffi_call(
        target("newton", dtype, level()),
        jax.ShapeDtypeStruct(codes.shape, dtype),
        vmap_method="sequential",
    )
    levels = jnp.max(jnp.abs(codes), axis=1)
    n_rows = jnp.asarray(rows.n_rows, jnp.int32)
    alphas = (jnp.asarray(a, dtype) for a in (rows.alpha1, rows.alpha2))
    return call(rows.atoms, correlations, codes, levels, n_rows, *alphas)
