"""Methods side by side."""

import numpy as np

from padl_bayes._validation import check_array
from padl_bayes.plots._style import BLUE, INK, SKY, SMALL, dress, legend, new_axes

PAIR = (BLUE, SKY)


def comparison(labels, values, *, names=("held-out", "training"), xlabel="RMSE", title=None, ax=None):
    """Draw one group of horizontal bars a method.

    Parameters
    ----------
    labels : sequence of str
        The M methods, first on top.
    values : array_like, shape (M, C)
        C quantities of each, at most two.
    names : sequence of str
        The C quantities.
    xlabel : str
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    labels = list(labels)
    values = check_array(values, "values", (len(labels), "C"))
    n_bars = values.shape[1]
    if n_bars > len(PAIR) or len(names) < n_bars:
        raise ValueError(f"values must have one or two columns with a name each, found {n_bars}")
    ax = new_axes(ax, (7.5, 0.6 + (0.1 + 0.14 * n_bars) * len(labels)))
    at = np.arange(len(labels), dtype=float)
    thick = 0.8 / n_bars
    for c in range(n_bars):
        y = at + (c - (n_bars - 1) / 2) * thick
        bars = ax.barh(y, values[:, c], height=thick * 0.92, color=PAIR[c], label=names[c])
        ax.bar_label(bars, fmt="%.3g", padding=3, fontsize=SMALL, color=INK)
    ax.set_yticks(at, labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_xlim(0, 1.12 * float(values.max()) or 1.0)
    legend(ax, loc="lower right", ncols=2, bbox_to_anchor=(1, 1), borderaxespad=0.2)
    dress(ax, xlabel=xlabel, title=title, grid="x")
    ax.tick_params(axis="y", length=0)
    return ax
