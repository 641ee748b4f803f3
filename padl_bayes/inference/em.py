"""Variational EM with evidence-based activation: the default fit. No hyperparameter is tuned.

The noise is annealed from the level of the data down to its estimate while more atoms than asked for are active, so
that every true atom is found by some; then atoms are deleted while the evidence rises (`padl_bayes.inference.moves`),
the codes are melted and cooled again, with and without births, until that brings nothing, and passes run until the
bound stands still. Last, the noise is estimated with codes and directions integrated out
(`padl_bayes.inference.noise`).
"""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._devices import gathered, mesh_of, mesh_over, zeros
from .._options import check_atoms_fit, check_callback, check_flag, check_seed
from .._precision import precision_of
from .._validation import check_choice, check_count, check_scalar, check_training_data
from ..kernels.code_sweep import Atoms
from ..kernels.slabs import SLABS
from . import moves
from .noise import noise_scale_of
from .recoding import TRANSFORM_SWEEPS, Coded, recode_all
from .results import EmFit
from .variational import PASSES, State, atoms_of, make_problem, padded_atoms, precision_ceiling, untile_rows

ANNEALING_RATIO = 2**0.5
SPARE_ATOMS = 64
MOST_ROUNDS = 8
WORTHWHILE = 1.0


class History:
    """Trace of a run: one entry per pass. Called with every chunk of passes."""

    def __init__(self, max_iter, callback=None):
        self.max_iter, self.callback = max_iter, callback
        self.elbo, self.noise_scale, self.n_active, self.stage = [], [], [], []

    def __call__(self, stage, trace, state):
        elbo = np.asarray(trace.elbo, np.float64)
        n_active = len(moves.active_of(state))
        self.elbo.extend(elbo)
        self.noise_scale.extend(np.asarray(trace.precision, np.float64) ** -0.5)
        self.n_active.extend([n_active] * len(elbo))
        self.stage.extend([stage] * len(elbo))
        if self.callback is not None:
            self.callback(stage, len(self.elbo), float(elbo[-1]), self.noise_scale[-1], n_active)

    @property
    def exhausted(self):
        """Whether the budget of passes is spent."""
        return len(self.elbo) >= self.max_iter

    def as_arrays(self):
        """The trace as a dictionary of arrays."""
        names = ("elbo", "noise_scale", "n_active", "stage")
        return {name: np.asarray(getattr(self, name)) for name in names}


class Outcome(NamedTuple):
    """Where the passes ended: the fit, whether the bound stood still, and why they stopped."""

    fit: moves.Fit
    converged: bool
    status: str


def initial_state(slab, problem, X, n_atoms, rng):
    """Atoms along randomly chosen samples, codes zero, all of the data noise.

    Starting on samples rather than on random directions makes the fit follow a rotation or reflection of the data.
    """
    dtype = X.dtype
    n_samples = len(X)
    padded = padded_atoms(n_atoms)
    norms = np.linalg.norm(X, axis=1)
    usable = np.flatnonzero(norms > 1e-6 * norms.max())
    chosen = rng.choice(usable, padded, replace=len(usable) < padded)
    power = np.mean(norms.astype(np.float64) ** 2)
    per_atom = power / 3

    def full(value):
        return jnp.full(padded, value, dtype)

    rate = per_atom**-0.5 if SLABS[slab].shape == 1 else 1 / per_atom
    active = jnp.asarray(np.arange(padded) < n_atoms, dtype)
    dictionary = jnp.asarray(X[chosen] / norms[chosen, None], dtype)
    atoms = Atoms(dictionary, full(-2.0), full(rate), active)
    codes = zeros(mesh_of(problem.x), (problem.x.shape[0], padded, problem.x.shape[2]), dtype)
    return State(codes, atoms, full(n_samples * power / n_atoms), problem.hot)


def anneal(settings, problem, state):
    """Raise the cap on the noise precision until it no longer binds."""
    cap = float(problem.hot)
    while True:
        fit = moves.run(settings, problem, state, chunks=1, stage="anneal", cap=cap)
        state = fit.state
        if float(state.precision) < 0.99 * cap or settings.report.exhausted:
            return fit
        cap *= ANNEALING_RATIO


def _improve(settings, problem, fit, rng):
    """Melt and cool, in turn without and with births, until both have brought nothing."""
    stale = 0
    for turn in range(MOST_ROUNDS):
        n_active = len(moves.active_of(fit.state))
        if stale == 2 or n_active == 0 or settings.report.exhausted:
            break
        births = 0 if turn % 2 == 0 else moves.birth_count(n_active)
        new = moves.reheat(settings, problem, fit, rng, births)
        stale = 0 if new.evidence > fit.evidence + WORTHWHILE else stale + 1
        fit = new
    return fit


