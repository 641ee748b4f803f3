"""Sparsity, storage and accuracy over PADL's two weights."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from padl_bayes._validation import check_array
from padl_bayes.plots._style import (
    BLUE,
    CYCLE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PINK,
    dress,
    legend,
    new_axes,
    percent,
)
from padl_bayes.tradeoff.bands import Bands
from padl_bayes.tradeoff.frontier import Frontier, Point

SIZE = (5.2, 3.6)
KILOBYTE = 8 * 1024
WIDE = 300.0


def _check(found, kind, name):
    if not isinstance(found, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, found {type(found).__name__}")


def _plain_logarithmic(*axes):
    """Give logarithmic axes labels in plain digits, at 1, 2, 5, 10, ... where there are few decades."""
    for axis in axes:
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < WIDE * low else (1.0,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def frontier(found, *, point=None, bands=None, level=0.9, title=None, ax=None):
    """Draw RMSE as stored over kilobytes: all points, those that none beats, and some that were chosen.

    Parameters
    ----------
    found : Frontier
        From `padl_bayes.tradeoff.frontier`.
    point : Point or mapping of str to Point, optional
        From `Frontier.choose`; with names for the legend if there are many.
    bands : Bands, optional
        From `padl_bayes.tradeoff.bands`, at the same pairs of weights: crosses are the intervals of kilobytes and RMSE
        at those of the points that none beats.
    level : float
        Probability of the intervals.
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    _check(found, Frontier, "found")
    ax = new_axes(ax, SIZE)
    best = found.pareto()
    best = best[found.bits[best] > 0]
    some = found.bits > 0
    ax.scatter(found.bits[some] / KILOBYTE, found.stored_rmse[some], s=9, color=MUTED, alpha=0.6, linewidths=0,
               label="all weights")  # fmt: skip
    ax.plot(found.bits[best] / KILOBYTE, found.stored_rmse[best], "o-", color=BLUE, markersize=3.5, linewidth=1.2,
            label="frontier")  # fmt: skip
    if bands is not None:
        _check(bands, Bands, "bands")
        if not np.array_equal(bands.alpha, found.alpha):
            raise ValueError("bands must be at the pairs of weights of found; pass alpha=found.alpha to both")
        _crosses(ax, bands, best, level)
    named = point if isinstance(point, Mapping) else {} if point is None else {"chosen": point}
    for i, (name, one) in enumerate(named.items()):
        _check(one, Point, "point")
        label = f"{name}: {one.active} atoms, {one.nonzeros:.3g} nonzeros"
        marker, colour = "*PXDv"[i % 5], CYCLE[1:][i % 5]
        ax.plot(one.bits / KILOBYTE, one.stored_rmse, marker, color=colour, markersize=13 if i % 5 == 0 else 8,
                label=label)  # fmt: skip
    ax.set_xscale("log")
    _plain_logarithmic(ax.xaxis)
    legend(ax)
    return dress(ax, xlabel="kilobytes", ylabel="RMSE as stored", title=title, grid="both")


def _crosses(ax, bands, which, level):
    """Draw intervals of bits and of RMSE: at the same weights draws differ in both."""
    sizes, errors = (
        bands.interval("bits", level)[:, which] / KILOBYTE,
        bands.interval("stored_rmse", level)[:, which],
    )
    ax.errorbar(
        sizes[1], errors[1], xerr=np.abs(sizes[[0, 2]] - sizes[1]), yerr=np.abs(errors[[0, 2]] - errors[1]),
        fmt="none", ecolor=BLUE, elinewidth=1.6, alpha=0.35, label=f"{percent(level)} of the posterior",
    )  # fmt: skip


def predicted_refitted(
    predicted, refitted, *, within=0.1, xlabel="refitted", ylabel="predicted", title=None, ax=None
):
    """Draw predictions over what refits gave, relative errors of ``within`` shaded.

    Parameters
    ----------
    predicted, refitted : mapping of str to array_like, shape (L,)
        The same names in both.
    within : float
    xlabel, ylabel : str
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Both axes logarithmic; pairs with a zero are left out.
    """
    if set(predicted) != set(refitted) or not predicted:
        raise ValueError(
            f"refitted must name what predicted does, {sorted(predicted)}, found {sorted(refitted)}"
        )
    ax = new_axes(ax, (4.2, 4.2))
    ends = []
    for i, name in enumerate(predicted):
        x = check_array(refitted[name], f"refitted[{name!r}]", ("L",))
        y = check_array(predicted[name], f"predicted[{name!r}]", (len(x),))
        seen = (x > 0) & (y > 0)
        ax.plot(
            x[seen], y[seen], "os^Dv"[i % 5], color=CYCLE[i % len(CYCLE)], markersize=4, alpha=0.7, label=name
        )
        ends += [*x[seen], *y[seen]]
    span = np.array([min(ends, default=0.5), max(ends, default=2.0)])
    ax.plot(span, span, color=MUTED, linewidth=0.9)
    ax.fill_between(span, span * (1 - within), span * (1 + within), color=MUTED, alpha=0.15, linewidth=0,
                    label=f"within {percent(within)}")  # fmt: skip
    ax.set(xscale="log", yscale="log")
    _plain_logarithmic(ax.xaxis, ax.yaxis)
    legend(ax)
    return dress(ax, xlabel=xlabel, ylabel=ylabel, title=title, grid="both")


def storage_breakdown(found, *, title=None, ax=None):
    """Draw what the kilobytes of the frontier's points are spent on, over their RMSE as stored.

    Parameters
    ----------
    found : Frontier
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    _check(found, Frontier, "found")
    ax = new_axes(ax, SIZE)
    best = found.pareto()[::-1]
    parts = [found.dictionary_bits[best], found.support_bits[best], found.value_bits[best]]
    colours, labels = (GREEN, BLUE, PINK), ("dictionary", "supports", "values")
    ax.stackplot(
        found.stored_rmse[best], [part / KILOBYTE for part in parts], colors=colours, labels=labels, alpha=0.8
    )
    legend(ax)
    return dress(ax, xlabel="RMSE as stored", ylabel="kilobytes", title=title)


def learning_curve(x, gap, bound, *, xlabel="training samples", title=None, ax=None):
    """Draw the measured gap between held-out and training loss, and its bound.

    Parameters
    ----------
    x : array_like, shape (L,)
        Training samples, or atoms in use.
    gap : array_like, shape (L,) or (L, S)
        Held-out less training loss, of S repetitions. Gaps at or below zero do not show on the logarithmic axis.
    bound : array_like, shape (L,)
    xlabel : str
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    x = check_array(x, "x", ("L",))
    bound = check_array(bound, "bound", (len(x),))
    gap = check_array(gap, "gap", (len(x),) if np.ndim(gap) == 1 else (len(x), "S")).reshape(len(x), -1)
    ax = new_axes(ax, SIZE)
    ax.plot(x, bound, "s-", color=ORANGE, markersize=4, linewidth=1.2, label="bound")
    ax.plot(x, gap.mean(axis=1), "o-", color=BLUE, markersize=4, linewidth=1.2, label="measured")
    if gap.shape[1] > 1:
        ax.plot(np.repeat(x, gap.shape[1]), gap.ravel(), ".", color=INK, markersize=2.5, alpha=0.5)
    ax.set(xscale="log", yscale="log")
    _plain_logarithmic(ax.xaxis, ax.yaxis)
    legend(ax)
    return dress(ax, xlabel=xlabel, ylabel="held-out less training loss", title=title, grid="both")
