r"""Hyperparameters that maximise the marginal likelihood, by stochastic-approximation EM around the Gibbs sampler.

Everything but the hyperparameters :math:`\eta` is latent: dictionary, codes, which atoms are active, envelopes. The
complete-data density is an exponential family in the statistics S, so that an iteration is

1. a few Gibbs sweeps at the current :math:`\eta` (`padl_bayes.inference.gibbs`, whose stationary law is the posterior);
2. :math:`S \leftarrow S + \gamma_m (S(\text{draw}) - S)`, with :math:`\gamma_m = 1` in the burn-in and a power of
   :math:`1/m` after it;
3. :math:`\eta` that maximises the complete-data likelihood at S: closed forms, and for the two rates of the l1 + l_inf
   slab a root in their ratio.

Maximising over codes and rates together instead is degenerate: the codes go to zero and the rates to infinity.

References: Delyon, Lavielle, Moulines, Annals of Statistics 27(1), 1999, for convergence; Polyak, Juditsky, SIAM
Journal on Control and Optimization 30(4), 1992, for steps that fall more slowly than 1/m and the average of what they
give.
"""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, expit, logit

from padl_bayes._options import check_flag, check_seed
from padl_bayes._precision import precision_of
from padl_bayes._validation import check_choice, check_count, check_scalar, check_training_data
from padl_bayes.inference.gibbs.chains import Chains, advance
from padl_bayes.inference.gibbs.checks import check_fixed, check_n_atoms
from padl_bayes.inference.gibbs.kernel import Gibbs
from padl_bayes.inference.gibbs.start import start_of
from padl_bayes.inference.results import SaemFit
from padl_bayes.kernels.slabs import SLABS
from padl_bayes.progress import draw_progress

SHARES = ("activation_rate", "usage")
NAMES = {
    "l1linf": ("activation_rate", "rate_l1", "rate_linf", "noise_scale"),
    "bernoulli_laplace": ("activation_rate", "usage", "rate", "noise_scale"),
    "bernoulli_gaussian": ("activation_rate", "usage", "rate", "noise_scale"),
}
# Beyond, the l1 + l_inf slab is one of its two limits for all that data can tell.
LEAST_RATIO, MOST_RATIO = 1e-3, 1e3


class Statistics(NamedTuple):
    """What the complete-data likelihood depends on, means over draws."""

    active: Any
    """Active atoms."""
    largest: Any
    """ of ``||r_k||_inf`` with the l1 + l_inf slab."""
    size: Any
    """Sum of the slab's statistic over the codes."""
    residual: Any
    """``||X - R D||^2`` over the observed entries."""


class _Model(NamedTuple):
    """What an M-step has to know."""

    slab: str
    nonnegative: bool
    n_samples: int
    n_atoms: int
    n_entries: int
    """Observed ones."""


def _statistics(model, data, z):
    """`Statistics` of the sites of one draw."""
    codes, dictionary = z["codes"], z.get("dictionary", data.fixed.get("dictionary"))
    residual = data.X - codes @ dictionary
    residual = residual if data.mask is None else jnp.where(data.mask, residual, 0)
    if model.slab == "l1linf":
        magnitude = jnp.abs(codes)
        used, size = jnp.sum(jnp.max(magnitude, axis=0)), jnp.sum(magnitude)
    else:
        on = codes != 0
        law = SLABS[model.slab, model.nonnegative]
        used, size = jnp.sum(on, dtype=codes.dtype), jnp.sum(jnp.where(on, law.size(codes), 0))
    return Statistics(jnp.sum(z["active"], dtype=codes.dtype), used, size, jnp.sum(residual**2))


_chain_statistics = jax.jit(jax.vmap(_statistics, (None, None, 0)), static_argnums=0)


def slab_rates(l1, linf, n):
    """Rates of the l1 + l_inf slab that are most likely given mean norms of vectors of n codes.

    With ``rho = rate_linf / rate_l1`` the best ``rate_l1`` is ``n / (l1 + rho linf)``; what is left is a function of
    rho alone with one maximum, where ``E ||r||_inf`` is ``linf``. Rho is kept between a thousandth and a thousand n.

    Parameters
    ----------
    l1, linf : float
        Means of ``||r||_1`` and ``||r||_inf``.
    n : int

    Returns
    -------
    rate_l1, rate_linf : float
    """

    def excess(log_ratio):
        ratio = np.exp(log_ratio)
        return n * linf / (l1 + ratio * linf) - (digamma(n + ratio + 1) - digamma(ratio + 1))

    ends = np.log([LEAST_RATIO, MOST_RATIO * n])
    low, high = excess(ends[0]), excess(ends[1])
    inside = low < 0 < high
    best = brentq(excess, *ends, xtol=1e-10) if inside else ends[int(low < 0)]
    ratio = np.exp(best)
    rate_l1 = n / (l1 + ratio * linf)
    return float(rate_l1), float(ratio * rate_l1)


