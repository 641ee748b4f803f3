"""Log predictive density of samples with their codes integrated out, for one or for all draws of a posterior."""

from typing import NamedTuple

import jax
import numpy as np

from .._options import check_flag, check_seed
from .._validation import check_array, check_choice, check_count, check_dictionary, check_mask, check_matrix
from ..models.padl import SLABS
from ..progress import work_progress
from ._rows import Draws, Problem, compressed, each_batch
from .code_evidence import PROPOSALS, estimate
from .replication import posterior_predictive as posterior_predictive


class LogPredictive(NamedTuple):
    """Estimates and their Monte-Carlo error; with n draws the effective number is ``n / (1 + n error^2)``."""

    log_density: np.ndarray
    """(..., N)"""
    standard_error: np.ndarray
    """(..., N) of the log."""


def _check_positive(values, name, shape):
    values = np.asarray(check_array(values, name, shape), np.float64)
    if values.min() <= 0:
        raise ValueError(f"{name} must be positive, found {values.min():.6g}")
    return values


def _check_usage(values, shape):
    values = np.asarray(check_array(values, "usage", shape), np.float64)
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"usage must lie in [0, 1], found {values.min():.6g} to {values.max():.6g}")
    return values


def _check_data(X, mask, n_features):
    mask = check_mask(mask, X)
    X = check_matrix(X, n_features=n_features, mask=mask)
    observed = None if mask is None else mask.astype(np.float64)
    return Problem(X.astype(np.float64), observed), X.dtype


def _check_slab(slab, envelope):
    check_choice(slab, "slab", SLABS)
    if (slab == "l1linf") != (envelope is not None):
        state = "is missing" if envelope is None else "was given"
        raise ValueError(f'envelope goes with slab="l1linf" and no other, found slab={slab!r} and it {state}')


def estimate_all(key, problem, draws, n_codes, random_state, watch=None):
    """`LogPredictive` (S, N) of N samples under S draws; ``watch(done, total)`` is called after each batch."""
    draws = compressed(draws)
    shape = (len(draws.usage), len(problem.X))
    out = np.empty((2, *shape))
    for batch in each_batch(key, problem, draws, n_codes, random_state, watch=watch):
        done = estimate(key, batch.rows, batch.random_keys, n_codes)
        for table, values in zip(out, done, strict=True):
            block = batch.crop(values, shape)
            table[batch.draw :, batch.sample :][: block.shape[0], : block.shape[1]] = block
    return LogPredictive(*out)


