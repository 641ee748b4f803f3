"""Reports on draws from a posterior: of a file, or drawn here."""

import secrets
import shutil
from functools import partial
from pathlib import Path

import numpy as np

from padl_bayes._files import UNFINISHED
from padl_bayes.arviz_io import from_netcdf
from padl_bayes.inference.gibbs.checkpoint import sweeps_in
from padl_bayes.persistence import load, save
from padl_bayes.plots.atoms import check_image_shape
from padl_bayes.progress import work_progress
from padl_bayes.report import check_folder, groups_of, posterior_section, write_report
from padl_bayes.runs.sources import FIT, fitted_to


def posterior_run(path, folder, *, image_shape=None, overwrite=False, progress=False):
    """Write a report on a netCDF file of `padl_bayes.arviz_io.to_netcdf`, with a copy of the draws.

    Parameters
    ----------
    path, folder : str or os.PathLike
    image_shape : tuple of int, optional
    overwrite : bool
    progress : bool
        Show it on the terminal.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        What cannot be read or written.
    """
    check_folder(folder, overwrite=overwrite)
    data = from_netcdf(path)
    missing = [name for name in ("posterior", "observed_data") if name not in groups_of(data)]
    if missing:
        raise ValueError(f"path {str(path)!r} has no group {missing[0]}, expected a file of to_netcdf")
    with work_progress(progress, "writing the report"):
        section = posterior_section("Posterior", "posterior", data, image_shape=image_shape)
        return write_report(folder, Path(path).name, [section], posterior=data, overwrite=overwrite)


def checkpoint_of(folder):
    """Folder beside ``folder`` with the fit and the Gibbs checkpoint of a run that is not complete."""
    return Path(folder).with_name(f"{Path(folder).name}.checkpoint")


def left_of_sampling(folder):
    """What a `sample_run` that was interrupted left, in words."""
    kept = checkpoint_of(folder)
    if not kept.is_dir():
        return "nothing was written"
    sweeps = sweeps_in(kept / "gibbs")
    return (
        f"checkpoint {str(kept)!r} holds {sweeps} sweeps of each chain, warm-up included; "
        "the same command with --resume goes on from there"
    )


def sample_run(estimator, X, folder, options, *, title, image_shape=None, resume=False, overwrite=False):
    """Draw from the posterior, and write posterior.nc, fit.padl and a report.

    Parameters
    ----------
    estimator : PADL
    X : ndarray, shape (N, P), or None
        Samples to fit it to first; None if it is fitted.
    folder : str or os.PathLike
        Gibbs saves to the folder of `checkpoint_of` on the way.
    options : dict
        Of `PADL.sample_posterior`, ``method`` among them.
    title : str
    image_shape : tuple of int, optional
    resume : bool
        Go on from the checkpoint. Where the run was killed between the report and the end, the report stays as it is.
    overwrite : bool
        Replace a report, or a checkpoint if not to resume.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    TypeError, ValueError, FileExistsError, FileNotFoundError
        What cannot be done; a checkpoint of other data or settings, or none to go on from.
    """
    complete = resume and sweeps_in(checkpoint_of(folder) / "gibbs") >= _sweeps(options)
    folder = check_folder(folder, overwrite=overwrite or complete)
    if image_shape is not None:
        check_image_shape(image_shape, (estimator.components_ if X is None else X).shape[1])
    kept = _open_checkpoint(folder, options["method"], resume, overwrite)
    try:
        estimator = _fitted(estimator, X, kept)
        checkpoint = None if kept is None else kept / "gibbs"
        data = estimator.sample_posterior(**options, checkpoint=checkpoint)
    except Exception:
        if kept is not None and not resume and not sweeps_in(kept / "gibbs"):
            _discard(kept)
        raise
    if complete and not overwrite and _holds_draws(folder, data):
        _discard(kept)
        return folder / "report.html"
    with work_progress(estimator.progress, "writing the report"):
        page = write_report(
            folder,
            title,
            [posterior_section("Posterior", "posterior", data, image_shape=image_shape)],
            lead=[_lead(estimator, options, data)],
            posterior=data,
            files={FIT: partial(save, estimator)},
            overwrite=overwrite,
        )
    if kept is not None:
        _discard(kept)
    return page


def _sweeps(options):
    """Sweeps of each chain of a complete run."""
    return options["num_warmup"] + options["num_samples"]


def _holds_draws(folder, data):
    """Whether a folder holds the report on just these draws."""
    path = folder / "posterior.nc"
    if not path.is_file():
        return False
    found, wanted = from_netcdf(path)["posterior"], data["posterior"]
    return set(found.data_vars) == set(wanted.data_vars) and all(
        np.array_equal(found[name].values, drawn.values) for name, drawn in wanted.data_vars.items()
    )


def _discard(kept):
    """Remove a checkpoint: under another name first, so that none is ever there in part."""
    shutil.rmtree(kept.rename(kept.with_name(f".{kept.name}.{secrets.token_hex(4)}")))


def _lead(estimator, options, data):
    N, P = data["observed_data"]["X"].shape
    asked = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"{estimator!r} fitted, and its posterior for {N} samples of {P} features sampled with {asked}."


def _open_checkpoint(folder, method, resume, overwrite):
    """The folder to save to, empty unless to resume; None for engines that save nothing."""
    kept = checkpoint_of(folder)
    if method != "gibbs":
        if resume:
            raise ValueError(f"resume goes with method='gibbs', found method={method!r}")
        return None
    if resume and not kept.is_dir():
        raise FileNotFoundError(f"checkpoint {str(kept)!r} does not exist: there is nothing to resume")
    if kept.exists() and not resume:
        if not overwrite:
            raise FileExistsError(
                f"checkpoint {str(kept)!r} of a run that was stopped exists: go on with it (--resume), "
                "or start again (--overwrite)"
            )
        names = {path.name for path in kept.iterdir() if not path.name.startswith(UNFINISHED)}
        if names - {FIT, "gibbs"}:
            raise FileExistsError(
                f"{str(kept)!r} is no checkpoint: it is not overwritten; choose another folder"
            )
        _discard(kept)
    kept.mkdir(exist_ok=True)
    return kept


def _fitted(estimator, X, kept):
    """The estimator, fitted to ``X`` if there is any: now, or before the run was stopped."""
    if X is None or kept is None:
        return fitted_to(estimator, X)
    path = kept / FIT
    if not path.exists():
        save(fitted_to(estimator, X), path)
        return estimator
    found = load(path).set_params(progress=estimator.progress)
    if found.get_params() != estimator.get_params() or not np.array_equal(found._X, X):
        raise ValueError(
            f"checkpoint {str(kept)!r} was made with other data or settings of the fit: give the same, or another "
            "folder"
        )
    return found
