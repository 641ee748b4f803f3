"""Every kind of fit as draws of everything global: a point fit is one draw."""

import json
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from padl_bayes.alignment import align
from padl_bayes.arviz_io import load_arviz
from padl_bayes.estimator import PADL
from padl_bayes.inference._rows import Draws
from padl_bayes.inference.gibbs import GibbsDraws
from padl_bayes.inference.nuts import NutsDraws
from padl_bayes.inference.predictive import draws_of
from padl_bayes.inference.results import EmFit, MapFit
from padl_bayes.inference.svi import SviFit

KINDS = "a fitted PADL, EmFit, MapFit, GibbsDraws, NutsDraws, SviFit, or the ArviZ data of a posterior"
_LEAST_RATE = 1e-6


class View(NamedTuple):
    """What a comparison reads of a fit.

    Attributes
    ----------
    engine : {"EM", "MAP", "Gibbs", "NUTS", "SVI"}
    key : tuple (str, bool)
        Slab and whether codes are nonnegative.
    draws : Draws
        S of them, chains one after the other.
    chains : tuple of int
        Chains and draws of each, whose product is S.
    dictionary : ndarray, shape (K, P)
        Atoms of a point fit, mean directions of those that any draw has active.
    num_active : ndarray, shape (chain, draw)
        Of all draws, not only of those in ``draws``.
    activation_prob, activation_prob_mcse : ndarray, shape (K,), or None
        P(active) of each atom and its Monte-Carlo error; None where the engine holds the number of atoms.
    alpha1 : float or None
        MAP only: weight of the l1 norm, for the mode of the codes.
    seconds : float
    """

    engine: str
    key: tuple[str, bool]
    draws: Draws
    chains: tuple[int, int]
    dictionary: np.ndarray
    num_active: np.ndarray
    activation_prob: np.ndarray | None
    activation_prob_mcse: np.ndarray | None
    alpha1: float | None
    seconds: float


class _Posterior(NamedTuple):
    """Draws by name with what the engine said of itself."""

    engine: str
    samples: dict
    settings: dict
    seconds: float
    alignment: Any = None


def view_of(fit, name, n_draws):
    """Return the `View` of a fit, of at most ``n_draws`` evenly spaced draws (but one a chain at least).

    Raises
    ------
    TypeError, ValueError
        Something else than a fit, an estimator that is not fitted, or draws that lack what a prediction needs.
    """
    if isinstance(fit, PADL):
        if not hasattr(fit, "fit_"):
            raise ValueError(f"{name} is a PADL that is not fitted: call fit(X) first")
        fit = fit.fit_
    if isinstance(fit, EmFit):
        return _of_em(fit)
    if isinstance(fit, MapFit):
        return _of_map(fit)
    return _of_posterior(_as_posterior(fit, name), name, n_draws)


def _point(engine, fit, key, draws, **more):
    rest = dict(activation_prob=None, activation_prob_mcse=None, alpha1=None) | more
    return View(
        engine, key, draws, (1, 1), np.asarray(fit.dictionary, np.float64),
        num_active=np.array([[len(fit.dictionary)]]), seconds=float(fit.wall_time), **rest,
    )  # fmt: skip


def _row(values):
    return np.asarray(values, np.float64)[None]


def _of_em(fit):
    draws = Draws(_row(fit.dictionary), _row(fit.usage), _row(fit.rate), _row(fit.noise_scale))
    odds = np.asarray(fit.activation_log_odds, np.float64)
    return _point("EM", fit, (fit.slab, bool(fit.nonnegative)), draws, activation_prob=expit(odds))


def _of_map(fit):
    """The slab whose mode it is, given the envelopes that it has learned."""
    n_atoms = len(fit.dictionary)
    noise_scale = float(fit.noise_scale)
    envelope = np.abs(np.asarray(fit.codes, np.float64)).max(axis=0) if n_atoms else np.zeros(0)
    rate = np.maximum(fit.alpha[0] / noise_scale**2, _LEAST_RATE / np.maximum(envelope, np.finfo(float).tiny))
    draws = Draws(
        _row(fit.dictionary), np.ones((1, n_atoms)), rate[None], np.array([noise_scale]), envelope[None]
    )
    return _point("MAP", fit, ("l1linf", fit.nonnegative), draws, alpha1=float(fit.alpha[0]))


def _as_posterior(fit, name):
    for kind, engine in ((GibbsDraws, "Gibbs"), (NutsDraws, "NUTS"), (SviFit, "SVI")):
        if isinstance(fit, kind):
            alignment = getattr(fit, "alignment", None)
            return _Posterior(engine, fit.samples, fit.settings, fit.wall_time, alignment)
    try:
        posterior = fit["posterior"]
        samples = {str(key): np.asarray(posterior[key].values) for key in posterior.data_vars}
    except (TypeError, KeyError, IndexError, AttributeError):
        raise TypeError(f"{name} must be {KINDS}, found {type(fit).__name__}") from None
    return _of_arviz(fit, samples)


