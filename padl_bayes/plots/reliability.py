"""How far probabilities can be trusted."""

from collections.abc import Mapping

import numpy as np

from padl_bayes.agreement import Reliability
from padl_bayes.plots._style import CYCLE, MUTED, dress, legend, new_axes, percent

SIZE = (4.2, 4.8)
MARKERS = "osD^vP"


def reliability(results, *, xlabel="P(active)", ylabel="share that is real", title=None, ax=None):
    """Draw the observed frequency over the probability: on the diagonal, probabilities can be taken at their word.

    Parameters
    ----------
    results : Reliability or mapping of str to Reliability
        From `padl_bayes.reliability`; several by name.
    xlabel, ylabel : str
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        A point a bin, larger where it holds more forecasts, at their mean probability.

    Raises
    ------
    TypeError
        ``results`` is something else.
    """
    named = results if isinstance(results, Mapping) else {"": results}
    for name, result in named.items():
        if not isinstance(result, Reliability):
            raise TypeError(f"results[{name!r}] must be a Reliability, found {type(result).__name__}")
    ax = new_axes(ax, SIZE)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    colours = CYCLE * len(named)
    for i, (name, result) in enumerate(named.items()):
        _draw(ax, name, result, colours[i], MARKERS[i % len(MARKERS)], (i - (len(named) - 1) / 2) * 0.008)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    levels = {result.level for result in named.values()}
    if len(levels) == 1:
        ylabel = f"{ylabel}, {percent(levels.pop())} interval"
    return dress(ax, xlabel=xlabel, ylabel=ylabel, title=title, grid="both")


def _draw(ax, name, result, colour, marker, shift):
    """One result; ``shift`` keeps the bars of several apart."""
    at = result.forecast + shift
    ax.vlines(at, result.lower, result.upper, color=colour, alpha=0.5, linewidth=1.6)
    share = result.number / result.number.sum()
    label = f"{name + ': ' if name else ''}{result.number.sum()} atoms, ECE {result.ece:.2f}"
    ax.plot(at, result.frequency, color=colour, linewidth=0.9, alpha=0.6)
    ax.scatter(at, result.frequency, s=14 + 110 * np.sqrt(share), color=colour, marker=marker, alpha=0.85,
               linewidths=0, label=label, zorder=3)  # fmt: skip
