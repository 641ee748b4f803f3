"""The main job: fit natural patches and handwritten digits, compare, sample a posterior, write a report."""

import multiprocessing
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
from rich.console import Console

from . import datasets, rivals
from .estimator import PADL
from .exceptions import PadlWarning
from .progress import work_progress
from .report import (
    check_folder,
    comparison_section,
    em_section,
    map_section,
    posterior_section,
    write_report,
)

DTYPE = np.float32


class Size(NamedTuple):
    """How much the demo computes."""

    n_patches: int
    n_digits: int
    n_atoms: int
    tol: float
    map_iterations: int
    spams_iterations: int
    posterior_samples: int
    posterior_atoms: int
    draws: int
    chains: int


FULL = Size(2500, 1797, 96, 1e-5, 200, 60, 50, 8, 150, 4)
QUICK = Size(200, 200, 12, 1e-4, 20, 5, 20, 8, 20, 2)


class Job(NamedTuple):
    """One data set."""

    title: str
    name: str
    data: datasets.Split
    image_shape: tuple[int, int]


class Fits(NamedTuple):
    """Both fits of a data set, and the scores of their own codes."""

    em: PADL
    map: PADL
    scores: list


def jobs(size, seed):
    """The data sets, each split into training and held-out samples."""
    patches = datasets.natural_patches(size.n_patches, 8, seed=seed, dtype=DTYPE)
    digits = datasets.digits(dtype=DTYPE)
    rows = np.random.default_rng(seed).permutation(len(digits.X))[: size.n_digits]
    return [
        Job("Natural patches", "patches", datasets.split(patches.X, seed=seed), patches.image_shape),
        Job("Digits", "digits", datasets.split(digits.X[np.sort(rows)], seed=seed), digits.image_shape),
    ]


def run_demo(folder, *, quick=False, overwrite=False, random_state=0, console=None, progress=True):
    """Fit, compare, sample and write a report.

    Parameters
    ----------
    folder : str or os.PathLike
        Where the report goes; appears once everything is in it.
    quick : bool
        A toy run that only shows that everything works.
    overwrite : bool
        Replace a folder that holds a report.
    random_state : int
    console : rich.console.Console, optional
        Where to say what is going on; standard error by default.
    progress : bool
        Show progress bars.

    Returns
    -------
    pathlib.Path
        Of ``report.html``.

    Raises
    ------
    FileExistsError, FileNotFoundError
        ``folder`` cannot be written; found out before anything is computed.
    ImportError
        A package that bundles the data is missing.
    """
    started = time.perf_counter()
    check_folder(folder, overwrite=overwrite)
    console = console or Console(stderr=True)
    size = QUICK if quick else FULL
    todo = jobs(size, random_state)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        fits, pending = [], []
        try:
            for job in todo:
                fits.append(_fit(job, size, random_state, console, progress))
                pending.append(_submit_rivals(pool, job, fits[-1], size, random_state))
            chosen, fitted, posterior = _sample(size, random_state, console, progress)
            with work_progress(progress, "waiting for scikit-learn and SPAMS"):
                found = [future.result() if future else [] for future in pending]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    sections = []
    for job, fit, others in zip(todo, fits, found, strict=True):
        sections += _sections(job, fit, others)
    sections.append(_posterior_section(chosen, fitted, posterior))
    seconds = time.perf_counter() - started
    return write_report(
        folder,
        "padl_bayes on natural patches and digits",
        sections,
        lead=[_lead(todo, size, random_state, seconds)],
        summary=_summary(todo, fits, seconds),
        posterior=posterior,
        overwrite=overwrite,
    )


