"""A posterior for a fitted estimator: which engine draws it, what it starts from, and its ArviZ data."""

from typing import Any, NamedTuple

import numpy as np

from ._validation import check_choice
from .arviz_io import to_arviz
from .diagnostics import warn_of_chains
from .exceptions import ConvergenceWarning, warn
from .inference.gibbs import sample_gibbs
from .inference.nuts import sample_nuts
from .inference.predictive import pointwise_log_likelihood
from .inference.svi import fit_svi

METHODS = ("gibbs", "nuts", "svi")
STARTS = ("scattered", "fit")
LIKELIHOOD_DRAWS = 400


class Start(NamedTuple):
    """What engines read of a fit to start from."""

    dictionary: np.ndarray
    codes: np.ndarray
    noise_scale: float


class Request(NamedTuple):
    """What was asked for, checked.

    ``fit`` orders the labels, and is where engines start unless Gibbs is to start ``scattered``; ``n_atoms`` bounds the
    number of atoms that Gibbs switches on, and ``devices`` are those that it spreads samples over.
    It saves to the folder ``checkpoint`` if there is one.
    """

    X: np.ndarray
    mask: np.ndarray | None
    fit: Start
    scattered: bool
    n_atoms: int
    slab: str
    nonnegative: bool
    num_warmup: int
    num_samples: int
    num_chains: int
    keep_codes: str
    devices: Any
    log_likelihood: bool
    random_state: int
    progress: bool
    checkpoint: Any


def sample(method, request):
    """Draw a posterior and return its ArviZ data.

    Parameters
    ----------
    method : {"gibbs", "nuts", "svi"}
    request : Request

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
    """
    check_choice(method, "method", METHODS)
    if method == "gibbs":
        return _gibbs(request)
    return _continuous({"nuts": _nuts, "svi": _svi}[method], request)


def _log_likelihood(request, draws):
    """What `to_arviz` takes of the samples' log likelihood, on at most `LIKELIHOOD_DRAWS` draws."""
    if not request.log_likelihood:
        return {}
    n_chains, n_draws = np.shape(draws.samples["noise_scale"])
    thinning = min(-(-n_chains * n_draws // LIKELIHOOD_DRAWS), n_draws)
    found = pointwise_log_likelihood(
        request.X,
        draws.samples,
        slab=draws.settings.get("slab") or draws.settings["model"],
        nonnegative=request.nonnegative,
        mask=request.mask,
        thinning=thinning,
        random_state=request.random_state,
        progress=request.progress,
    )
    return {"log_likelihood": {"X": found.log_density}, "thinning": thinning}


def _collect(request, draws, **more):
    attrs = draws.settings | {"wall_time": draws.wall_time, "random_state": draws.random_state}
    return to_arviz(
        draws.samples,
        X=request.X,
        mask=request.mask,
        sample_stats=draws.sample_stats,
        attrs=attrs,
        flip=not request.nonnegative,
        **_log_likelihood(request, draws),
        **more,
    )


def _gibbs(request):
    draws = sample_gibbs(
        request.X,
        request.n_atoms,
        slab=request.slab,
        nonnegative=request.nonnegative,
        init=None if request.scattered or not len(request.fit.dictionary) else request.fit,
        mask=request.mask,
        num_warmup=request.num_warmup,
        num_samples=request.num_samples,
        num_chains=request.num_chains,
        keep_codes=request.keep_codes,
        devices=request.devices,
        random_state=request.random_state,
        progress=request.progress,
        reference=request.fit.dictionary,
        checkpoint=request.checkpoint,
    )
    warn_of_chains(draws, request.n_atoms)
    return _collect(request, draws, align=draws.alignment, codes_moments=draws.codes_moments)


def _shared(request):
    return dict(
        init=request.fit,
        nonnegative=request.nonnegative,
        mask=request.mask,
        random_state=request.random_state,
        progress=request.progress,
    )


def _nuts(request):
    draws = sample_nuts(
        request.X,
        num_warmup=request.num_warmup,
        num_samples=request.num_samples,
        num_chains=request.num_chains,
        **_shared(request),
    )
    warn_of_chains(draws, request.n_atoms)
    return draws


def _svi(request):
    fit = fit_svi(request.X, num_draws=request.num_samples, **_shared(request))
    if not fit.converged:
        warn(
            f"sample_posterior: {fit.status}: inference.fit_svi takes num_steps and learning_rate",
            ConvergenceWarning,
        )
    return fit


def _continuous(engine, request):
    """A posterior of the continuous model at the fit's atoms, all of them active."""
    data = _collect(request, engine(request), reference=request.fit.dictionary)
    if request.keep_codes == "moments":
        del data["posterior"]["codes"]
    return data