def _noise_floor(problem, state):
    """What to say of noise too small for the arithmetic."""
    if float(state.precision) < 0.99 * precision_ceiling(problem):
        return ""
    remedy = "" if problem.x.dtype == np.float64 else ": centre the data or pass float64"
    return f"; the noise is at the floor of {problem.x.dtype}{remedy}"


def _settle(settings, problem, fit, tol):
    """Passes until the bound rises by less than ``tol`` nats per observed entry and pass, or than rounding."""
    cut_short = settings.report.exhausted
    rounding = 8 * float(jnp.finfo(problem.x.dtype).eps)
    while True:
        before = fit.elbo
        fit = moves.run(settings, problem, fit.state, chunks=1, stage="settle")
        small = PASSES * tol * float(problem.n_observed) + rounding * abs(fit.elbo)
        floor = _noise_floor(problem, fit.state)
        # There the rounding of the residuals is no longer small beside the noise.
        small += 1e-3 * abs(fit.elbo) if floor else 0
        if abs(fit.elbo - before) < small and not cut_short:
            status = f"converged: the bound rose by less than {tol:g} nats per entry and pass"
            return Outcome(fit, True, status + floor)
        if settings.report.exhausted:
            spent = len(settings.report.elbo)
            reason = "before the moves were done" if cut_short else "the bound still moving"
            limit = settings.report.max_iter
            status = f"stopped at max_iter={limit}, after {spent} passes, {reason}: raise max_iter"
            return Outcome(fit, False, status)


def discover(settings, problem, state, rng):
    """Anneal, and delete atoms as long as the evidence rises."""
    fit = anneal(settings, problem, state)
    fit = moves.run(settings, problem, fit.state, chunks=moves.REFIT_CHUNKS, stage="anneal")
    return moves.refresh(settings, problem, moves.prune(settings, problem, fit, rng), rng)


def refine(settings, problem, fit, n_atoms, tol, rng):
    """Melt and cool until that brings nothing, keep ``n_atoms`` at most, and pass until the bound stands still."""
    fit = _improve(settings, problem, fit, rng)
    fit = moves.limit(settings, problem, fit, rng, n_atoms)
    return _settle(settings, problem, fit, tol)


def _log_odds(settings, problem, fit, coded, n_atoms, rng):
    """Log prior odds of activation plus the evidence that deleting each atom would lose (K,), and the rate."""
    state = fit.state._replace(codes=coded.codes)
    gains = moves.deletion_gains(settings, problem, state, coded, rng, most=256)
    n_active = len(moves.active_of(state))
    rate = (n_active + 1) / (n_atoms + 2)
    return np.log(rate) - np.log1p(-rate) - gains, rate


def _noise_scale(settings, problem, state, rng):
    """The last estimate of the noise; that of the passes where nothing depends on the codes, or rounding rules."""
    if _noise_floor(problem, state) or not len(moves.active_of(state)):
        return float(state.precision) ** -0.5
    return noise_scale_of(settings.slab, problem, state, jax.random.key(int(rng.integers(2**31))))


def _package(settings, problem, outcome, n_samples, n_atoms, rng):
    """Everything about the active atoms, most energy first, as NumPy arrays."""
    fit = outcome.fit
    atoms = fit.state.atoms
    coded = recode_all(settings.slab, problem, fit.state)
    log_odds, activation_rate = _log_odds(settings, problem, fit, coded, n_atoms, rng)
    active = moves.active_of(fit.state)
    square = untile_rows(coded.square, n_samples)[:, active]
    order = np.argsort(-square.sum(axis=0), kind="stable")
    kept = active[order]
    codes = untile_rows(coded.codes, n_samples)[:, kept]
    usage_logit = np.asarray(atoms.usage_logit)[kept]
    return {
        "dictionary": np.asarray(atoms.dictionary)[kept],
        "codes": codes,
        "probability": untile_rows(coded.probability, n_samples)[:, kept],
        "code_sd": np.sqrt(np.maximum(square[:, order] - codes**2, 0)),
        "usage": 1 / (1 + np.exp(-usage_logit)),
        "rate": np.asarray(atoms.rate)[kept],
        "activation_log_odds": log_odds[kept],
        "activation_rate": activation_rate,
        "noise_scale": _noise_scale(settings, problem, fit.state, rng),
        "coding_noise_scale": float(fit.state.precision) ** -0.5,
        "elbo": fit.elbo,
        "evidence": fit.evidence,
        "data_scale": float(problem.hot) ** -0.5,
        "n_atoms": n_atoms,
    }


