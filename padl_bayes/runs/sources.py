"""Fits that jobs start from: in files, or to samples."""

from pathlib import Path

import numpy as np

from padl_bayes.estimator import PADL
from padl_bayes.persistence import load

FIT = "fit.padl"
IMAGE_SHAPE = "image_shape"


def holds_fit(path):
    """Whether a path names a file .padl or a folder with a fit, and no data."""
    path = Path(path)
    return path.suffix.lower() == ".padl" or (path / FIT).is_file()


def image_shape_of(path):
    """Height and width that a folder of `fit_run` drew its atoms with; None if it drew lines or is no such folder."""
    kept = Path(path) / f"{IMAGE_SHAPE}.npy"
    return tuple(np.load(kept, allow_pickle=False).tolist()) if kept.is_file() else None


def load_fit(path):
    """Read the `PADL` in a file of `save`, or in a folder that a job wrote.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    PADL

    Raises
    ------
    FileNotFoundError
        No such file or folder.
    ValueError
        A folder without a fit, or a file that is none.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / FIT).is_file():
            raise ValueError(
                f"folder {str(path)!r} holds no {FIT}: give the folder of padl fit, or a file of a fit"
            )
        path = path / FIT
    found = load(path)
    if not isinstance(found, PADL):
        raise ValueError(f"file {str(path)!r} must hold a PADL, found {type(found).__name__}")
    if not hasattr(found, "fit_"):
        raise ValueError(f"file {str(path)!r} holds a PADL that is not fitted")
    return found


def fitted_to(estimator, X):
    """The estimator, fitted to samples (N, P) if there are any."""
    return estimator if X is None else estimator.fit(X)
