"""Steps of stochastic-approximation EM over mini-batches.

Expected statistics of each batch are blended into running means with steps ``(t + 1)^-0.6``, and the M-step is taken
from those as if all samples had been seen (Cappe & Moulines, JRSS B 71, 2009).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import moves
from .batches import Feed
from .recoding import recode_all
from .statistics import SETTLE, batch_means, blend, elbo_of_means, keep_only, maximise
from .variational import State, Trace

DECAY = 0.6
ROUND = 12


class Run(NamedTuple):
    """What stays the same throughout a fit.

    Attributes
    ----------
    settings : moves.Settings
    feed : Feed
    whole : Problem
        Scalars of all samples, without the samples.
    check : tuple
        The batch on which states are compared, as `Feed.spread` gives it.
    rng : numpy.random.Generator
        The same in all processes.
    """

    settings: moves.Settings
    feed: Feed
    whole: Any
    check: tuple
    rng: np.random.Generator


class Point(NamedTuple):
    """Where stochastic approximation stands: the state, running means and how many batches they are of."""

    state: State
    means: Any = None
    seen: int = 0


def in_numpy(state):
    """Everything global of a state as NumPy arrays: those go to any devices."""
    return jax.tree.map(np.asarray, state._replace(codes=None))


def code_batch(run, state):
    """A batch that is the same in all processes, coded with care: its problem, state and codes."""
    problem = run.feed.problem(run.feed.gathered())
    blank = jnp.zeros((len(problem.x), len(state.energy), problem.x.shape[2]), problem.x.dtype)
    state = jax.tree.map(jnp.asarray, state._replace(codes=blank))
    order = run.rng.permutation(len(state.energy))
    coded = recode_all(run.settings.slab, problem, state, order, SETTLE)
    return problem, state._replace(codes=coded.codes), coded


def descend(run, point, count, stage, slowest=ROUND):
    """``count`` batches of stochastic-approximation EM; where it stands then, and the mean bound of the batches.

    Steps are those of the ``slowest`` batch at least: while atoms come and go, all states that are compared are means
    of about as many batches.
    """
    (state, means, seen), slab = point, run.settings.slab
    bounds, sizes = [], []
    for t in range(seen, seen + count):
        found, size = batch_means(slab, run.feed.spread(), state, run.whole.hot)
        bound = elbo_of_means(run.whole, state, found)
        bounds.append(bound)
        sizes.append(size)
        means = found if means is None else blend(means, found, (min(t, slowest) + 1.0) ** -DECAY)
        state = maximise(slab, run.whole, state, means)
        sums = jax.tree.map(lambda a: float(run.whole.n_samples) * a, found.atoms)
        trace: Any = (np.array([bound]), state.precision[None], sums)
        run.settings.report(stage, Trace(*trace), state)
    return Point(state, means, seen + count), np.average(bounds, weights=sizes)


def evidence_of(run, state):
    """Evidence of all samples, estimated on the batch that is kept for comparisons."""
    found, _ = batch_means(run.settings.slab, run.check, state, run.whole.hot)
    state = state._replace(
        energy=np.asarray(float(run.whole.n_samples) * found.atoms.square, state.energy.dtype)
    )
    return moves.evidence_of(run.settings, run.whole, state, elbo_of_means(run.whole, state, found))


def gains_of(run, state, batches, users):
    """Evidence gained by deleting each atom (K,), estimated on some batches and some users of the atom in each."""
    losses, count = 0.0, 0.0
    for _ in range(batches):
        problem, coded_state, coded = code_batch(run, state)
        losses += moves.deletion_losses(run.settings, problem, coded_state, coded, run.rng, users, SETTLE)
        count += float(problem.valid.sum())
    return moves.freed_by_deletion(problem, state) + losses * float(problem.n_samples) / count


def without(point, atoms):
    """Atoms switched off."""
    active = point.state.atoms.active.copy()
    active[atoms] = 0
    means = keep_only(point.means, point.state.atoms.dictionary.astype(float), active)
    return Point(point.state._replace(atoms=point.state.atoms._replace(active=active)), means, point.seen)
