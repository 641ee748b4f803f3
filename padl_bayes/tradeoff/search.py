"""Operating points by name; the one of the shortest description by search, with few of a fine grid's pairs."""

from itertools import product

import numpy as np

from padl_bayes._validation import check_choice
from padl_bayes.tradeoff.frontier import (
    Frontier,
    check_precision,
    check_target,
    frontier,
    joined,
    level,
    range_of_alpha1,
    refine,
    source_for,
    surface,
)
from padl_bayes.tradeoff.prediction import METHODS

ROUGH = 500
N_COARSE = 4
COARSE_RUNGS = (0.0, 4.0)
MOST_MOVES = 30


def _weights(source, at):
    """Pairs of weights (L, 2) of places (log alpha1, rung); two rungs are a factor of ten of alpha2, rung 0 is none."""
    log_alpha1, rung = np.array(at).T
    share = np.where(rung > 0, 10 ** ((rung - 7) / 2), 0)
    return np.stack([np.exp(log_alpha1), share * level(source, np.exp(log_alpha1))], axis=1)


class _Tried:
    """Places with their description lengths, each predicted once."""

    def __init__(self, source, method, precision):
        self._predict = lambda at: surface(source, _weights(source, at), method, precision)
        self.lengths: dict = {}
        self.found: Frontier | None = None

    def best(self, places):
        """The shortest of these places."""
        new = [at for at in dict.fromkeys(places) if at not in self.lengths]
        if new:
            found = self._predict(new)
            self.lengths |= dict(zip(new, found.description_length.tolist(), strict=True))
            self.found = found if self.found is None else joined(self.found, found)
        return min(places, key=self.lengths.__getitem__)


def _descend(tried, at, width, height):
    """Where none of the four neighbours is shorter."""
    for _ in range(MOST_MOVES):
        (u, v), before = at, at
        beside = [(u - width, v), (u + width, v), (u, v + height), (u, max(v - height, 0.0))]
        at = tried.best([at, *beside])
        if at == before:
            break
    return at


def shortest_description(source, method, precision=None):
    """Predict pairs of weights around that of the shortest description: a coarse grid, then smaller and smaller steps.

    The coarse grid and the first steps are tried on some of the samples.

    Parameters
    ----------
    source : Source
    method : {"sampled", "interference", "decoupled"}
    precision : float, optional
        See `frontier`.

    Returns
    -------
    Frontier
        What was tried on all samples; `Frontier.choose` picks the shortest.
    """
    # a code of the noise scale saves less of the residual than its sign and flag cost
    least, most = np.log(range_of_alpha1(source))
    grid = np.linspace(min(np.log(2 * source.noise_scale), (least + most) / 2), most, N_COARSE)
    spacing = float(grid[1] - grid[0])
    some = source._replace(samples=source.samples[:: -(-len(source.samples) // ROUGH)])
    rough = _Tried(some, method, precision)
    at = rough.best(list(product(grid.tolist(), COARSE_RUNGS)))
    for halving in (2, 4):
        at = _descend(rough, at, spacing / halving, 1.0)
    fine = _Tried(source, method, precision)
    _descend(fine, at, spacing / 8, 0.5)
    return fine.found


def choose_near(found, target="mdl"):
    """The best point for a target, searched for around the best of a frontier.

    Parameters
    ----------
    found : Frontier
    target : "mdl" or tuple
        See `Frontier.choose`.

    Returns
    -------
    Point, Frontier
        The point, and the frontier with all that was predicted on the way.
    """
    target = check_target(target)
    if target == "mdl":
        near = shortest_description(found.source, found.method, found.asked_precision)
        return near.choose(target), joined(found, near)
    found = refine(found, target)
    return found.choose(target), found


def operating_point(data, target="mdl", **options):
    """The best point for a target.

    The shortest description is searched for, with a few dozen predictions on a part of the samples; other targets take
    the best point of `frontier` and, around it, of `refine`.

    Parameters
    ----------
    data : array_like, EmFit or PADL
    target : "mdl" or tuple
        See `Frontier.choose`.
    **options
        Of `frontier`; the shortest description at given ``alpha`` is that of `frontier` and `refine`, too.

    Returns
    -------
    Point

    Examples
    --------
    >>> import padl_bayes as pb
    >>> data = pb.datasets.synthetic_a(n_samples=300, n_features=16, n_atoms=6, seed=0)
    >>> fit = pb.inference.fit_em(data.X, 12)
    >>> pb.tradeoff.operating_point(fit, ("nonzeros", 1.0), X=data.X).nonzeros <= 1
    True
    """
    target = check_target(target)
    if target == "mdl" and "alpha" not in options:
        return _search(data, **options).choose(target)
    return refine(frontier(data, **options), target).choose(target)


def _search(data, *, X=None, n_samples=None, method="sampled", precision=None, **of_source):
    check_choice(method, "method", METHODS)
    precision = check_precision(precision)
    return shortest_description(source_for(data, X, n_samples, **of_source), method, precision)
