"""When a result deserves a warning, and what to do about it."""

import numpy as np

from ._arviz import load_arviz
from .exceptions import (
    AtomBoundWarning,
    ConvergenceWarning,
    EnvelopeWarning,
    MixingWarning,
    PrecisionWarning,
    warn,
)

MOST_RHAT = 1.05
MOST_AT_BOUND = 0.05
FEWEST_CLIPPED = 10
ROUNDING = 1e-13
WATCHED = ("num_active", "noise_scale", "lp")


def warn_of_fit(fit, n_atoms, *, gap_tol, counts_atoms):
    """Warn of a fit that stopped early, whose codes are not certified, or that uses all atoms allowed.

    Parameters
    ----------
    fit : EmFit or MapFit
    n_atoms : int
        Upper bound that was given.
    gap_tol : float
        Relative duality gap that was asked of the codes of "map".
    counts_atoms : bool
        Whether the fit chose how many atoms there are; weights that were given choose instead of it.
    """
    if not fit.status.startswith("converged"):
        warn(f"PADL.fit: {fit.status}", ConvergenceWarning)
        return
    if getattr(fit, "gap", 0.0) > gap_tol:
        warn(
            f"PADL.fit: the codes have a relative duality gap of {fit.gap:.2g}, asked was {gap_tol:.2g}: "
            "pass float64 data, or larger alpha",
            ConvergenceWarning,
        )
    if "floor of float32" in fit.status:
        warn(f"PADL.fit: {fit.status}", PrecisionWarning)
    if counts_atoms and len(fit.dictionary) >= n_atoms:
        if "at the floor of" in fit.status:
            remedy = "they explain the data without noise: lower n_atoms, or add samples"
        elif hasattr(fit, "elbo"):
            remedy = "the data may want more: raise n_atoms"
        else:  # weights from noise keep whatever heavy-tailed codes can be shared with, however many are allowed
            remedy = "the data may want more: raise n_atoms, or count atoms by alpha='mdl'"
        warn(f"PADL.fit: all n_atoms={n_atoms} atoms are in use, and {remedy}", AtomBoundWarning)


def warn_of_gap(found, tol, dtype):
    """Warn of a `SparseCode` whose gap is above ``tol``; a ``tol`` of zero asks for all sweeps, and for no gap."""
    if found.gap <= tol or tol == 0 or found.status.startswith("converged"):
        return
    if not found.status.startswith("stalled") and found.gap > ROUNDING:
        warn(f"sparse_code: {found.status}: raise max_iter", ConvergenceWarning)
    elif dtype == np.float32:
        warn(f"sparse_code: {found.status}: pass float64 data, or raise tol", PrecisionWarning)
    else:
        warn(f"sparse_code: {found.status}: raise tol", ConvergenceWarning)


def _clipped(codes, envelope):
    """How many codes are at the envelopes, and how many are nonzero."""
    at_bound = np.isclose(np.abs(codes), envelope, rtol=1e-5) & (codes != 0)
    return int(at_bound.sum()), int(np.count_nonzero(codes))


def warn_of_clipped_codes(codes, envelope, training_codes):
    """Warn where most new codes are clipped at the training envelopes, and training ones were not.

    Parameters
    ----------
    codes : ndarray, shape (N, K)
    envelope : ndarray, shape (K,)
    training_codes : ndarray, shape (N_train, K)
    """
    count, total = _clipped(codes, envelope)
    before = np.divide(*_clipped(training_codes, envelope)) if training_codes.any() else 0.0
    if count >= FEWEST_CLIPPED and count / total > 0.5 * (1 + before):
        warn(
            f"PADL.transform: {count / total:.0%} of the nonzero codes are clipped at the largest training code of "
            f"their atom, {before:.0%} were in training: X has another scale than the training data; rescale it, or "
            "fit again with such samples",
            EnvelopeWarning,
        )


def rhat_of(values):
    """R-hat of draws (chain, draw): 1 where all are the same, inf where chains stand still apart."""
    values = np.asarray(values, np.float64)
    if np.ptp(values) == 0:
        return 1.0
    if np.ptp(values, axis=1).max() == 0:
        return np.inf
    # two values in equal numbers are as far from their median: the folded draws are constant
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(load_arviz().rhat(values))


def warn_of_chains(draws, n_atoms):
    """Warn of chains that do not agree, that diverged, or that push against the bound on the atoms.

    Parameters
    ----------
    draws : GibbsDraws or NutsDraws
    n_atoms : int
        Upper bound that was given.
    """
    kept = draws.samples | draws.sample_stats
    watched = {name: np.asarray(kept[name]) for name in WATCHED if name in kept}
    if min(min(values.shape) for values in watched.values()) >= 2:
        rhats = {name: rhat_of(values) for name, values in watched.items()}
        worst = max(rhats, key=lambda name: rhats[name])
        if rhats[worst] > MOST_RHAT:
            warn(
                f"sample_posterior: R-hat of {worst} is {rhats[worst]:.3g}, above {MOST_RHAT}: the chains do not agree "
                "yet; raise num_warmup and num_samples",
                MixingWarning,
            )
    diverged = int(np.sum(kept.get("diverging", 0)))
    if diverged:
        warn(
            f"sample_posterior: {diverged} transitions of NUTS diverged: call inference.sample_nuts with target_accept "
            "nearer 1",
            MixingWarning,
        )
    if "active" in kept and np.mean(kept["num_active"] >= n_atoms) > MOST_AT_BOUND:
        warn(
            f"sample_posterior: all n_atoms={n_atoms} atoms are active in many draws, and the data may want more: "
            "raise n_atoms",
            AtomBoundWarning,
        )