def _of_arviz(data, samples):
    settings = {}
    for key in ("slab", "model", "nonnegative", "fixed"):
        value = data.attrs.get(key)
        settings[key] = value if value is None or key in ("slab", "model") else json.loads(value)
    engine = "Gibbs"
    if settings["model"] is not None:
        engine = "NUTS" if "target_accept_prob" in data.attrs else "SVI"
    elif settings["slab"] is None and "envelope" in samples:
        settings["slab"] = "l1linf"
    return _Posterior(engine, samples, settings, float(data.attrs.get("wall_time", np.nan)))


def _named(found, name):
    """Slab, and the samples under the names that the two-level slabs and l1linf have."""
    samples, model = dict(found.samples), found.settings.get("model")
    if "dictionary" in (found.settings.get("fixed") or ()) and found.alignment is not None:
        shape = np.shape(samples["noise_scale"])
        known = found.alignment.reference
        samples.setdefault("dictionary", np.broadcast_to(known, (*shape, *known.shape)))
    if "dictionary" not in samples:
        raise ValueError(f"{name} holds no draws of the dictionary, found {sorted(samples)}")
    if model == "laplace":
        per_atom = np.shape(samples["dictionary"])[:3]
        samples["usage"] = np.ones(per_atom)
        if "rate" in samples:
            samples["rate"] = np.broadcast_to(np.asarray(samples["rate"])[..., None], per_atom)
    slab = "bernoulli_laplace" if model == "laplace" else model or found.settings.get("slab")
    if slab is None:
        raise ValueError(f"{name} does not say its slab: pass attrs=dict(slab=...) to to_arviz")
    return slab, samples


def _of_posterior(found, name, n_draws):
    slab, samples = _named(found, name)
    nonnegative = bool(found.settings.get("nonnegative"))
    n_chains, length = np.shape(samples["dictionary"])[:2]
    kept = np.unique(np.linspace(0, length - 1, min(length, -(-n_draws // n_chains))).round().astype(int))
    some = {key: np.asarray(values)[:, kept] for key, values in samples.items() if key != "codes"}
    try:
        chains, draws = draws_of(some, slab, 1)
    except ValueError as error:
        raise ValueError(f"{name} cannot predict, a site that was fixed has no draws: {error}") from None
    if "active" in samples and "activation_prob" in samples:
        num_active = np.asarray(samples["active"]).sum(axis=-1)
    else:
        num_active = np.full((n_chains, length), draws.dictionary.shape[1])
    dictionary, probability, mcse = _atoms(found, samples, some, kept, nonnegative)
    return View(
        found.engine, (slab, nonnegative), draws, chains, dictionary, num_active, probability, mcse, None,
        float(found.seconds),
    )  # fmt: skip


def _atoms(found, samples, some, kept, nonnegative):
    """Mean directions of the atoms in common labels, their P(active) and its error."""
    atoms, active = some["dictionary"], some.get("active", np.ones(some["dictionary"].shape[:3]))
    aligned = found.alignment
    if aligned is not None:
        full = aligned.apply(samples["active"]) if "active" in samples else None
        atoms = aligned.dictionary[:, kept]
        active = active if full is None else full[:, kept]
    elif found.engine in ("NUTS", "SVI"):
        atoms = align(atoms, flip=not nonnegative).dictionary
    total = np.einsum("cdk,cdkp->kp", active, atoms).astype(np.float64)
    norm = np.linalg.norm(total, axis=1)
    ever = norm > 0
    directions = total[ever] / norm[ever, None]
    if "activation_prob" not in samples:
        return directions, None, None
    values = samples["activation_prob"] if aligned is None else aligned.apply(samples["activation_prob"])
    values = np.asarray(values, np.float64)[..., ever]
    error = np.array([_mcse(values[..., k]) for k in range(values.shape[-1])])
    return directions, values.mean(axis=(0, 1)), error


def _mcse(values):
    """Monte-Carlo error of the mean of draws (chain, draw)."""
    if np.ptp(values) == 0:
        return 0.0
    return effective_error(values)


def effective_error(values):
    """sd / sqrt(effective draws) of draws (chain, draw); of independent draws where they are too few to tell."""
    n_draws = values.size
    if n_draws < 2:
        return 0.0
    ess = float(load_arviz().ess(values)) if values.shape[1] >= 4 else n_draws
    ess = ess if np.isfinite(ess) and ess > 0 else n_draws
    return float(values.std(ddof=1) / np.sqrt(ess))
