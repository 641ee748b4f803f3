"""Rounding of rows of weights to multiples of a step."""

import numpy as np

BLOCK = 32


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
    # a column at a time, so each lies in one piece
    values, step = values.T, np.broadcast_to(step, values.shape).T
    keep = np.ones(values.shape, bool) if keep is None else keep.T
    found, error = np.zeros(values.shape, np.int32), np.zeros(values.shape)
    lower = root.T / np.diag(root)[:, None]
    for end in range(len(values), 0, -BLOCK):
        start = max(end - BLOCK, 0)
        owed = lower[start:end, end:] @ error[end:]
        for j in reversed(range(start, end)):
            wanted = values[j] + owed[j - start] + lower[j, j + 1 : end] @ error[j + 1 : end]
            found[j] = np.where(keep[j], np.round(wanted / step[j]), 0)
            error[j] = values[j] - step[j] * found[j]
    return np.ascontiguousarray(found.T)
