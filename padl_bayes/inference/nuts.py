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
from padl_bayes._options import check_flag, check_seed, check_start
from padl_bayes._precision import precision_of
from padl_bayes._validation import (
    check_choice,
    check_count,
    check_draws,
    check_scalar,
    check_training_data,
    warn_if_unbounded,
)
from padl_bayes.inference._continuous import RATES, check_fixed, check_n_atoms, values_at
from padl_bayes.models import check_hyperpriors, laplace, padl

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
_DEEPEST = 20


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
    check_choice(model, "model", tuple(RATES))
    counts = check_draws(num_samples, num_chains, thinning)
    num_samples, num_chains, thinning = counts.values()
    counts |= {"num_warmup": check_count(num_warmup, "num_warmup")}
    tuning = dict(
        target_accept_prob=check_scalar(target_accept, "target_accept", strict=True, maximum=1.0),
        max_tree_depth=_check_depth(max_tree_depth),
    )
    random_state, init = check_seed(random_state), check_start(init)
    nonnegative, progress = check_flag(nonnegative, "nonnegative"), check_flag(progress, "progress")
    check_choice(chain_method, "chain_method", ("sequential", "vectorized", "parallel"))
    hyperpriors, fixed = check_hyperpriors(hyperpriors), check_fixed(fixed, model)
    strategy = _strategy(init, X, nonnegative)
    n_atoms = check_n_atoms(n_atoms, init, fixed)
    warn_if_unbounded(X, n_atoms, mask, fixed)
    (N, P), n_draws, depth = X.shape, num_samples // thinning, tuning["max_tree_depth"]
    nbytes = nuts_nbytes(N, P, n_atoms, n_draws, num_chains, dtype=X.dtype, max_tree_depth=depth)
    check_fits(nbytes, "NUTS with these draws", _REMEDY, limit=max_bytes)
    program = _program(model, X, n_atoms, nonnegative, mask, fixed, hyperpriors)
    with precision_of(X):
        kernel = NUTS(program, init_strategy=strategy, **tuning)
        mcmc = MCMC(kernel, chain_method=chain_method, progress_bar=progress, **counts)
        samples, stats = _run(mcmc, random_state, (*_NOT_KEPT[model], *_directions(fixed), *fixed))
    settings = dict(model=model, nonnegative=nonnegative, n_atoms=n_atoms, fixed=sorted(fixed))
    return NutsDraws(samples, stats, time.perf_counter() - started, random_state, settings | counts | tuning)


def _directions(fixed):
    """The site of which the dictionary is made, where it is sampled."""
    return () if "dictionary" in fixed else ("dictionary_normal",)


def _run(mcmc, random_state, left_out):
    """Draws and statistics (chain, draw, ...) under their names, without some sites."""
    removed = tuple(f"~z.{name}" for name in left_out)
    mcmc.run(random.key(random_state), extra_fields=("potential_energy", *_STATS, *removed))
    samples = {name: np.asarray(value) for name, value in mcmc.get_samples(group_by_chain=True).items()}
    fields = {k: np.asarray(v) for k, v in mcmc.get_extra_fields(group_by_chain=True).items()}
    stats = {_STATS[name]: values for name, values in fields.items() if name in _STATS}
    return samples, stats | {"lp": -fields["potential_energy"]}


def _check_depth(max_tree_depth):
    """A trajectory has two to this power of steps."""
    if check_count(max_tree_depth, "max_tree_depth") > _DEEPEST:
        raise ValueError(f"max_tree_depth must be at most {_DEEPEST}, found {max_tree_depth}")
    return int(max_tree_depth)


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


def _program(model, X, n_atoms, nonnegative, mask, fixed, hyperpriors):
    """Return the program; the rate of activation says nothing where all atoms are active."""
    shared = dict(nonnegative=nonnegative, mask=mask, hyperpriors=hyperpriors, continuous=True, **fixed)
    if model == "laplace":
        return partial(laplace, X, n_atoms, **shared)
    return partial(padl, X, n_atoms, slab="l1linf", activation_rate=0.5, **shared)


def _strategy(init, X, nonnegative):
    if init is None:
        return init_to_uniform
    values = values_at(init, X, nonnegative)
    # Two-sided codes are not on the log scale: their unit is that of the codes.
    unit = 1.0 if nonnegative else np.abs(values["codes"]).mean()
    return partial(_init_near, values=values, units={"codes": unit})


def _init_near(site, values, units):
    """Initialise a site near its value, in unconstrained coordinates, so that chains differ."""
    if site["type"] != "sample" or site["is_observed"]:
        return None
    if site["name"] not in values:
        return init_to_uniform(site)
    bijection = biject_to(site["fn"].support)
    free = bijection.inv(jnp.asarray(values[site["name"]]))
    spread = _JITTER * units.get(site["name"], 1.0)
    return bijection(free + spread * random.normal(site["kwargs"]["rng_key"], free.shape, free.dtype))
