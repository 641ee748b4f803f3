"""Gradient-based sampling of the continuous models with NumPyro's NUTS: a reference at modest size."""

import time
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import random
from numpyro.distributions import biject_to
from numpyro.infer import MCMC, NUTS, init_to_uniform

from padl_bayes._memory import check_fits
from padl_bayes._precision import precision_of
from padl_bayes._validation import (
    check_array,
    check_choice,
    check_count,
    check_dictionary,
    check_scalar,
    check_training_data,
)
from padl_bayes.models import laplace, padl

_GLOBALS = {"l1linf": ("noise_scale", "rate_l1", "rate_linf"), "laplace": ("noise_scale", "rate")}
_STATS = {
    "accept_prob": "acceptance_rate",
    "diverging": "diverging",
    "num_steps": "n_steps",
    "energy": "energy",
    "adapt_state.step_size": "step_size",
}
_NOT_KEPT = {
    "l1linf": ("codes_unit", "num_active", "code_energy", "activation_rate"),
    "laplace": ("code_energy",),
}
_REMEDY = "keep fewer draws (num_samples, thinning, num_chains), or fewer samples or atoms"
_JITTER = 0.1


class NutsDraws(NamedTuple):
    """Draws of `sample_nuts`, ready for `padl_bayes.arviz_io.to_arviz`.

    Attributes
    ----------
    samples : dict of str to ndarray
        Draws (chain, draw, ...): codes (..., N, K), and what was not fixed of dictionary (..., K, P),
        noise_scale, rate_l1 and rate_linf with envelope (..., K), or rate. Not aligned.
    sample_stats : dict of str to ndarray
        (chain, draw) under ArviZ's names; ``lp`` is the log joint density of the unconstrained position.
    wall_time : float
        Seconds, compilation included.
    random_state : int
    settings : dict
        What was asked for, as text and numbers.
    """

    samples: dict
    sample_stats: dict
    wall_time: float
    random_state: int
    settings: dict


def sample_nuts(
    X,
    n_atoms=None,
    *,
    model="l1linf",
    init=None,
    nonnegative=False,
    mask=None,
    fixed=None,
    hyperpriors=None,
    num_warmup=500,
    num_samples=500,
    num_chains=4,
    thinning=1,
    target_accept=0.8,
    max_tree_depth=10,
    chain_method="sequential",
    random_state=0,
    progress=False,
    max_bytes=None,
):
    """Sample the posterior of a continuous model: every atom active, no code exactly zero.

    Spikes cannot be summed out (the codes of a sample are coupled through the likelihood), so the two-level
    slabs have no continuous form: the model is the l1 + l_inf slab in `padl`'s continuous coordinates, or
    plain Laplace codes. Each costs a pass over (N, K) and (N, P) per leapfrog step.

    Parameters
    ----------
    X : array_like, shape (N, P)
        float64 data are sampled in double precision.
    n_atoms : int, optional
        K; not needed with ``init`` or a fixed dictionary.
    model : {"l1linf", "laplace"}
    init : object, optional
        A fit to start from, with attributes dictionary (K, P), codes (N, K) and noise_scale: each chain
        starts near it, a tenth of a unit away in every unconstrained coordinate. Posteriors of dictionaries
        have many equivalent and inferior modes, which chains from nowhere take long to leave.
    nonnegative : bool
        Codes >= 0.
    mask : array_like of bool, shape (N, P), optional
        True where an entry was observed.
    fixed : mapping of str to array_like, optional
        Values of dictionary, noise_scale, rate_l1, rate_linf, rate that are not to be sampled.
    hyperpriors : Hyperpriors, optional
    num_warmup, num_samples, num_chains, thinning : int
        Every ``thinning``-th of ``num_samples`` draws of a chain is kept.
    target_accept : float
    max_tree_depth : int
    chain_method : {"sequential", "vectorized", "parallel"}
    random_state : int
    progress : bool
        Show a progress bar.
    max_bytes : int, optional
        Largest memory to use. Default: what is available.

    Returns
    -------
    NutsDraws

    Raises
    ------
    TypeError, ValueError
        Bad input (see `padl_bayes._validation`), an ``init`` of other sizes, a name in ``fixed`` that the
        model does not have, or draws that do not fit in memory, with the number and what to do.

    Notes
    -----
    Hoffman and Gelman, JMLR 2014, as implemented by NumPyro.
    """
    started = time.perf_counter()
    X, mask = check_training_data(X, mask)
    check_choice(model, "model", tuple(_GLOBALS))
    counts = dict(num_warmup=num_warmup, num_samples=num_samples, num_chains=num_chains, thinning=thinning)
    counts = {name: check_count(value, name) for name, value in counts.items()}
    tuning = dict(
        target_accept_prob=check_scalar(target_accept, "target_accept", strict=True, maximum=1.0),
        max_tree_depth=check_count(max_tree_depth, "max_tree_depth"),
    )
    if thinning > num_samples:
        raise ValueError(f"thinning must be at most num_samples = {num_samples}, found {thinning}")
    fixed = _check_fixed(fixed, model)
    start = None if init is None else _start(init, X, model, nonnegative)
    n_atoms = _n_atoms(n_atoms, start, fixed)
    nbytes = nuts_nbytes(
        X.shape[0],
        X.shape[1],
        n_atoms,
        num_samples // thinning,
        num_chains,
        dtype=X.dtype,
        max_tree_depth=max_tree_depth,
    )
    check_fits(nbytes, "NUTS with these draws", _REMEDY, limit=max_bytes)
    program = _program(model, X, n_atoms, nonnegative, mask, fixed, hyperpriors)
    with precision_of(X):
        kernel = NUTS(program, init_strategy=_strategy(start), **tuning)
        mcmc = MCMC(kernel, chain_method=chain_method, progress_bar=progress, **counts)
        direction = () if "dictionary" in fixed else ("dictionary_normal",)
        removed = tuple(f"~z.{name}" for name in (*_NOT_KEPT[model], *direction, *fixed))
        mcmc.run(random.key(random_state), extra_fields=("potential_energy", *_STATS, *removed))
        samples = {name: np.asarray(value) for name, value in mcmc.get_samples(group_by_chain=True).items()}
        fields = {k: np.asarray(v) for k, v in mcmc.get_extra_fields(group_by_chain=True).items()}
    stats = {_STATS[name]: values for name, values in fields.items() if name in _STATS}
    stats["lp"] = -fields["potential_energy"]
    settings = dict(model=model, nonnegative=bool(nonnegative), n_atoms=n_atoms, fixed=sorted(fixed))
    return NutsDraws(samples, stats, time.perf_counter() - started, random_state, settings | counts | tuning)


