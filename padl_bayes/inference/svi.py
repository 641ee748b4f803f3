"""Variational inference of the continuous models with NumPyro, on all samples at once or on batches."""

import time
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from numpyro.handlers import replay, seed
from numpyro.infer.util import log_density

from padl_bayes._arviz import load_arviz
from padl_bayes._memory import check_fits
from padl_bayes._options import check_flag, check_seed, check_start
from padl_bayes._precision import precision_of
from padl_bayes._validation import (
    check_choice,
    check_count,
    check_scalar,
    check_training_data,
    warn_if_unbounded,
)
from padl_bayes.inference._ascent import Task, climb
from padl_bayes.inference._continuous import RATES, check_fixed, check_n_atoms, values_at
from padl_bayes.inference._guides import (
    Known,
    Spec,
    first_params,
    guide_of,
    positive_sites,
    program_of,
)
from padl_bayes.models import check_hyperpriors, hyperpriors_from
from padl_bayes.progress import step_progress

_REMEDY = "keep fewer draws (num_draws), or fewer samples or atoms"
_FEWEST = 30


class SviFit(NamedTuple):
    """What `fit_svi` found; draws are ready for `padl_bayes.arviz_io.to_arviz`.

    Attributes
    ----------
    samples : dict of str to ndarray
        Independent draws of the guide (1, draw, ...): codes (..., N, K), and what was not fixed of dictionary
        (..., K, P), noise_scale, rate_l1 and rate_linf with envelope (..., K), or rate. Not aligned.
    sample_stats : dict of str to ndarray
        (1, draw): ``lp``, the log joint density of the program's sites, and ``log_weight``, that less the
        guide's log density, whose mean estimates the ELBO of the guide without bias.
    elbo : ndarray, shape (steps,)
        An unbiased estimate of the ELBO at each step, in nats of all the data, from one draw and one batch.
    converged : bool
    status : str
        Why the fit stopped.
    pareto_k : float
        Shape of the tail of ``exp(log_weight)``. Below 0.7 the draws can be reweighted to the posterior;
        above, as is usual with many codes, they are an approximation of unknown quality.
    wall_time : float
        Seconds, compilation included.
    random_state : int
    settings : dict
        What was asked for, as text and numbers.
    """

    samples: dict
    sample_stats: dict
    elbo: np.ndarray
    converged: bool
    status: str
    pareto_k: float
    wall_time: float
    random_state: int
    settings: dict


