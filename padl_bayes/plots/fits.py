"""Fits side by side, from what `padl_bayes.compare` returns."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from padl_bayes._validation import check_array
from padl_bayes.plots._style import CYCLE, INK, MUTED, dress, legend, new_axes, say

MARKERS = "os^Dv<>P"


def _named(values, name):
    """``values`` by name; one array alone has no name."""
    named = dict(values) if isinstance(values, Mapping) else {"": values}
    if not named:
        raise ValueError(f"{name} is empty: there is nothing to draw")
    return named


def _looks(names):
    """Colour and marker of each name, by its place: the same in all figures of one comparison."""
    return {name: (CYCLE[i % len(CYCLE)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


def activation_by_fit(probability, *, mcse=None, title=None, ax=None):
    """Draw each atom's probability of being active under several fits, side by side.

    Parameters
    ----------
    probability : mapping of str to array_like, shape (K,)
        P(active) by fit, in labels that are common to the fits; NaN where a fit has no such atom. For example
        ``activation.probability`` of a `padl_bayes.comparison.Comparison`. Fits without any number are left out.
    mcse : mapping of str to array_like, shape (K,), optional
        Monte-Carlo errors, drawn as intervals of two of them either way; NaN for none.
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Atoms in the order of their largest probability.
    """
    named = {name: np.asarray(v, np.float64) for name, v in _named(probability, "probability").items()}
    if len({values.shape for values in named.values()}) > 1 or next(iter(named.values())).ndim != 1:
        raise ValueError(
            f"probability must hold (K,) for each fit, found {[v.shape for v in named.values()]}"
        )
    ax = new_axes(ax, (6.4, 2.8))
    looks = _looks(named)
    named = {name: values for name, values in named.items() if np.isfinite(values).any()}
    if not named:
        return say(ax, "no fit says how probable its atoms are")
    table = np.array(list(named.values()))
    if np.nanmin(table) < 0 or np.nanmax(table) > 1:
        raise ValueError(
            f"probability must lie in [0, 1], found {np.nanmin(table):g} to {np.nanmax(table):g}"
        )
    known = np.flatnonzero(np.isfinite(table).any(axis=0))
    order = known[np.argsort(-np.nanmax(table[:, known], axis=0), kind="stable")]
    at = np.arange(1.0, len(order) + 1)
    size = float(np.clip(220 / len(order), 2.2, 5))
    for i, name in enumerate(named):
        values, (colour, marker) = named[name][order], looks[name]
        x = at + 0.6 * ((i + 0.5) / len(named) - 0.5)
        reach = (
            2 * np.nan_to_num(np.asarray((mcse or {}).get(name, np.zeros(len(named[name]))), float))[order]
        )
        ends = np.clip(values - reach, 0, 1), np.clip(values + reach, 0, 1)
        ax.vlines(x, *ends, color=colour, alpha=0.5, linewidth=1.5)
        ax.plot(x, values, marker, color=colour, markersize=size, label=name or None, clip_on=False)
    ax.set(xlim=(0.2, len(order) + 0.8), ylim=(-0.03, 1.03))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend(ax, loc="lower right", ncols=6, bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return dress(ax, xlabel="atom, surest first", ylabel="P(active)", title=title)


def num_active(draws, *, truth=None, title=None, ax=None):
    """Draw the posterior of the number of active atoms, for each fit and chain.

    Parameters
    ----------
    draws : array_like, shape (chain, draw), or mapping of str to it
        Numbers of active atoms; a point fit is one draw. For example ``num_active`` of a
        `padl_bayes.comparison.Comparison`.
    truth : int, optional
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Bars over all chains, points for single ones; a number that is held, or a point fit, is a line.
    """
    named = {name: check_array(v, "draws", ("chain", "draw")) for name, v in _named(draws, "draws").items()}
    ax = new_axes(ax, (6.4, 2.8))
    spread = [values for values in named.values() if values.size > 1]
    wide = 0.8 / max(len(spread), 1)
    drawn, marks = 0, []
    for name, (colour, _) in _looks(named).items():
        values = named[name]
        if values.size == 1:
            ax.axvline(values.item(), color=colour, linewidth=1.4, zorder=3, label=name or None)
            continue
        support, counts = np.unique(values, return_counts=True)
        at = support + wide * (drawn - (len(spread) - 1) / 2)
        ax.bar(at, counts / values.size, width=0.92 * wide, color=colour, alpha=0.75, label=name or None)
        if len(values) > 1:
            shares = np.mean(values[:, :, None] == support, axis=1)
            marks = ax.plot(at, shares.T, "_", color=INK, markersize=5, markeredgewidth=0.8)
        drawn += 1
    if truth is not None:
        ax.axvline(truth, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), label="truth")
    if marks:
        marks[0].set_label("each chain")
    every = np.concatenate([values.ravel() for values in named.values()] + [[truth]] * (truth is not None))
    ax.set_xlim(every.min() - 1, every.max() + 1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    legend(ax, loc="lower right", ncols=6, bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return dress(ax, xlabel="active atoms", ylabel="probability", title=title)


def coverage(pit, *, levels=(0.5, 0.8, 0.95), title=None, ax=None):
    """Draw how many values lie in central intervals of each nominal probability: on the diagonal if calibrated.

    Parameters
    ----------
    pit : array_like, shape (n,), or mapping of str to it
        Probability integral transforms: P(value <= what it was). For example ``pit`` of a
        `padl_bayes.comparison.Comparison`.
    levels : sequence of float
        Where to mark the curves.
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Below the diagonal intervals are too narrow, above it too wide.

    References
    ----------
    Dawid, JRSS A 147(2), 1984; Gneiting, Balabdaoui, Raftery, JRSS B 69(2), 2007.
    """
    named = {name: check_array(values, "pit", ("n",)) for name, values in _named(pit, "pit").items()}
    for name, values in named.items():
        if values.min() < 0 or values.max() > 1:
            raise ValueError(
                f"pit of {name!r} must lie in [0, 1], found {values.min():g} to {values.max():g}"
            )
    ax = new_axes(ax, (4.2, 4.2))
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    levels = check_array(levels, "levels", ("n",))
    nominal = np.linspace(0, 1, 201)
    for name, (colour, marker) in _looks(named).items():
        reach = np.sort(np.abs(2 * named[name].astype(np.float64) - 1))
        share, marked = (np.searchsorted(reach, x, side="right") / len(reach) for x in (nominal, levels))
        ax.plot(nominal, share, color=colour, linewidth=1.3)
        ax.plot(levels, marked, marker, color=colour, markersize=4.5, label=name or None)
    ax.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend(ax, loc="upper left")
    return dress(ax, xlabel="nominal", ylabel="actual", title=title, grid="both")