def maximise(model, statistics, before):
    """Hyperparameters that are most likely given complete data of these statistics; ``before`` where they say nothing.

    Parameters
    ----------
    model : _Model
    statistics : Statistics
    before : dict

    Returns
    -------
    dict
    """
    active, used, size, residual = (float(value) for value in statistics)
    # An atom more or less than all can always be imagined: rates of zero and one would never be left.
    edge = 0.25 / model.n_atoms
    found = {"activation_rate": float(np.clip(active / model.n_atoms, edge, 1 - edge))}
    found["noise_scale"] = float(np.sqrt(max(residual, np.finfo(np.float64).tiny) / model.n_entries))
    if active > 0 and size > 0:
        if model.slab == "l1linf":
            rates = slab_rates(size / active, used / active, model.n_samples)
            found |= dict(zip(("rate_l1", "rate_linf"), rates, strict=True))
        else:
            places = active * model.n_samples
            law = SLABS[model.slab, model.nonnegative]
            found["usage"] = float(np.clip(used / places, 0.25 / places, 1 - 0.25 / places))
            found["rate"] = law.shape * used / size
    return before | found


def _first_guess(model, X, start):
    """Hyperparameters to begin with: of the codes that chains start from, or of the data's scale."""
    scale = float(np.sqrt(np.mean(np.square(X, dtype=np.float64))))
    guess = {"activation_rate": 0.5, "noise_scale": 0.5 * scale}
    if model.slab == "l1linf":
        guess |= {"rate_l1": 1 / scale, "rate_linf": model.n_samples / scale}
    else:
        guess |= {"usage": 0.2, "rate": 1 / scale**2 if model.slab == "bernoulli_gaussian" else 1 / scale}
    return guess if start is None else guess | {"noise_scale": float(start["noise_scale"])}


def _step(m, n_burn_in, power):
    return 1.0 if m <= n_burn_in else float((m - n_burn_in) ** -power)


def _average(table, name):
    """Mean of positive numbers on the logarithm, of probabilities on their log odds."""
    return float(expit(logit(table).mean()) if name in SHARES else np.exp(np.log(table).mean()))


