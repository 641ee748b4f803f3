"""Rounding of rows of weights to multiples of a step."""

import numpy as np


def nearest(values, step):
    """Whole numbers whose multiples of ``step`` are nearest."""
    return np.round(values / step).astype(np.int32)


def with_feedback(values, step, root, *, keep=None):
    """Whole numbers Q that make ``||(values - step Q) L||_F^2`` small.

    Each entry makes up for the errors of those after it.

    Parameters
    ----------
    values : ndarray, shape (N, P)
    step : array_like
        Broadcast against ``values``.
    root : ndarray, shape (P, P)
        L, lower triangular.
    keep : ndarray of bool, shape (N, P), optional
        All others are zero.

    Returns
    -------
    ndarray of int32, shape (N, P)

    Notes
    -----
    Babai's nearest plane (Combinatorica 6, 1986), row by row; the error of a row is at most
    ``sum_j (step L_jj / 2)^2``. Rounding weights of a network like this is GPTQ (Frantar et al., ICLR 2023).
    """
    step = np.broadcast_to(step, values.shape)
    found, error = np.zeros(values.shape, np.int32), np.zeros(values.shape)
    for j in reversed(range(values.shape[1])):
        owed = error[:, j + 1 :] @ (root[j + 1 :, j] / root[j, j])
        found[:, j] = np.round((values[:, j] + owed) / step[:, j])
        if keep is not None:
            found[~keep[:, j], j] = 0
        error[:, j] = values[:, j] - step[:, j] * found[:, j]
    return found
