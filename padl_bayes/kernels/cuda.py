"""The CUDA kernels of ``csrc/cuda``, where they were built and JAX has a GPU that runs them.

``PADL_BAYES_KERNELS=off`` does without them; other settings are for the processor's.
"""

import ctypes
import functools

import jax

from .handlers import FOLDER, load, setting

LIBRARY = "libpadl_cuda.so"
HANDLERS = ("code_sweep", "row_sweep")


def _has_gpu():
    try:
        return bool(jax.devices("cuda"))
    except RuntimeError:
        return False


def _check(library):
    """Whether the GPU in use can run what is in the library: its driver may be too old for it."""
    library.padl_cuda_problem.restype = ctypes.c_char_p
    problem = library.padl_cuda_problem()
    if problem is not None:
        raise RuntimeError(problem.decode())


@functools.cache
def tag():
    """End of the handlers' names, once they are registered; None where the reference has to do."""
    path = FOLDER / LIBRARY
    if setting() == "off" or not path.is_file() or not _has_gpu():
        return None
    return "cuda" if load(path, "cuda", HANDLERS, "CUDA", _check) else None