def _drift(history, n_burn_in):
    """Largest relative difference between the averages of the two halves after the burn-in."""
    halves = []
    for table in history.values():
        kept = table[n_burn_in:]
        one, other = kept[: len(kept) // 2].mean(), kept[len(kept) // 2 :].mean()
        halves.append(abs(one - other) / max(one, other))
    return max(halves, default=0.0)


def _package(model, settings, history, steps, states, data, given):
    """`SaemFit` with the first chain's last draw."""
    n_burn_in = settings["n_burn_in"]
    found = {name: _average(table[n_burn_in:], name) for name, table in history.items()}
    z = {name: np.asarray(value)[0] for name, value in jax.device_get(states.z).items()}
    on = z["active"] == 1
    dictionary = z["dictionary"] if "dictionary" in z else np.asarray(data.fixed["dictionary"])
    drift = _drift(history, n_burn_in)
    kept = len(steps) - n_burn_in
    return SaemFit(
        hyperparameters={name: found.get(name, given.get(name)) for name in NAMES[model.slab]},
        history=history, steps=np.array(steps), dictionary=dictionary[on], codes=z["codes"][:, on],
        num_active=np.asarray(states.z["active"]).sum(axis=-1), slab=model.slab, nonnegative=model.nonnegative,
        status=f"averaged over {kept} iterations, whose halves differ by at most {drift:.1%}", wall_time=0.0,
    )  # fmt: skip


def _iterate(model, settings, kernel, data, states, values, free, watch):
    """Burn-in and decreasing steps; returns the states, what each iteration gave and its step."""
    history: dict = {name: [] for name in free}
    averaged, steps = None, []
    for m in range(1, settings["n_burn_in"] + settings["n_iter"] + 1):
        fixed = data.fixed | {name: jnp.asarray(values[name], data.X.dtype) for name in free}
        for name in {"usage", "rate"} & set(free):
            fixed[name] = jnp.broadcast_to(fixed[name], (model.n_atoms,))
        data = data._replace(fixed=fixed)
        states = advance(kernel.config, data, states, settings["n_sweeps"])
        of_chains = jax.device_get(_chain_statistics(model, data, states.z))
        drawn = Statistics(*(np.mean(table, dtype=np.float64) for table in of_chains))
        step = _step(m, settings["n_burn_in"], settings["power"])
        averaged = drawn if averaged is None else Statistics(
            *(old + step * (new - old) for old, new in zip(averaged, drawn, strict=True))
        )  # fmt: skip
        best = maximise(model, averaged, values)
        values = values | {name: best[name] for name in free}
        for name in free:
            history[name].append(values[name])
        steps.append(step)
        watch(settings["n_sweeps"], "burn-in" if step == 1 else "averaging", states)
    return states, {name: np.array(table) for name, table in history.items()}, steps


def fit_saem(
    X,
    n_atoms=None,
    *,
    slab="bernoulli_laplace",
    nonnegative=False,
    init=None,
    mask=None,
    fixed=None,
    n_burn_in=200,
    n_iter=300,
    n_sweeps=2,
    power=2 / 3,
    num_chains=4,
    random_state=0,
    progress=False,
):
    """Estimate the hyperparameters of `models.padl` by maximum marginal likelihood.

    Dictionary, codes and which atoms are active are integrated out by the Gibbs sampler. The hyperparameters are
    ``activation_rate`` and ``noise_scale`` and, shared by all atoms, ``usage`` and ``rate`` of a two-level slab or
    ``rate_l1`` and ``rate_linf``.

    Parameters
    ----------
    X : array_like, shape (N, P)
        float64 data are sampled in double precision.
    n_atoms : int, optional
        Upper bound K on the number of atoms; not needed with a fixed dictionary or ``init``.
    slab : {"bernoulli_laplace", "bernoulli_gaussian", "l1linf"}
    nonnegative : bool
    init : object, optional
        A fit that all chains start from, with attributes dictionary, codes and noise_scale. Without it they start at
        random, and the first half of the burn-in is annealed as in `sample_gibbs`.
    mask : array_like of bool, shape (N, P), optional
        True where an entry was observed.
    fixed : mapping of str to array_like, optional
        The dictionary, or hyperparameters (scalars), that are known.
    n_burn_in, n_iter : int
        Iterations whose statistics are replaced, and iterations whose statistics are averaged.
    n_sweeps : int
        Gibbs sweeps an iteration.
    power : float
        The m-th step after the burn-in is ``m ** -power``; above 1/2, at most 1.
    num_chains : int
        Chains that share the hyperparameters, and whose statistics are averaged.
    random_state : int
    progress : bool
        Show a progress bar.

    Returns
    -------
    SaemFit
        ``sample_gibbs(X, n_atoms, slab=slab, fixed=fit.hyperparameters)`` draws from the posterior at the estimate.

    Raises
    ------
    TypeError, ValueError
        Bad input; ``fixed`` leaves nothing to estimate, or gives each atom a value of its own.

    Notes
    -----
    What is returned is the average over the iterations after the burn-in, positive numbers on the logarithm. An
    activation rate is kept a quarter of an atom away from 0 and 1, and ``rate_linf / rate_l1`` between 1e-3 and 1e3 N:
    codes with tails heavier than exponential have the first of these for their best.
    """
    started = time.perf_counter()
    X, mask = check_training_data(X, mask)
    check_choice(slab, "slab", tuple(NAMES))
    nonnegative, progress = check_flag(nonnegative, "nonnegative"), check_flag(progress, "progress")
    fixed = check_fixed(fixed, X)
    free = _free(fixed, slab)
    start = None if init is None else start_of(init, X, slab)
    n_atoms = check_n_atoms(n_atoms, start, fixed)
    settings = {
        "n_burn_in": check_count(n_burn_in, "n_burn_in", minimum=0), "n_iter": check_count(n_iter, "n_iter"),
        "n_sweeps": check_count(n_sweeps, "n_sweeps"),
        "power": check_scalar(power, "power", minimum=0.5, maximum=1, strict=True),
    }  # fmt: skip
    n_entries = X.size if mask is None else int(mask.sum())
    model = _Model(slab, nonnegative, len(X), n_atoms, n_entries)
    values = _first_guess(model, X, start) | {name: fixed[name] for name in fixed if name != "dictionary"}
    # Rates of 0 and 1 are compiled in; what is estimated is neither.
    kernel = Gibbs(n_atoms, slab=slab, nonnegative=nonnegative, fixed=fixed | values)
    total = settings["n_sweeps"] * (settings["n_burn_in"] + settings["n_iter"])
    with precision_of(X), draw_progress(progress, total) as watch:
        n_anneal = kernel.n_anneal(settings["n_sweeps"] * settings["n_burn_in"], start)
        chains = Chains(kernel, X, mask, check_count(num_chains, "num_chains"), watch, n_anneal=n_anneal)
        states = chains.start(check_seed(random_state), start)
        states, history, steps = _iterate(model, settings, kernel, chains.data, states, values, free, watch)
        fit = _package(model, settings, history, steps, states, chains.data, values)
    return fit._replace(wall_time=time.perf_counter() - started)


def _free(fixed, slab):
    """Names of what is estimated."""
    for name, value in fixed.items():
        if name != "dictionary":
            check_choice(name, "fixed", NAMES[slab])
            check_scalar(value, f"fixed[{name!r}]")
    free = tuple(name for name in NAMES[slab] if name not in fixed)
    if not free:
        raise ValueError(
            f"fixed must leave a hyperparameter to estimate, found all of {', '.join(NAMES[slab])}"
        )
    return free
