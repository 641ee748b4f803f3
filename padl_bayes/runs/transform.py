"""Codes of samples, given a fit."""

from pathlib import Path

import numpy as np

from padl_bayes._files import write_whole
from padl_bayes.progress import work_progress


def transform_run(estimator, X, path, *, rule="sparse", overwrite=False, progress=False):
    """Write the codes (N, n_active) of samples.

    Parameters
    ----------
    estimator : PADL
        Fitted.
    X : ndarray, shape (N, P)
    path : str or os.PathLike
        Ends in .npy; appears once it is complete.
    rule : {"sparse", "mean"}
        See `PADL.transform`.
    overwrite : bool
    progress : bool
        Show it on the terminal.

    Returns
    -------
    tuple of int
        Shape of the codes.

    Raises
    ------
    ValueError
        Samples that the fit does not take, or a path that does not end in .npy.
    FileExistsError, FileNotFoundError
        ``path`` cannot be written; found out before anything is computed.
    """
    if Path(path).suffix.lower() != ".npy":
        raise ValueError(f"out must end in .npy, found {str(path)!r}")
    shape = ()

    def write(unfinished):
        nonlocal shape
        with work_progress(progress, f"coding {len(X):,} samples"):
            codes = np.asarray(estimator.transform(X, rule=rule))
        shape = codes.shape
        with open(unfinished, "wb") as file:
            np.lib.format.write_array(file, codes, allow_pickle=False)

    write_whole(path, write, overwrite=overwrite)
    return shape
