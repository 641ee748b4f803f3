"""Moves on the activation latents: which atoms are in use is decided by evidence.

Deletions are scored for all atoms in one batch (what would the samples that use an atom lose without it?), then tried
several at a time with a refit, and kept only if the evidence rose. A reheat melts all codes, seeds births in free
places from what is badly explained, and cools down again.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._devices import each_process, joined, mesh_of, own, spread_own
from .recoding import COOLING_STEPS, SETTLING_SWEEPS, recode, recode_all
from .variational import (
    atom_cost,
    log_active_prior,
    log_prior,
    padded_atoms,
    precision_ceiling,
    residuals,
    run_passes,
)

USED = 0.05
REFIT_CHUNKS = 2


class Fit(NamedTuple):
    """A state with its evidence lower bound and its evidence, the bound less the cost of its atoms."""

    state: NamedTuple
    elbo: float
    evidence: float


class Settings(NamedTuple):
    """What the moves need to know: key of the slab, upper bound of the number of atoms, hook called after each chunk.

    ``report(stage, trace, state)`` gets the name of the stage, the `Trace` of the last passes and where they ended;
    ``report.exhausted`` says whether the budget of passes is spent.
    """

    slab: tuple
    n_atoms: int
    report: object


def active_of(state):
    """Indices of the active atoms."""
    return np.flatnonzero(np.asarray(state.atoms.active) > 0)


def evidence_of(settings, problem, state, elbo):
    """Evidence of a state: its bound, less its atoms' cost, plus the log prior of how many there are."""
    cost = np.asarray(atom_cost(problem, state), np.float64)
    on = active_of(state)
    return float(elbo) - float(cost[on].sum()) + log_active_prior(len(on), settings.n_atoms)


def run(settings, problem, state, *, chunks, stage, cap=np.inf):
    """Run ``chunks`` times `variational.PASSES` passes with the noise precision at most ``cap``."""
    cap = jnp.asarray(min(cap, precision_ceiling(problem)), state.codes.dtype)
    for _ in range(chunks):
        state, trace = run_passes(settings.slab, problem, state, cap, mesh=mesh_of(problem.x))
        settings.report(stage, trace, state)
    elbo = float(trace.elbo[-1])
    return Fit(state, elbo, evidence_of(settings, problem, state, elbo))


def switch_off(state, atoms):
    """Switch atoms off and drop their codes."""
    active = state.atoms.active.at[np.asarray(atoms)].set(0)
    return state._replace(codes=state.codes * active[:, None], atoms=state.atoms._replace(active=active))


