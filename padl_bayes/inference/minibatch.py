"""Variational EM over mini-batches, for more samples than fit in memory or than need to be passed over many times.

The first batch is fitted as `padl_bayes.inference.em` fits any data. Then come rounds of stochastic-approximation EM
that begin with births and end with deletions (`padl_bayes.inference.rounds`), and epochs until the bound stands still.
Codes are found afresh whenever a batch comes by, so that nothing but a batch is ever held, and all that a batch leaves
behind is K-sized: batches may lie on several devices, or come from several processes.
"""

import time
from typing import Any

import jax
import numpy as np

from .._options import check_atoms_fit, check_callback, check_flag, check_seed
from .._validation import check_choice, check_count, check_scalar
from ..kernels.code_sweep import Atoms
from ..kernels.slabs import SLABS
from . import em, moves
from .batches import Feed, open_source
from .noise import noise_scale_of
from .results import EmFit
from .rounds import clean, explore
from .statistics import batch_means, blend, elbo_of_means
from .stochastic import Run, code_batch, descend, in_numpy
from .variational import make_problem, padded_atoms

FEW_ATOMS = 16
LOST = 0.06
FIRST_TOL = 1e-4
NOISE_BATCHES = 4


def _with_places(state, n_atoms):
    """The active atoms first, and places for ``n_atoms`` in all."""
    places = padded_atoms(n_atoms)
    active = moves.active_of(state)
    spare = np.setdiff1d(np.arange(len(state.energy)), active)[: places - len(active)]
    order = np.concatenate([active, spare])

    def take(array):
        width = [(0, places - len(order))] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array[order], width, mode="edge")

    atoms = Atoms(*(take(a) for a in state.atoms))
    on: Any = (np.arange(places) < len(active)).astype(state.energy.dtype)
    atoms = atoms._replace(active=on)
    return state._replace(atoms=atoms, energy=take(state.energy))


def _start(run, X, n_atoms):
    """Variational EM on one batch, as far as which atoms there are."""
    settings = run.settings._replace(
        n_atoms=min(n_atoms + min(n_atoms, em.SPARE_ATOMS), max(len(X), n_atoms))
    )
    problem = make_problem(X, slab=settings.slab[0])
    state = em.initial_state(settings.slab, problem, X, settings.n_atoms, run.rng)
    return settings, problem, em.discover(settings, problem, state, run.rng)


def _lost_afresh(settings, problem, fit):
    """How much of the bound, in nats an entry, is lost where codes are found afresh."""
    state = in_numpy(fit.state)
    means, _ = batch_means(settings.slab, (problem.x, problem.valid), state, problem.hot)
    return (fit.elbo - elbo_of_means(problem, state, means)) / float(problem.n_observed)


def _first_fit(run, n_atoms):
    """Variational EM on one batch.

    Where its codes could not have been found afresh, as on natural images, it is of no use to go on from many atoms:
    then it starts with few, and the others are born one round after the other.
    """
    X = run.feed.gathered()
    if not X.any():
        raise ValueError(
            f"the first {len(X)} samples read from X are all zero: shuffle it, or raise batch_size"
        )
    settings, problem, fit = _start(run, X, n_atoms)
    few = min(n_atoms, FEW_ATOMS)
    if n_atoms > few and _lost_afresh(settings, problem, fit) > LOST:
        n_first = few
        settings, problem, fit = _start(run, X, few)
    else:
        n_first = n_atoms
    fit = em.refine(settings, problem, fit, n_first, FIRST_TOL, run.rng).fit
    return _with_places(in_numpy(fit.state), n_atoms)


def _settle(run, point, max_epochs, tol):
    """Epochs until the mean bound of one is hardly above that of the last."""
    before, entries = -np.inf, float(run.whole.n_observed)
    for _ in range(max_epochs):
        run.feed.start_epoch()
        point, bound = descend(run, point, run.feed.n_batches, "settle", np.inf)
        if bound - before < tol * entries:
            return point, f"converged: the bound rose by less than {tol:g} nats per entry and epoch"
        if run.settings.report.exhausted:
            break
        before = bound
    return point, "stopped with the bound still moving: raise max_epochs or max_iter"


def _evaluate(run, state):
    """One epoch with everything global held: the means of all samples."""
    means, total = None, 0.0
    run.feed.start_epoch()
    for _ in range(run.feed.n_batches):
        found, count = batch_means(run.settings.slab, run.feed.spread(), state, run.whole.hot)
        total += count
        means = found if means is None else blend(means, found, count / total)
    return means


def _noise_scale(run, state):
    """`noise_scale_of`, over some batches."""
    if not len(moves.active_of(state)):
        return float(state.precision) ** -0.5
    scales = []
    for _ in range(min(NOISE_BATCHES, run.feed.n_batches)):
        problem, coded_state, _ = code_batch(run, state)
        key = jax.random.key(int(run.rng.integers(2**31)))
        scales.append(noise_scale_of(run.settings.slab, problem, coded_state, key))
    return float(np.sqrt(np.mean(np.square(scales))))


