"""Fit most samples, code all, and report."""

import warnings
from functools import partial

import numpy as np

from padl_bayes.datasets import split
from padl_bayes.estimator import PADL
from padl_bayes.exceptions import ConvergenceWarning
from padl_bayes.persistence import save
from padl_bayes.plots.atoms import check_image_shape
from padl_bayes.progress import work_progress
from padl_bayes.report import check_folder, em_section, map_section, write_report
from padl_bayes.runs.sources import FIT, IMAGE_SHAPE


def fit_run(X, folder, settings, *, title, image_shape=None, held_out=0.1, overwrite=False):
    """Fit most samples, code all, and write fit.padl, components.npy, codes.npy, usage.npy and a report.

    Parameters
    ----------
    X : ndarray, shape (N, P)
    folder : str or os.PathLike
    settings : dict
        Parameters of `PADL`.
    title : str
    image_shape : tuple of int, optional
    held_out : float
        Share of the samples that the report reconstructs and the fit does not see; 0 fits all.
    overwrite : bool

    Returns
    -------
    pathlib.Path, str
        The page, and what was found and why the fit stopped.

    Raises
    ------
    TypeError, ValueError, FileExistsError, FileNotFoundError
        What cannot be done, found out before the fit where possible.
    """
    check_folder(folder, overwrite=overwrite)
    if image_shape is not None:
        check_image_shape(image_shape, X.shape[1])
    train, aside = split(X, held_out, seed=settings.get("random_state", 0)) if held_out else (X, X)
    estimator = PADL(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(train)
        with work_progress(estimator.progress, f"coding {len(X):,} samples"):
            codes = estimator.transform(X)
    with work_progress(estimator.progress, "writing the report"):
        page = write_report(
            folder,
            title,
            [_section(estimator, aside, image_shape)],
            lead=[_lead(estimator, train, aside if held_out else ())],
            summary=[
                ("active atoms", str(estimator.n_active_)),
                ("noise scale", f"{estimator.noise_scale_:.4g}"),
                ("nonzero codes a sample", f"{np.count_nonzero(codes) / len(codes):.3g}"),
            ],
            arrays=_arrays(estimator, codes, image_shape),
            files={FIT: partial(save, estimator)},
            overwrite=overwrite,
        )
    kept = f" ({len(aside)} more held out)" if held_out else ""
    found = f"{estimator.n_active_} active atoms, noise scale {estimator.noise_scale_:.4g}"
    return page, f"{len(train)} samples of {X.shape[1]} features{kept}: {found}; {estimator.status_}"


def _section(estimator, aside, image_shape):
    if estimator.method == "em":
        return em_section("Fit", "fit", estimator, aside, image_shape)
    return map_section("Fit", "fit", estimator, image_shape)


def _lead(estimator, train, aside):
    kept_aside = f", {len(aside)} held out" if len(aside) else ""
    return f"{estimator!r} on {len(train)} samples of {train.shape[1]} features{kept_aside}."


def _arrays(estimator, codes, image_shape):
    arrays = {"components": estimator.components_, "codes": codes, "usage": estimator.usage_}
    if image_shape is not None:
        arrays[IMAGE_SHAPE] = np.asarray(image_shape)
    if estimator.method == "em":
        arrays["activation_log_odds"] = estimator.activation_log_odds_
    return arrays
