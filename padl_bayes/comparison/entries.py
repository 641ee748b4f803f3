"""Hidden entries of held-out samples, predicted from the entries that were seen."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from padl_bayes.inference._rows import Problem
from padl_bayes.inference.conditional import Predictions, count_steps, each_prediction
from padl_bayes.inference.envelope import codes_in_envelope

_BOX_TOL = 1e-8
_POINTS = 1000


class HeldOut(NamedTuple):
    """Held-out samples (M, P), float64: their values, which were observed, which are hidden, and the noiseless ones."""

    X: np.ndarray
    observed: np.ndarray | None
    hidden: np.ndarray
    clean: np.ndarray | None

    @property
    def everything(self):
        """`Problem` of all entries that were observed."""
        return Problem(self.X, None if self.observed is None else self.observed.astype(np.float64))

    @property
    def seen(self):
        """`Problem` of those that are not hidden."""
        shown = ~self.hidden if self.observed is None else self.observed & ~self.hidden
        return Problem(np.where(shown, self.X, 0.0), shown.astype(np.float64))


class Entries(NamedTuple):
    """Predictions of the H hidden entries, in the order of ``np.argwhere(hidden)``, and of the noiseless ones.

    Attributes
    ----------
    mean : ndarray, shape (H,)
        Of the predictive law.
    pit : ndarray, shape (H,)
        Probability integral transform: P(entry <= what it was).
    width : ndarray, shape (levels,)
        Mean width of the central intervals.
    clean_pit : ndarray, shape (2, M, P), or None
        P(noiseless entry < and <= what it was), for all entries.
    effective_codes : ndarray, shape (M,)
        Kish's effective number of the weighted draws.
    """

    mean: np.ndarray
    pit: np.ndarray
    width: np.ndarray
    clean_pit: np.ndarray | None
    effective_codes: np.ndarray


def hide(observed, shape, share, rng):
    """Choose a ``share`` of each row's observed entries, at least one, but never all."""
    observed = np.ones(shape, bool) if observed is None else observed
    count = observed.sum(axis=1)
    n_hidden = np.minimum(np.maximum(np.round(share * count), 1), count - 1)
    order = np.argsort(np.where(observed, rng.random(shape), 2.0), axis=1)
    return np.argsort(order, axis=1) < n_hidden[:, None]


def count_parts(view, held_out, n_codes):
    """How often `predict` calls ``watch``."""
    return 1 if view.alpha1 is not None else count_steps(held_out.seen, view.draws, n_codes)


def predict(view, held_out, levels, n_codes, random_state, watch=None):
    """Return the `Entries` of a `View`; ``watch(done, total)`` is called after each batch."""
    rng = np.random.default_rng(random_state)
    if view.alpha1 is not None:
        parts: Any = [_at_the_mode(view, held_out.seen)]
    else:
        parts = each_prediction(view.key, held_out.seen, view.draws, n_codes, random_state, watch=watch)
    done = [_judge(part, held_out, levels, rng) for part in parts]
    if watch is not None and view.alpha1 is not None:
        watch(1, 1)
    clean = None if held_out.clean is None else np.concatenate([d.clean_pit for d in done], axis=1)
    weights = [len(d.mean) for d in done]
    return Entries(
        np.concatenate([d.mean for d in done]),
        np.concatenate([d.pit for d in done]),
        np.average([d.width for d in done], axis=0, weights=weights),
        clean,
        np.concatenate([d.effective_codes for d in done]),
    )


def _at_the_mode(view, seen):
    """`Predictions` of MAP: the mode of the codes given the seen entries, and noise."""
    draws = view.draws
    dictionary, envelope = draws.dictionary[0], draws.envelope[0]
    options = {"tol": _BOX_TOL, "observed": seen.observed, "nonnegative": view.key[1]}
    codes, _ = codes_in_envelope(seen.X, dictionary, envelope, view.alpha1, **options)
    return Predictions(0, (codes @ dictionary)[None], draws.noise_scale, np.ones((1, len(codes))))


def _judge(part, held_out, levels, rng):
    """`Entries` of a tile of samples."""
    rows = slice(part.sample, part.sample + part.mean.shape[1])
    row, column = np.nonzero(held_out.hidden[rows])
    value = held_out.X[rows][row, column]
    mean, weight = part.mean[:, row, column], part.weight[:, row]
    noise_scale = part.noise_scale[:, None]
    pit = np.einsum("ch,ch->h", weight, ndtr((value - mean) / noise_scale))
    clean_pit = None
    if held_out.clean is not None:
        clean = held_out.clean[rows]
        below, equal = (
            np.einsum("cn,cnp->np", part.weight, at) for at in (part.mean < clean, part.mean == clean)
        )
        clean_pit = np.stack([below, below + equal])
    return Entries(
        np.einsum("ch,ch->h", weight, mean),
        pit,
        _widths(mean, noise_scale, weight, levels, rng),
        clean_pit,
        1 / np.sum(part.weight**2, axis=0),
    )


def _widths(mean, noise_scale, weight, levels, rng):
    """Mean widths of central intervals of mixtures of normals (C, H), each column from stratified noise."""
    repeats = -(-_POINTS // len(mean))
    total = repeats * len(mean)
    strata = ndtri((np.arange(total) + 0.5) / total)[:, None]
    noise = rng.permuted(np.broadcast_to(strata, (total, mean.shape[1])), axis=0)
    drawn = np.repeat(mean, repeats, axis=0) + np.repeat(noise_scale, repeats, axis=0) * noise
    order = np.argsort(drawn, axis=0)
    drawn = np.take_along_axis(drawn, order, axis=0)
    reached = np.cumsum(
        np.take_along_axis(np.repeat(weight / repeats, repeats, axis=0), order, axis=0), axis=0
    )

    def quantile(probability):
        at = np.minimum(np.sum(reached < probability, axis=0), total - 1)
        return np.take_along_axis(drawn, at[None], axis=0)[0]

    widths = [np.mean(quantile((1 + level) / 2) - quantile((1 - level) / 2)) for level in levels]
    return np.array(widths)