def _estimate(slab, nonnegative, problem, draws, n_draws, random_state, progress=False):
    n_codes = -(-check_count(n_draws, "n_draws", minimum=2 * PROPOSALS) // PROPOSALS) * PROPOSALS
    random_state, nonnegative = check_seed(random_state), check_flag(nonnegative, "nonnegative")
    with jax.enable_x64(True), work_progress(progress, "log predictive density") as show:
        return estimate_all((slab, nonnegative), problem, draws, n_codes, random_state, show)


def log_predictive(
    X,
    dictionary,
    usage,
    rate,
    noise_scale,
    *,
    slab="bernoulli_laplace",
    nonnegative=False,
    envelope=None,
    mask=None,
    n_draws=120,
    random_state=0,
):
    """Estimate log p(x_n | dictionary, usage, rate, noise_scale), the codes of each sample integrated out.

    Parameters
    ----------
    X : array_like, shape (N, P)
    dictionary : array_like, shape (K, P)
        Unit-norm atoms.
    usage : array_like, shape () or (K,)
        Probability that a sample uses the atom; 0 for atoms that are not active. With ``slab="l1linf"`` an
        active atom is used by every sample: 1 or 0.
    rate : array_like, shape () or (K,)
        Of the slab: rate (Laplace), precision (Gaussian), ``rate_l1``.
    noise_scale : float
    slab : {"bernoulli_laplace", "bernoulli_gaussian", "l1linf"}
    nonnegative : bool
        One-sided slabs.
    envelope : array_like, shape () or (K,), optional
        With ``slab="l1linf"``: codes are cut to [-envelope, envelope].
    mask : array_like of bool, shape (N, P), optional
        True where an entry was observed: the density is that of these entries.
    n_draws : int
        Draws of the codes of a sample, rounded up to a multiple of 3.
    random_state : int

    Returns
    -------
    LogPredictive
        Of the precision of X; computed in float64.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit together, values out of range, an unknown slab.

    Notes
    -----
    Importance sampling: see `padl_bayes.inference.code_evidence`. The density is estimated without bias, so its
    logarithm comes out too low by about half its squared standard error. The error is the spread of the weights
    over the mean, within proposals: trust it while it is below 0.3. Beyond, few draws carry the estimate, which is
    then more likely too low than too high, and more draws are needed.
    """
    _check_slab(slab, envelope)
    dictionary = check_dictionary(dictionary).astype(np.float64)
    n_atoms, n_features = dictionary.shape
    problem, dtype = _check_data(X, mask, n_features)

    def table(check, values, *name):
        shape = () if np.ndim(values) == 0 else (n_atoms,)
        return np.broadcast_to(check(values, *name, shape), (1, n_atoms))

    draws = Draws(
        dictionary[None],
        table(_check_usage, usage),
        table(_check_positive, rate, "rate"),
        _check_positive(noise_scale, "noise_scale", ())[None],
        None if envelope is None else table(_check_positive, envelope, "envelope"),
    )
    done = _estimate(slab, nonnegative, problem, draws, n_draws, random_state)
    return LogPredictive(*(values[0].astype(dtype) for values in done))


def draws_of(samples, slab, thinning):
    """``(chains, draws kept)`` and the `Draws` of samples (chain, draw, ...), chains one after the other."""
    of_slab = ("rate_l1", "envelope") if slab == "l1linf" else ("usage", "rate")
    for name in ("dictionary", "noise_scale", *of_slab):
        if name not in samples:
            raise ValueError(f"samples must hold {name} with slab={slab!r}, found {sorted(samples)}")
    shape = check_array(samples["dictionary"], "dictionary", ("chain", "draw", "atom", "feature")).shape
    thinning = check_count(thinning, "thinning")

    def flat(name, *axes):
        table = check_array(samples[name], name, (*shape[:2], *axes))[:, ::thinning]
        return np.asarray(table, np.float64).reshape(-1, *axes)

    dictionary, noise_scale = flat("dictionary", *shape[2:]), flat("noise_scale")
    active = flat("active", shape[2]) if "active" in samples else np.ones(dictionary.shape[:2])
    if slab == "l1linf":
        rate = np.broadcast_to(flat("rate_l1")[:, None], active.shape)
        usage, envelope = active, flat("envelope", shape[2])
    else:
        usage, rate, envelope = active * flat("usage", shape[2]), flat("rate", shape[2]), None
    # What an atom that is switched off would have been like does not matter.
    off = usage == 0
    rate = np.where(off, 1.0, rate)
    envelope = None if envelope is None else np.where(off, 1.0, envelope)
    _check_usage(usage, usage.shape)
    for name, table in (("rate", rate), ("noise_scale", noise_scale), ("envelope", envelope)):
        if table is not None:
            _check_positive(table, name, table.shape)
    kept = (shape[0], len(range(0, shape[1], thinning)))
    return kept, Draws(dictionary, usage, rate, noise_scale, envelope)


def pointwise_log_likelihood(
    X,
    samples,
    *,
    slab="bernoulli_laplace",
    nonnegative=False,
    mask=None,
    n_draws=120,
    thinning=1,
    random_state=0,
    progress=False,
):
    """Estimate `log_predictive` of every sample under every draw of a posterior: what ``arviz.loo`` works on.

    Parameters
    ----------
    X : array_like, shape (N, P)
    samples : mapping of str to array_like
        Draws (chain, draw, ...): dictionary (..., K, P), noise_scale, and usage and rate (..., K), or with
        ``slab="l1linf"`` envelope (..., K) and rate_l1. Atoms with ``active`` 0, where it is there, or usage 0 do not
        count.
    slab, nonnegative, mask, n_draws, random_state
        As for `log_predictive`. What is drawn for a sample and a draw does not depend on how work is batched.
    thinning : int
        Take every ``thinning``-th draw of a chain.
    progress : bool
        Show it on the terminal.

    Returns
    -------
    LogPredictive
        Arrays (chain, draw / thinning, N) of the precision of X. Errors add noise to what is computed from them:
        against draws of a log density that differ by much more, an error of 0.1 does not matter.

    Raises
    ------
    TypeError, ValueError
        As `log_predictive`; a variable that is missing or has another shape.
    """
    check_choice(slab, "slab", SLABS)
    kept, draws = draws_of(samples, slab, thinning)
    problem, dtype = _check_data(X, mask, draws.dictionary.shape[-1])
    done = _estimate(slab, nonnegative, problem, draws, n_draws, random_state, progress)
    return LogPredictive(*(values.reshape(*kept, -1).astype(dtype) for values in done))
