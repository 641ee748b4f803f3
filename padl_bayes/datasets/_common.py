"""What the data sets share: precision, seeds, and keeping rows aside."""

from typing import NamedTuple

import numpy as np

from padl_bayes._options import check_generator_seed
from padl_bayes._validation import check_matrix, check_scalar


class Split(NamedTuple):
    """Rows to learn from and rows kept aside."""

    train: np.ndarray
    held_out: np.ndarray


def float_type(dtype):
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, found {kind}")
    return kind


def generator(seed):
    return np.random.default_rng(check_generator_seed(seed, "seed"))


def split(X, held_out=0.2, *, seed):
    """Split the rows of ``X`` at random.

    Parameters
    ----------
    X : array_like, shape (N, P)
    held_out : float
        Fraction of the rows to keep aside, in (0, 1); at least one row lands on either side.
    seed : int

    Returns
    -------
    Split
        Rows keep their order on either side.

    Raises
    ------
    TypeError, ValueError
        ``X`` has fewer than two rows or is no matrix of numbers, or ``held_out`` is out of range.
    """
    X = check_matrix(X, min_rows=2)
    held_out = check_scalar(held_out, "held_out", strict=True)
    if held_out >= 1:
        raise ValueError(f"held_out must be a fraction below 1, found {held_out:g}")
    n_samples = X.shape[0]
    n_held_out = min(max(1, round(held_out * n_samples)), n_samples - 1)
    aside = np.zeros(n_samples, bool)
    aside[generator(seed).permutation(n_samples)[:n_held_out]] = True
    return Split(X[~aside], X[aside])