def _package(run, state, gains, n_atoms):
    means = _evaluate(run, state)
    state = state._replace(
        energy=np.asarray(float(run.whole.n_samples) * means.atoms.square, state.energy.dtype)
    )
    elbo = elbo_of_means(run.whole, state, means)
    active = moves.active_of(state)
    kept = active[np.argsort(-means.atoms.square[active], kind="stable")]
    rate = (len(active) + 1) / (n_atoms + 2)
    usage_logit = state.atoms.usage_logit[kept]
    return {
        "dictionary": state.atoms.dictionary[kept],
        "codes": None,
        "probability": None,
        "code_sd": None,
        "usage": 1 / (1 + np.exp(-usage_logit)),
        "rate": state.atoms.rate[kept],
        "activation_log_odds": np.log(rate) - np.log1p(-rate) - gains[kept],
        "activation_rate": rate,
        "noise_scale": _noise_scale(run, state),
        "coding_noise_scale": float(state.precision) ** -0.5,
        "elbo": elbo,
        "evidence": moves.evidence_of(run.settings, run.feed.whole(), state, elbo),
        "data_scale": float(run.whole.hot) ** -0.5,
        "n_atoms": n_atoms,
    }


def fit_em_minibatch(
    X: Any,
    n_atoms: int,
    *,
    batch_size: int = 8192,
    slab: str = "bernoulli_laplace",
    nonnegative: bool = False,
    max_iter: int = 5000,
    max_epochs: int = 20,
    tol: float = 1e-4,
    random_state: int = 0,
    devices: Any = None,
    callback: Any = None,
) -> EmFit:
    """`fit_em` for many samples: all of them are read in batches, and no codes are kept.

    Parameters
    ----------
    X : array_like, path or iterable
        Data, one sample a row: an array (N, P), which may be memory-mapped; the name of a ``.npy`` file; or an
        iterable of arrays (n_i, P) that can be read any number of times, in an order that means nothing. Under
        `jax.distributed` each process passes samples of its own.
    n_atoms : int
        Upper bound on the number of atoms.
    batch_size : int
        Samples in a batch, of all processes together. The first batch is fitted by itself, so that it should hold
        many more samples than there are atoms.
    slab : {"bernoulli_laplace", "bernoulli_gaussian"}
    nonnegative : bool
    max_iter : int
        Budget of passes over the first batch, and again of batches after it.
    max_epochs : int
        Most epochs once births and deletions are done.
    tol : float
        Epochs end when they raise the bound by less, in nats per entry, and rounds of births when they raise the
        evidence by less than ten times that.
    random_state : int
        Seed; a fit is a function of the data, the seed and the number of processes, not of the number of devices but
        for rounding.
    devices : "all", int or sequence of Device, optional
        Samples of a batch are divided over them (a number: the first ones); only K-sized sums meet. If not given, all
        devices under `jax.distributed`, else JAX's default device.
    callback : callable, optional
        Called after every few passes and every batch as ``callback(stage, n_iter, elbo, noise_scale, n_active)``.

    Returns
    -------
    EmFit
        Its codes, probabilities and standard deviations are None: `PADL.transform` gives the codes of any samples.
        ``history`` has an entry for each pass over the first batch, whose bound is that of the first batch, and for
        each batch, whose bound is that of all samples if they were like the batch.

    Raises
    ------
    TypeError, ValueError
        Data or settings that cannot be used; the message says which and why. There is no mask: entries that are
        missing need `fit_em`.
    """
    start = time.perf_counter()
    n_atoms = check_count(n_atoms, "n_atoms")
    batch_size = check_count(batch_size, "batch_size", minimum=2)
    max_epochs = check_count(max_epochs, "max_epochs")
    check_choice(slab, "slab", sorted({name for name, _ in SLABS}))
    tol = check_scalar(tol, "tol")
    max_iter = check_count(max_iter, "max_iter")
    random_state, callback = check_seed(random_state), check_callback(callback)
    key = (slab, check_flag(nonnegative, "nonnegative"))
    source = open_source(X)
    check_atoms_fit((min(batch_size, source.n_samples), source.n_features), n_atoms, source.dtype)
    history = em.History(max_iter, callback)
    rng = np.random.default_rng(random_state)
    with jax.enable_x64(source.dtype == np.float64):
        feed = Feed(source, min(batch_size, source.n_samples), slab, random_state, devices)
        run = Run(moves.Settings(key, n_atoms, history), feed, feed.whole(), feed.spread(), rng)
        state = _first_fit(run, n_atoms)
        history.max_iter += len(history.elbo)
        point, status = _settle(run, explore(run, state, tol), max_epochs, tol)
        state, gains = clean(run, point)
        result = _package(run, state, gains, n_atoms)
    return EmFit(
        **result,
        slab=slab,
        nonnegative=key[1],
        history=history.as_arrays(),
        n_iter=len(history.elbo),
        converged=status.startswith("converged"),
        status=status,
        wall_time=time.perf_counter() - start,
    )