def fit_svi(
    X,
    n_atoms=None,
    *,
    model="l1linf",
    init=None,
    nonnegative=False,
    mask=None,
    fixed=None,
    hyperpriors=None,
    batch_size=None,
    num_steps=20_000,
    learning_rate=0.03,
    tol=1.0,
    num_draws=1000,
    random_state=0,
    progress=False,
    max_bytes=None,
):
    """Approximate the posterior of a continuous model by a structured normal law, and say how far to trust it.

    The models are those of `sample_nuts`: the l1 + l_inf slab with every atom active, or plain Laplace codes.
    Given the globals, samples are independent, in the model and in the guide, so a step may look at a batch of
    them: its ELBO and gradient are unbiased. The guide covers one of the posterior's equivalent modes: expect
    an ELBO below the log evidence by log(2^K K!) for that alone (log K! where codes have one sign), and intervals
    too narrow where the law is not normal.

    Parameters
    ----------
    X : array_like, shape (N, P)
        float64 data are fitted in double precision.
    n_atoms : int, optional
        K; not needed with ``init`` or a fixed dictionary.
    model : {"l1linf", "laplace"}
    init : object, optional
        A fit to start from, with attributes dictionary (K, P), codes (N, K) and noise_scale. Default: random
        mixtures of samples as atoms, from which inferior optima are likely.
    nonnegative : bool
        Codes >= 0.
    mask : array_like of bool, shape (N, P), optional
        True where an entry was observed.
    fixed : mapping of str to array_like, optional
        Values of dictionary, noise_scale, rate_l1, rate_linf, rate that are not to be learned.
    hyperpriors : Hyperpriors, optional
        Default: `hyperpriors_from` all the data.
    batch_size : int, optional
        Samples a step; default all.
    num_steps : int
        Largest number of steps.
    learning_rate : float
        Of Adam; brought down to a tenth of it where the ELBO no longer rises.
    tol : float
        The ELBO rises no more where its means over two successive windows (of 200 steps, or 100 epochs if that
        is longer) rise by less than ``tol`` standard errors of the means of epochs. The result is the mean
        of the parameters over the last window.
    num_draws : int
        Draws of the fitted guide.
    random_state : int
    progress : bool
        Show a progress bar.
    max_bytes : int, optional
        Largest memory to use. Default: what is available.

    Returns
    -------
    SviFit

    Raises
    ------
    TypeError, ValueError
        Bad input (see `padl_bayes._validation`), an ``init`` of other sizes, a name in ``fixed`` that the
        model does not have, or draws that do not fit in memory, with the number and what to do.

    Notes
    -----
    Hoffman, Blei, Wang, Paisley, JMLR 2013 (batches); Kucukelbir et al., JMLR 2017 (gradients); Dhaka et al.,
    NeurIPS 2020 (averaged iterates); Yao, Vehtari, Simpson, Gelman, ICML 2018 (k-hat of a guide).
    """
    started = time.perf_counter()
    X, mask = check_training_data(X, mask)
    n_samples, n_features = X.shape
    check_choice(model, "model", tuple(RATES))
    num_steps, num_draws = check_count(num_steps, "num_steps"), check_count(num_draws, "num_draws")
    batch_size = n_samples if batch_size is None else min(check_count(batch_size, "batch_size"), n_samples)
    learning_rate = check_scalar(learning_rate, "learning_rate", strict=True)
    tol = check_scalar(tol, "tol")
    random_state, init = check_seed(random_state), check_start(init)
    nonnegative, progress = check_flag(nonnegative, "nonnegative"), check_flag(progress, "progress")
    hyperpriors = check_hyperpriors(hyperpriors)
    fixed = check_fixed(fixed, model)
    n_atoms = check_n_atoms(n_atoms, init, fixed)
    warn_if_unbounded(X, n_atoms, mask, fixed)
    nbytes = svi_nbytes(n_samples, n_features, n_atoms, num_draws, batch_size=batch_size, dtype=X.dtype)
    check_fits(nbytes, "SVI with these draws", _REMEDY, limit=max_bytes)
    if init is None:
        init = _first_fit(X, n_atoms, nonnegative, fixed, random_state)
    values = values_at(init, X, nonnegative)
    spec = Spec(model, nonnegative, n_samples, n_features, n_atoms)
    settings = dict(model=model, nonnegative=spec.nonnegative, n_atoms=n_atoms, fixed=sorted(fixed))
    settings |= dict(batch_size=batch_size, num_steps=num_steps, learning_rate=learning_rate, tol=tol)
    with precision_of(X), step_progress(progress, num_steps) as report:
        known = _known(X, mask, fixed, hyperpriors, init.dictionary, values["noise_scale"])
        data = jnp.asarray(X), None if mask is None else jnp.asarray(mask)
        task = Task(spec, known, data, batch_size, num_steps, learning_rate, tol)
        key, draw_key = random.split(random.key(random_state))
        params, elbo, converged, status = climb(key, task, first_params(spec, fixed, values), report)
        keys = random.split(draw_key, num_draws)
        samples, stats = jax.tree.map(np.asarray, draw_guide(spec, known, data, params, keys))
    k = pareto_k(stats["log_weight"][0])
    seconds = time.perf_counter() - started
    return SviFit(samples, stats, elbo, converged, status, k, seconds, random_state, settings)


