"""Patches out of pictures."""

import numpy as np

from padl_bayes.datasets._common import generator


def positions_in(pictures, shape):
    """Rows and columns of places for a patch of this shape in each picture (height, width)."""
    return [(max(p.shape[0] - shape[0] + 1, 0), max(p.shape[1] - shape[1] + 1, 0)) for p in pictures]


def cut_patches(pictures, shape, n_patches, seed):
    """Patches from places drawn without replacement, evenly over all places in all pictures.

    Parameters
    ----------
    pictures : sequence of ndarray, shape (height, width)
        None smaller than a patch.
    shape : tuple of int
        Height and width of a patch.
    n_patches : int
        N, at most the number of places.
    seed : int

    Returns
    -------
    X : ndarray, shape (N, P)
    labels : ndarray of int, shape (N,)
        Position of the picture that a patch comes from.
    """
    windows = [np.lib.stride_tricks.sliding_window_view(picture, shape) for picture in pictures]
    grids = positions_in(pictures, shape)
    starts = np.cumsum([0] + [height * width for height, width in grids])
    chosen = generator(seed).choice(starts[-1], n_patches, replace=False)
    labels = np.searchsorted(starts, chosen, side="right") - 1
    X = np.empty((n_patches, shape[0] * shape[1]))
    for k, (view, grid) in enumerate(zip(windows, grids, strict=True)):
        rows = np.flatnonzero(labels == k)
        X[rows] = view[np.unravel_index(chosen[rows] - starts[k], grid)].reshape(len(rows), -1)
    return X, labels