def fit_em(
    X: Any,
    n_atoms: int,
    *,
    slab: str = "bernoulli_laplace",
    nonnegative: bool = False,
    mask: Any = None,
    max_iter: int = 5000,
    tol: float = 1e-6,
    random_state: int = 0,
    devices: Any = None,
    callback: Any = None,
) -> EmFit:
    """Fit a dictionary, its size and all hyperparameters by variational EM with evidence-based activation.

    Parameters
    ----------
    X : array_like, shape (N, P)
        Data, one sample a row; used as given (not centred). float32 is computed in float32, all else in float64.
    n_atoms : int
        Upper bound on the number of atoms; unneeded ones are switched off.
    slab : {"bernoulli_laplace", "bernoulli_gaussian"}
        Prior of a code that is used.
    nonnegative : bool
        Codes of one sign only. The dictionary stays free.
    mask : array_like of bool, shape (N, P), optional
        True where ``X`` was observed; entries elsewhere are ignored and may be NaN.
    max_iter : int
        Budget of passes over the data, moves included; the last estimate of the noise is not.
    tol : float
        Passes end when the bound rises by less, in nats per observed entry and pass.
    random_state : int
        Seed; a fit is a function of the data and the seed, and not, but for rounding, of the number of devices.
    devices : "all", int or sequence of Device, optional
        Samples are divided over them (a number: the first ones); sums that meet are sized by atoms. Under
        `jax.distributed` every process makes the same call, with devices of all, and returns the same fit. JAX's
        default device if not given.
    callback : callable, optional
        Called every few passes as ``callback(stage, n_iter, elbo, noise_scale, n_active)``.

    Returns
    -------
    EmFit

    Raises
    ------
    TypeError, ValueError
        Data or settings that cannot be used; the message says which and why.
    """
    start = time.perf_counter()
    X, mask = check_training_data(X, mask)
    n_atoms = check_count(n_atoms, "n_atoms")
    check_choice(slab, "slab", sorted({name for name, _ in SLABS}))
    tol = check_scalar(tol, "tol")
    history = History(check_count(max_iter, "max_iter"), check_callback(callback))
    rng = np.random.default_rng(check_seed(random_state))
    key, mesh = (slab, check_flag(nonnegative, "nonnegative")), mesh_over(devices)
    check_atoms_fit(X.shape, n_atoms, X.dtype)
    working = min(n_atoms + min(n_atoms, SPARE_ATOMS), max(len(X), n_atoms))
    with precision_of(X):
        problem = make_problem(X, mask, slab=slab, mesh=mesh)
        settings = moves.Settings(key, working, history)
        state = initial_state(key, problem, X, working, rng)
        fit = discover(settings, problem, state, rng)
        outcome = refine(settings, problem, fit, n_atoms, tol, rng)
        result = _package(settings, problem, outcome, len(X), n_atoms, rng)
    return EmFit(
        **result,
        slab=slab,
        nonnegative=key[1],
        history=history.as_arrays(),
        n_iter=len(history.elbo),
        converged=outcome.converged,
        status=outcome.status,
        wall_time=time.perf_counter() - start,
    )


def code_em(X, fit, *, mask=None, devices=None):
    """Posterior of the codes of new samples given everything global in a fit.

    Parameters
    ----------
    X : ndarray, shape (N, P)
        Of the same precision as the fit's dictionary; zero outside ``mask``.
    fit : EmFit
    mask : ndarray of bool, shape (N, P), optional
    devices : "all", int or sequence of Device, optional
        As in `fit_em`.

    Returns
    -------
    Coded
        NumPy arrays, samples first: E r, P(used), E r^2 (N, K_active), and each sample's share (N,) of the evidence
        lower bound, a lower bound of its log predictive density, both at ``fit.coding_noise_scale``.
    """
    n_samples, n_active = len(X), len(fit.dictionary)
    dtype, mesh = X.dtype, mesh_over(devices)
    with precision_of(X):
        problem = make_problem(X, mask, slab=fit.slab, mesh=mesh)
        atoms = atoms_of(fit, dtype)
        hot, precision = (jnp.asarray(scale**-2, dtype) for scale in (fit.data_scale, fit.coding_noise_scale))
        padded = len(atoms.rate)
        codes = zeros(mesh, (problem.x.shape[0], padded, problem.x.shape[2]), dtype)
        state = State(codes, atoms, jnp.zeros(padded, dtype), precision)
        problem = problem._replace(hot=hot)
        coded = recode_all((fit.slab, fit.nonnegative), problem, state, settle=TRANSFORM_SWEEPS)
        tables = (coded.codes, coded.probability, coded.square)
        codes, probability, square = (untile_rows(table, n_samples)[:, :n_active] for table in tables)
        bound = gathered(coded.bound).reshape(-1)[:n_samples]
    observed = X.shape[1] if mask is None else mask.sum(axis=1)
    return Coded(
        codes, probability, square, bound - 0.5 * observed * np.log(2 * np.pi * fit.coding_noise_scale**2)
    )
