"""Rounds of births and deletions between batches: which atoms are in use is decided by evidence here too."""

import numpy as np

from . import moves
from .statistics import keep_only
from .stochastic import ROUND, Point, code_batch, descend, evidence_of, gains_of, in_numpy, without

MOST_ROUNDS = 30
# A round takes longer than an epoch of a few batches: it must bring more.
WORTH = 10
REFIT = 4
PATIENCE = 3
SCORING_BATCHES = 1
CLEANING_BATCHES = 4
USERS = 32
ALIKE = 0.5
MOST_CLEANINGS = 5


def _without_some(run, point, evidence, atoms):
    """Whether the evidence rises without these atoms, after others have refitted if need be; where it stands then."""
    trial = without(point, atoms)
    found = evidence_of(run, trial.state)
    if found <= evidence:
        trial, _ = descend(run, trial, REFIT, "delete")
        found = evidence_of(run, trial.state)
    return (True, trial, found) if found > evidence else (False, point, evidence)


def _prune(run, point):
    """Delete atoms as long as the evidence rises; it comes back too.

    As `moves.prune`: several at a time, and half as many each time the evidence fell. Scores are those before the
    first deletion until one atom alone cannot go: to score takes longer than to try.
    """
    evidence, failures, kept = evidence_of(run, point.state), 0, set()
    while failures < PATIENCE and not run.settings.report.exhausted:
        gains = gains_of(run, point.state, SCORING_BATCHES, USERS)
        order = [k for k in np.argsort(-gains, kind="stable") if gains[k] > 0 and k not in kept]
        take, fresh = (len(order) + 1) // 2, True
        while take and failures < PATIENCE:
            better, point, evidence = _without_some(run, point, evidence, order[:take])
            if better:
                order, fresh = order[take:], False
                take = (len(order) + 1) // 2
            elif take > 1:
                take //= 2
            elif fresh:
                kept.add(order.pop(0))
                failures += 1
                take = min(len(order), PATIENCE - failures)
            else:
                break
        if fresh:
            break
    return point, evidence


def _give_birth(run, point):
    """Births along badly explained samples of a batch."""
    problem, coded_state, _ = code_batch(run, point.state)
    n_active = len(moves.active_of(point.state))
    most = min(moves.birth_count(n_active), run.settings.n_atoms - n_active)
    state = in_numpy(moves.give_birth(problem, coded_state, run.rng, most))
    # A place may have been another atom's before.
    means = keep_only(point.means, point.state.atoms.dictionary.astype(float), point.state.atoms.active)
    return Point(state, means, point.seen)


def explore(run, state, tol):
    """Rounds of births and deletions, each kept if the evidence rose, until two in a row raised it by little."""
    point, evidence = _prune(run, descend(run, Point(state), ROUND, "round")[0])
    stale = 0
    for _ in range(MOST_ROUNDS):
        n_active = len(moves.active_of(point.state))
        if stale == 2 or n_active in (0, run.settings.n_atoms) or run.settings.report.exhausted:
            break
        trial, _ = descend(run, _give_birth(run, point), ROUND, "round")
        trial, found = _prune(run, trial)
        stale = 0 if found > evidence + WORTH * tol * float(run.whole.n_observed) else stale + 1
        if found > evidence:
            point, evidence = trial, found
    return point


def _expendable(run, state):
    """Atoms that the evidence can do without, no two of them alike, as one may stand for the other; and all gains."""
    gains = gains_of(run, state, min(CLEANING_BATCHES, run.feed.n_batches), 2 * USERS)
    dictionary = state.atoms.dictionary
    chosen: list[int] = []
    for k in np.argsort(-gains, kind="stable"):
        if gains[k] > 0 and all(abs(dictionary[k] @ dictionary[j]) < ALIKE for j in chosen):
            chosen.append(k)
    return chosen, gains


def clean(run, point):
    """Delete what the evidence can do without once all samples have been seen; the gains of deletion come back too.

    Births that were kept by the chance of one batch are found out here.
    """
    chosen, gains = _expendable(run, point.state)
    for _ in range(MOST_CLEANINGS):
        if not chosen:
            break
        point, _ = descend(run, without(point, chosen), run.feed.n_batches, "clean", np.inf)
        chosen, gains = _expendable(run, point.state)
    return point.state, gains
