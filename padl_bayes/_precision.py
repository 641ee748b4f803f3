"""Computations follow the data's precision, whatever JAX's global setting is."""

import jax
import numpy as np


def precision_of(*arrays):
    """Context in which JAX computes in float64 if any array is float64, in float32 otherwise.

    A user who passes float64 data gets float64 answers without having to know ``jax_enable_x64``.
    """
    return jax.enable_x64(any(np.asarray(a).dtype == np.float64 for a in arrays if a is not None))