def _quietly(fit, *arguments, **options):
    """Call ``fit``; that it stopped at its budget is said in the report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PadlWarning)
        return fit(*arguments, **options)


def _fit(job, size, seed, console, progress):
    X, held_out = job.data
    console.print(f"{job.title}: {len(X)} x {X.shape[1]} training samples, {len(held_out)} held out")
    console.print("  variational EM")
    em = PADL(size.n_atoms, tol=size.tol, random_state=seed, progress=progress)
    _quietly(em.fit, X)
    console.print("  MAP, alpha calibrated")
    mode = PADL(size.n_atoms, "map", max_iter=size.map_iterations, random_state=seed, progress=progress)
    _quietly(mode.fit, X)
    data = rivals.make_data(X, held_out)
    scores = [
        line
        for name, estimator in (("PADL EM", em), ("PADL MAP", mode))
        for line in rivals.score_estimator(name, estimator, data)
    ]
    return Fits(em, mode, scores)


def _submit_rivals(pool, job, fits, size, seed):
    """Start the comparison in a process of its own; None if there is nothing to compare with."""
    ours = fits.scores[0]
    if min(ours.nonzeros, ours.nonzeros_held_out) == 0:
        return None
    return pool.submit(
        rivals.score_rivals,
        rivals.own_atoms({"PADL EM": fits.em}),
        rivals.make_data(*job.data),
        ours.n_atoms,
        (ours.nonzeros, ours.nonzeros_held_out),
        minibatch=True,
        rules=rivals.RULES,
        spams_iter=size.spams_iterations,
        random_state=seed,
        callback=None,
    )


def _sample(size, seed, console, progress):
    """Fit a few images of one digit and sample the posterior around the fit."""
    digits = datasets.digits(dtype=DTYPE)
    X = digits.X[digits.labels == 0][: size.posterior_samples]
    console.print(f"Posterior: {len(X)} images of the digit 0, at most {size.posterior_atoms} atoms, NUTS")
    estimator = PADL(size.posterior_atoms, random_state=seed, progress=progress)
    _quietly(estimator.fit, X)
    posterior = estimator.sample_posterior(
        method="nuts",
        num_warmup=size.draws,
        num_samples=size.draws,
        num_chains=size.chains,
        keep_codes="draws",
    )
    return X, estimator, posterior


def _sections(job, fits, others):
    held_out = job.data.held_out
    scores = [*fits.scores, *others]
    sections = [
        em_section(f"{job.title}: EM", f"{job.name}-em", fits.em, held_out, job.image_shape),
        map_section(f"{job.title}: MAP", f"{job.name}-map", fits.map, job.image_shape),
    ]
    if others:
        sections.append(comparison_section(f"{job.title}: comparison", job.name, scores))
    return sections


def _posterior_section(X, estimator, posterior):
    lead = (
        f"EM explains {len(X)} images of the digit 0 with {estimator.n_active_} atoms. From there NUTS samples "
        f"dictionary, codes, envelopes and scales of the continuous model (l1 + l_inf slab, all of these atoms "
        f"active); it took {posterior.attrs['wall_time']:.0f} s. The draws, aligned to the fit, are in "
        f"posterior.nc, which ArviZ opens."
    )
    return posterior_section(
        "Posterior of a small problem", "posterior", posterior, image_shape=(8, 8), lead=[lead]
    )


def _lead(todo, size, seed, seconds):
    sizes = " and ".join(
        f"{len(job.data.train)} + {len(job.data.held_out)} {job.title.lower()}" for job in todo
    )
    return (
        f"Dictionaries of at most {size.n_atoms} atoms for {sizes} (training + held-out samples of 8 x 8 pixels), in "
        f"single precision, seed {seed}. Both have the same settings. Everything took {seconds:.0f} s."
    )


def _summary(todo, fits, seconds):
    lines = []
    for job, fit in zip(todo, fits, strict=True):
        lines += [
            (f"{job.title}: atoms kept by EM", str(fit.em.n_active_)),
            (f"{job.title}: noise scale", f"{fit.em.noise_scale_:.3g}"),
            (f"{job.title}: held-out RMSE", f"{fit.scores[0].rmse_held_out:.3g}"),
            (f"{job.title}: nonzeros a sample", f"{fit.scores[0].nonzeros_held_out:.3g}"),
        ]
    return [*lines, ("seconds", f"{seconds:.0f}")]