def birth_count(n_active):
    """How many births are tried at once beside ``n_active`` atoms."""
    return max(8, n_active // 4)


def compact(state):
    """Drop places of switched-off atoms once at least half of all places are needed by neither atoms nor births.

    Arrays of another size are compiled for anew, so this is not done for less.
    """
    active = active_of(state)
    n_places = len(state.atoms.active)
    wanted = padded_atoms(len(active) + birth_count(len(active)))
    if 2 * wanted > n_places:
        return state
    free = np.setdiff1d(np.arange(n_places), active)
    kept = np.concatenate([active, free[: wanted - len(active)]])
    atoms = jax.tree.map(lambda array: array[kept], state.atoms)
    return state._replace(codes=state.codes[:, kept], atoms=atoms, energy=state.energy[kept])


def _choose_users(mesh, users, active, rng, most):
    """Up to ``most`` users of each atom: tile, place, atom and how many users each stands for.

    Those that this process has, from its own table ``users`` (tiles, K, n).
    """
    chosen = []
    counts = each_process(mesh, users.sum(axis=(0, 2)))
    for k in active:
        tile, place = np.nonzero(users[:, k])
        count = counts[:, k].sum()
        if count > most:
            pick = np.sort(rng.choice(count, most, replace=False))
            pick -= counts[: jax.process_index(), k].sum() if len(counts) > 1 else 0
            pick = pick[(pick >= 0) & (pick < len(tile))]
            tile, place = tile[pick], place[pick]
        if count:
            chosen.append((tile, place, np.full(len(tile), k), np.full(len(tile), count / min(count, most))))
    return tuple(np.concatenate(part) for part in zip(*chosen, strict=True)) if chosen else None


def _gather(mesh, array, tile, place, width):
    """Samples ``(tile, place)`` of ``array`` (tiles, rows, n) as new tiles of ``width``, padded with the first one."""
    if array is None:
        return None
    short = -len(tile) % width
    tile, place = np.pad(tile, (0, short)), np.pad(place, (0, short))
    rows = own(array)[tile, :, place]
    return spread_own(mesh, rows.reshape(-1, width, rows.shape[1]).transpose(0, 2, 1))


def deletion_losses(settings, problem, state, coded, rng, most=32, settle=None):
    """What the bound of the samples changes by where an atom is deleted (K,), zero for atoms that are off.

    The dictionary is held and the samples that use the atom are coded anew.

    Parameters
    ----------
    settings : Settings
    problem : Problem
    state : State
        Its codes must be ``coded.codes``.
    coded : Coded
        Of all samples, as returned by `recode`.
    rng : numpy.random.Generator
        Draws the users that stand for an atom's other users.
    most : int
        Number of users of an atom that are coded anew.
    settle : int, optional
        As in `recode`, for codes that are not settled: those with the atom are found as carefully then.
    """
    active, mesh = active_of(state), mesh_of(problem.x)
    probability = own(coded.probability)
    change = np.zeros(probability.shape[1])
    users = probability > USED
    usage_logit = np.asarray(state.atoms.usage_logit, np.float64)
    # An entry that is not used adds log((1 - usage) / (1 - P(used))) to the bound: deletion gives that back.
    spare = np.where(users, 0, np.log1p(-np.where(users, 0, probability).astype(np.float64)))
    spare = (spare + np.logaddexp(0, usage_logit)[:, None] * ~users) * own(problem.valid)[:, None]
    change[active] += spare.sum(axis=(0, 2))[active]
    chosen = _choose_users(mesh, users, active, rng, most)
    if chosen is None:
        return each_process(mesh, change).sum(axis=0)
    tile, place, atom, weight = chosen
    width = probability.shape[2]
    gather = partial(_gather, mesh, tile=tile, place=place, width=width)
    padded = np.pad(atom, (0, -len(atom) % width), constant_values=-1)
    excluded = spread_own(mesh, padded.reshape(-1, width))
    with_it = gather(state.codes)
    without = jnp.where(jnp.arange(with_it.shape[1])[:, None] == excluded[:, None, :], 0, with_it)
    data = (gather(problem.x), jnp.ones_like(excluded, state.codes.dtype), gather(problem.observed))
    order = rng.permutation(state.codes.shape[1])

    def bound_of(codes, excluded):
        sweeps = SETTLING_SWEEPS if settle is None else settle
        found = recode(settings.slab, *data, codes, state, problem.hot, excluded, order, sweeps)
        return own(found.bound).astype(np.float64).ravel()[: len(atom)]

    before = own(coded.bound).astype(np.float64)[tile, place]
    if settle is not None:
        before = bound_of(with_it, jnp.full_like(excluded, -1))
    lost = weight * (bound_of(without, excluded) - before)
    np.add.at(change, atom, lost)
    return each_process(mesh, change).sum(axis=0)


def freed_by_deletion(problem, state):
    """What the evidence gains by deleting each atom (K,) where no sample uses it; -inf for atoms that are off."""
    freed = np.asarray(atom_cost(problem, state) - log_prior(problem, state.atoms), np.float64)
    return np.where(np.asarray(state.atoms.active) > 0, freed, -np.inf)


def deletion_gains(settings, problem, state, coded, rng, most=32):
    """Evidence gained by deleting each atom (K,); arguments as those of `deletion_losses`."""
    return freed_by_deletion(problem, state) + deletion_losses(settings, problem, state, coded, rng, most)


def _recoded(settings, problem, state, rng):
    """All samples coded anew, the atoms visited in a random order."""
    return recode_all(settings.slab, problem, state, rng.permutation(state.codes.shape[1]))


def _try_deletions(settings, problem, state, atoms, rng):
    """State after deleting ``atoms``, coding all samples anew and refitting."""
    state = switch_off(state, atoms)
    state = state._replace(codes=_recoded(settings, problem, state, rng).codes)
    return run(settings, problem, state, chunks=REFIT_CHUNKS, stage="delete")


def prune(settings, problem, fit, rng):
    """Delete atoms as long as the evidence rises.

    The candidates that the batch score favours are tried together, and half as many each time the evidence fell; an
    atom whose deletion alone lowered it is left in peace.
    """
    kept: set = set()
    while not settings.report.exhausted:
        coded = _recoded(settings, problem, fit.state, rng)
        state = fit.state._replace(codes=coded.codes)
        gains = deletion_gains(settings, problem, state, coded, rng)
        order = [k for k in np.argsort(-gains, kind="stable") if gains[k] > 0 and k not in kept]
        if not order:
            break
        take = (len(order) + 1) // 2
        while True:
            trial = _try_deletions(settings, problem, state, order[:take], rng)
            if trial.evidence > fit.evidence:
                smaller = compact(trial.state)
                if smaller is not trial.state:
                    kept.clear()
                fit = trial._replace(state=smaller)
                break
            if take == 1:
                kept.add(order[0])
                break
            take //= 2
    return fit


def limit(settings, problem, fit, rng, n_atoms):
    """Delete the atoms that are missed least until at most ``n_atoms`` are active."""
    while True:
        excess = len(active_of(fit.state)) - n_atoms
        if excess <= 0:
            return fit
        coded = _recoded(settings, problem, fit.state, rng)
        state = fit.state._replace(codes=coded.codes)
        gains = deletion_gains(settings, problem, state, coded, rng)
        worst = np.argsort(-gains, kind="stable")[: (excess + 1) // 2]
        fit = _try_deletions(settings, problem, state, worst, rng)


def give_birth(problem, state, rng, most):
    """Switch on up to ``most`` free atoms along residuals of badly explained samples.

    Samples are drawn with probability proportional to their squared squared residual; a newborn starts with the
    median usage, rate and energy of the active atoms.
    """
    active, mesh = active_of(state), mesh_of(problem.x)
    free = np.setdiff1d(np.arange(state.atoms.dictionary.shape[0]), active)[:most]
    residual = own(residuals(problem, state, mesh=mesh)).astype(np.float64).transpose(0, 2, 1)
    residual = residual.reshape(-1, residual.shape[2])
    weight, start = joined(mesh, np.sum(residual**2, axis=1) ** 2)
    free = free[: np.count_nonzero(weight)]
    if not len(free) or not len(active):
        return state
    row = rng.choice(len(weight), len(free), replace=False, p=weight / weight.sum()) - start
    here = (row >= 0) & (row < len(residual))
    picked = np.where(here[:, None], residual[np.where(here, row, 0)], 0)
    picked = each_process(mesh, picked).sum(axis=0)
    dtype = state.codes.dtype

    def born(array, value):
        array = np.array(array)
        array[free] = value
        return jnp.asarray(array, dtype)

    atoms = state.atoms
    medians = (np.median(np.asarray(a)[active]) for a in (atoms.usage_logit, atoms.rate, state.energy))
    usage_logit, rate, energy = medians
    atoms = atoms._replace(
        dictionary=born(atoms.dictionary, picked / np.linalg.norm(picked, axis=1, keepdims=True)),
        usage_logit=born(atoms.usage_logit, usage_logit),
        rate=born(atoms.rate, rate),
        active=born(atoms.active, 1),
    )
    return state._replace(atoms=atoms, energy=born(state.energy, energy))


def reheat(settings, problem, fit, rng, births):
    """Melt the codes, seed births, cool down and prune; the better of the result and ``fit`` comes back."""
    precision, hot = float(fit.state.precision), float(problem.hot)
    births = min(births, settings.n_atoms - len(active_of(fit.state)))
    state = give_birth(problem, fit.state, rng, births)
    state = state._replace(
        codes=jnp.zeros_like(state.codes), precision=jnp.minimum(problem.hot, state.precision)
    )
    for step in range(COOLING_STEPS):
        cap = hot ** (1 - step / COOLING_STEPS) * precision ** (step / COOLING_STEPS)
        state = run(settings, problem, state, chunks=1, stage="reheat", cap=cap).state
    trial = prune(settings, problem, run(settings, problem, state, chunks=REFIT_CHUNKS, stage="reheat"), rng)
    trial = refresh(settings, problem, trial, rng)
    return trial if trial.evidence > fit.evidence else fit


def refresh(settings, problem, fit, rng):
    """Code all samples anew, each keeping its best code, and refit."""
    state = fit.state._replace(codes=_recoded(settings, problem, fit.state, rng).codes)
    fresh = run(settings, problem, state, chunks=REFIT_CHUNKS, stage="refresh")
    return fresh if fresh.evidence > fit.evidence else fit