def svi_nbytes(n_samples, n_features, n_atoms, n_draws, *, batch_size=None, dtype=np.float64):
    """Estimate the bytes that `fit_svi` needs: draws, a copy of them, parameters, and one step's work.

    Parameters
    ----------
    n_samples, n_features, n_atoms : int
        N, P, K.
    n_draws : int
    batch_size : int, optional
        Samples a step; default all.
    dtype : dtype

    Returns
    -------
    int
    """
    batch_size = n_samples if batch_size is None else batch_size
    globals_size = n_atoms * (n_features + 1) + 4
    # parameters, two moments, gradient, mean, and the state before the window
    parameters = 8 * (2 * n_samples * n_atoms + 2 * globals_size + n_atoms**2)
    # a draw visits all samples
    working = 10 * max(batch_size, n_samples if n_draws else 0) * (n_atoms + n_features)
    draws = 2 * n_draws * (n_samples * n_atoms + globals_size)
    return np.dtype(dtype).itemsize * (draws + parameters + working)


def pareto_k(log_weight):
    """Pareto-smoothed importance sampling's k-hat of independent draws, by ArviZ.

    Parameters
    ----------
    log_weight : array_like, shape (draws,)

    Returns
    -------
    float
        inf where weights are not finite or spread beyond floats, -inf where all are the same, NaN for fewer
        than 30 draws, whose tail is too short to tell.

    Notes
    -----
    Vehtari, Simpson, Gelman, Yao, Gabry, JMLR 2024.
    """
    log_weight = np.asarray(log_weight, np.float64)
    if not np.isfinite(log_weight).all():
        return np.inf
    if log_weight.size < _FEWEST:
        return np.nan
    if np.ptp(log_weight) == 0:
        return -np.inf
    smooth = getattr(load_arviz(), "psislw", None)
    if smooth is not None:
        return float(smooth(log_weight)[1])
    from arviz_stats.base import array_stats

    # ArviZ 1.x takes log likelihoods, whose negatives are the weights of leaving one out
    return float(array_stats.psislw(-log_weight)[1])


@partial(jax.jit, static_argnames="spec")
def draw_guide(spec, known, data, params, keys):
    """Draws of the guide, one a key.

    Parameters
    ----------
    spec : Spec
    known : Known
    data : tuple
        X (N, P), and mask (N, P) or None: all samples.
    params : tuple of dict
        As `first_params` returns them.
    keys : keys, shape (draws,)

    Returns
    -------
    samples, stats : dict
        As in `SviFit`, leading axes (1, draws).
    """
    program, guide = program_of(spec, known), guide_of(spec, known)
    kept = ["codes", *positive_sites(spec, known.fixed)]
    kept += [] if "dictionary" in known.fixed else ["dictionary"]

    def draw(key):
        log_guide, guide_trace = log_density(seed(guide, key), data, {}, params[0] | params[1])
        log_joint, trace = log_density(replay(program, guide_trace), data, {}, {})
        stats = {"lp": log_joint, "log_weight": log_joint - log_guide}
        return {name: trace[name]["value"] for name in kept}, stats

    return jax.tree.map(lambda draws: draws[None], jax.lax.map(draw, keys))


def _known(X, mask, fixed, hyperpriors, anchor, unit):
    hyperpriors = hyperpriors_from(X, slab="l1linf", mask=mask) if hyperpriors is None else hyperpriors
    numbers = fixed, hyperpriors, np.asarray(anchor), unit
    return Known(*jax.tree.map(lambda value: jnp.asarray(value, X.dtype), numbers))


def _first_fit(X, n_atoms, nonnegative, fixed, random_state):
    """Return random mixtures of samples as atoms, with ridge codes."""
    rng = np.random.default_rng(random_state)
    mixing = rng.normal(size=(n_atoms, X.shape[0]))
    atoms = (np.abs(mixing) if nonnegative else mixing) @ X
    atoms = fixed.get("dictionary", atoms / np.linalg.norm(atoms, axis=1, keepdims=True))
    noise_scale = fixed.get("noise_scale", 0.5 * np.sqrt(np.mean(np.square(X))))
    codes = np.linalg.solve(atoms @ atoms.T + np.eye(n_atoms), atoms @ X.T).T
    # data orthogonal to every atom must not start from zero
    codes = (np.maximum(codes, 0) if nonnegative else codes) + 0.1 * noise_scale
    return SimpleNamespace(dictionary=atoms, codes=codes, noise_scale=noise_scale)