def nuts_nbytes(n_samples, n_features, n_atoms, n_draws, n_chains=1, *, dtype=np.float64, max_tree_depth=10):
    """Estimate the bytes that `sample_nuts` needs: draws, a copy of them, and the states of the trajectories.

    Parameters
    ----------
    n_samples, n_features, n_atoms : int
        N, P, K.
    n_draws, n_chains : int
        Draws kept of a chain, and chains.
    dtype : dtype
    max_tree_depth : int

    Returns
    -------
    int
    """
    position = n_samples * n_atoms + n_atoms * n_features + n_atoms + 4
    working = (2 * max_tree_depth + 12) * position + 4 * n_samples * n_features
    return np.dtype(dtype).itemsize * n_chains * (2 * n_draws * position + working)


def _check_fixed(fixed, model):
    fixed = dict(fixed or {})
    for name in fixed:
        check_choice(name, "fixed", ("dictionary", *_GLOBALS[model]))
    if "dictionary" in fixed:
        fixed["dictionary"] = check_dictionary(fixed["dictionary"])
    return fixed | {k: check_scalar(v, k, strict=True) for k, v in fixed.items() if k != "dictionary"}


def _n_atoms(n_atoms, start, fixed):
    known = [] if start is None else [len(start["dictionary_normal"][0])]
    known += [len(fixed["dictionary"])] if "dictionary" in fixed else []
    known += [] if n_atoms is None else [check_count(n_atoms, "n_atoms")]
    if not known:
        raise ValueError("n_atoms must be given where neither init nor a fixed dictionary tells it")
    if len(set(known)) > 1:
        raise ValueError(f"n_atoms must agree with init and fixed, found {' and '.join(map(str, known))}")
    return known[0]


def _program(model, X, n_atoms, nonnegative, mask, fixed, hyperpriors):
    """Return the program; the rate of activation says nothing where all atoms are active."""
    shared = dict(nonnegative=nonnegative, mask=mask, hyperpriors=hyperpriors, continuous=True, **fixed)
    if model == "laplace":
        return partial(laplace, X, n_atoms, **shared)
    return partial(padl, X, n_atoms, slab="l1linf", activation_rate=0.5, **shared)


def _start(init, X, model, nonnegative):
    """Return (value, spread) of the sampled sites near the fit ``init``."""
    dictionary = check_dictionary(init.dictionary, "init.dictionary", n_features=X.shape[1])
    codes = check_array(init.codes, "init.codes", (X.shape[0], len(dictionary)))
    noise_scale = check_scalar(init.noise_scale, "init.noise_scale", strict=True)
    typical = np.abs(codes).mean()
    if typical == 0:
        raise ValueError("init.codes must have an entry that is not zero")
    # Nothing can start at the edge of its support: one-sided codes off zero, envelopes off the largest code.
    codes = np.maximum(codes, 0.01 * typical) if nonnegative else codes
    largest = np.abs(codes).max(0)
    envelope = 1.1 * largest + 0.1 * typical
    unit_spread = dict(
        dictionary_normal=dictionary * np.sqrt(X.shape[1]),
        noise_scale=noise_scale,
        rate=1 / typical,
        rate_l1=1 / typical,
        rate_linf=1 / np.mean(envelope - largest),
        envelope=envelope,
        codes_unit=codes / envelope,
    )
    start = {name: (np.asarray(value, X.dtype), _JITTER) for name, value in unit_spread.items()}
    return start | {"codes": (codes.astype(X.dtype), _JITTER if nonnegative else _JITTER * typical)}


def _strategy(start):
    return init_to_uniform if start is None else partial(_init_near, start=start)


def _init_near(site, start):
    """Initialise a site near its value, in unconstrained coordinates, so that chains differ."""
    if site["type"] != "sample" or site["is_observed"]:
        return None
    if site["name"] not in start:
        return init_to_uniform(site)
    value, spread = start[site["name"]]
    bijection = biject_to(site["fn"].support)
    free = bijection.inv(jnp.asarray(value))
    return bijection(free + spread * random.normal(site["kwargs"]["rng_key"], free.shape, free.dtype))
