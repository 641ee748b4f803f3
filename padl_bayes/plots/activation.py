"""Which atoms are active, how surely, and how much they are used."""

import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.special import expit, logit

from padl_bayes._validation import check_array
from padl_bayes.plots._style import BLUE, GREEN, INK, MUTED, SMALL, dress, new_axes, percent, quantiles, say

SIZE = (5.2, 2.8)
ATOM = "atom, most energy first"


def _per_atom(values, draws, name, level):
    """Return values (K,) and, from the draws, (lower, upper) or None; values default to the medians."""
    if draws is None:
        if np.ndim(values) > 1:
            raise ValueError(
                f"{name} must have shape (K), found {np.shape(values)}; pass posterior draws as draws="
            )
        return check_array(values, name, ("K",)), None
    lower, middle, upper = quantiles(draws, level)
    values = middle if values is None else check_array(values, name, (len(middle),))
    return values, (lower, upper)


def _nothing(values, draws):
    return np.size(values if values is not None else draws) == 0


def _points(ax, values, interval, color):
    """Points over the index of the atom, with bars for intervals."""
    at = np.arange(1, len(values) + 1)
    width = float(np.clip(150 / len(values), 0.8, 3))
    if interval is not None:
        ax.vlines(at, *interval, color=color, alpha=0.45, linewidth=width)
    ax.plot(at, values, "o", color=color, markersize=float(np.clip(220 / len(values), 2.2, 5)))
    ax.set_xlim(0.2, len(values) + 0.8)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def activation_log_odds(log_odds=None, *, draws=None, level=0.9, title=None, ax=None):
    """Draw each atom's log odds of being active.

    Parameters
    ----------
    log_odds : array_like, shape (K,), optional
        Natural logarithm. May be left out where ``draws`` are given.
    draws : array_like, shape (..., K), optional
        Posterior draws of the log odds, for intervals.
    level : float
        Probability of the intervals.
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        The scale is linear between -10 and 10 and logarithmic beyond.
    """
    ax = new_axes(ax, SIZE)
    if _nothing(log_odds, draws):
        return say(ax, "no active atom")
    values, interval = _per_atom(log_odds, draws, "log_odds", level)
    _points(ax, values, interval, BLUE)
    lowest = float(np.min(values if interval is None else interval[0]))
    highest = float(np.max(values if interval is None else interval[1]))
    logarithmic = max(highest, -lowest) > 30
    if logarithmic:
        ax.set_yscale("symlog", linthresh=10, linscale=0.6)
    room = 2.0 if logarithmic else 1.15
    ax.set_ylim(min(0.0, room * lowest), max(6.0, room * highest))
    at = logit(0.99)
    ax.axhline(at, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.annotate(
        "P(active) = 0.99",
        (1, at),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        fontsize=SMALL,
        color=MUTED,
    )
    ylabel = "log odds (nats)"
    return dress(ax, xlabel=ATOM, ylabel=_with_level(ylabel, interval, level), title=title)


def activation_probability(probability=None, *, log_odds=None, draws=None, level=0.9, title=None, ax=None):
    """Draw each atom's probability of being active.

    Parameters
    ----------
    probability : array_like, shape (K,), optional
    log_odds : array_like, shape (K,), optional
        In place of the probability.
    draws : array_like, shape (..., K), optional
        Posterior draws of the probability, for intervals; their mean is the probability if none is given.
    level : float
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = new_axes(ax, SIZE)
    if probability is None and log_odds is not None:
        probability = expit(np.asarray(log_odds, np.float64))
    if _nothing(probability, draws):
        return say(ax, "no active atom")
    if probability is None:
        draws = check_array(draws, "draws", ("...", "K"))
        probability = draws.mean(axis=tuple(range(draws.ndim - 1)))
    values, interval = _per_atom(probability, draws, "probability", level)
    if values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"probability must lie in [0, 1], found values from {values.min():g} to {values.max():g}"
        )
    _points(ax, values, interval, BLUE)
    ax.set_ylim(-0.03, 1.05)
    return dress(ax, xlabel=ATOM, ylabel=_with_level("P(active)", interval, level), title=title)


def usage(values=None, *, draws=None, level=0.9, title=None, ax=None):
    """Draw the share of samples that use each atom.

    Parameters
    ----------
    values : array_like, shape (K,), optional
        May be left out where ``draws`` are given.
    draws : array_like, shape (..., K), optional
        Posterior draws of the usage, for intervals.
    level : float
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = new_axes(ax, SIZE)
    if _nothing(values, draws):
        return say(ax, "no active atom")
    values, interval = _per_atom(values, draws, "values", level)
    at = np.arange(1, len(values) + 1)
    ax.bar(at, values, width=0.8, color=GREEN)
    if interval is not None:
        ax.vlines(at, *interval, color=INK, linewidth=1)
    ax.set_xlim(0.2, len(values) + 0.8)
    ax.set_ylim(0, 1.06 * float(np.max(values if interval is None else interval[1])) or 1.0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    label = f"sum {values.sum():.3g}: expected atoms per sample"
    ax.text(1, 1, label, transform=ax.transAxes, ha="right", va="top", fontsize=SMALL, color=MUTED)
    return dress(ax, xlabel=ATOM, ylabel=_with_level("share of samples", interval, level), title=title)


def atoms_per_sample(counts, *, title=None, ax=None):
    """Draw how many samples use how many atoms.

    Parameters
    ----------
    counts : array_like of int, shape (N,)
        Atoms that each sample uses.
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = new_axes(ax, SIZE)
    counts = check_array(counts, "counts", ("N",))
    if counts.min() < 0 or (counts != np.round(counts)).any():
        raise ValueError("counts must be whole numbers of atoms, at least 0")
    height = np.bincount(counts.astype(int))
    ax.bar(np.arange(len(height)), height / len(counts), width=0.9, color=GREEN)
    ax.axvline(counts.mean(), color=INK, linewidth=0.9)
    ax.text(
        1,
        1,
        f"mean {counts.mean():.3g}",
        transform=ax.transAxes,
        ha="right",
        va="top",
        fontsize=SMALL,
        color=MUTED,
    )
    ax.set_xlim(max(counts.min() - 1.5, -0.7), counts.max() + 0.7)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return dress(ax, xlabel="atoms a sample uses", ylabel="share of samples", title=title)


def _with_level(label, interval, level):
    return label if interval is None else f"{label}, {percent(level)} interval"
