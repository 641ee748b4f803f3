"""How a run went."""

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from padl_bayes._validation import check_array
from padl_bayes.plots._style import (
    AMBER,
    CYCLE,
    GREEN,
    INK,
    LARGE,
    ORANGE,
    PINK,
    SKY,
    SMALL,
    dress,
    headline,
    new_axes,
    new_panels,
)

STEPS = (1, 2, 5, 10)
STAGE_COLOURS = {"anneal": ORANGE, "delete": PINK, "reheat": AMBER, "refresh": SKY, "settle": GREEN}


def trace(values, *, stages=None, ylabel=None, xlabel="pass", robust=None, key=True, title=None, ax=None):
    """Draw a quantity over the passes of a fit or the draws of chains.

    Parameters
    ----------
    values : array_like, shape (n,) or (chain, n)
    stages : sequence of str, shape (n,), optional
        The stage of each pass; stretches of one stage are shaded in one colour.
    ylabel, xlabel : str, optional
    robust : bool, optional
        Let the scale follow the middle half of the values and what is near, so that a start far off and moves
        that melt the fit again do not flatten the rest. Default: for one line, not for chains, which are to be seen
        whole.
    key : bool
        Explain the shades.
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = new_axes(ax, (5.2, 2.8))
    values = np.atleast_2d(check_array(values, "values", ("...", "n")))
    if values.ndim > 2:
        raise ValueError(f"values must have shape (n,) or (chain, n), found {values.shape}")
    n = values.shape[1]
    at = np.arange(1, n + 1)
    if stages is not None:
        stages = np.asarray(stages)
        if stages.shape != (n,):
            raise ValueError(f"stages must have shape ({n},), found {stages.shape}")
        shades = _shade(ax, stages)
        if key:
            ax.legend(
                handles=shades, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(shades), fontsize=SMALL,
                frameon=False, labelcolor=INK, borderaxespad=0.2, handlelength=1, columnspacing=1,
            )  # fmt: skip
    thin = 1.2 if len(values) == 1 else 0.7
    for line, colour in zip(values, CYCLE * len(values), strict=False):
        ax.plot(at, line, color=INK if stages is not None else colour, linewidth=thin)
    if (len(values) == 1 if robust is None else robust) and n >= 20:
        ax.set_ylim(_robust_limits(values))
    ax.set_xlim(1, max(n, 2))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=STEPS))
    ax.ticklabel_format(axis="y", useOffset=False)
    return dress(ax, xlabel=xlabel, ylabel=ylabel, title=title)


def _robust_limits(values):
    """Ends of the scale: the values within three quarters of the interquartile range of it, and the last."""
    low, high = (float(end) for end in np.quantile(values, (0.25, 0.75)))
    reach = 0.75 * (high - low)
    last = values[:, -1]
    inside = np.concatenate([values[(values >= low - reach) & (values <= high + reach)], last])
    room = 0.06 * float(np.ptp(inside)) or 0.5
    return float(inside.min()) - room, float(inside.max()) + room


def _shade(ax, stages):
    """Shade stretches of equal stages; returns the patches of a legend, in order of appearance."""
    starts = np.flatnonzero(np.concatenate([[True], stages[1:] != stages[:-1]]))
    ends = np.append(starts[1:], len(stages))
    colours: dict = {}
    for start, end in zip(starts, ends, strict=True):
        name = str(stages[start])
        spare = CYCLE[len(colours) % len(CYCLE)]
        colours.setdefault(name, STAGE_COLOURS.get(name, spare))
        ax.axvspan(start + 0.5, end + 0.5, color=colours[name], alpha=0.16, linewidth=0)
    return [Patch(color=colour, alpha=0.35, linewidth=0, label=name) for name, colour in colours.items()]


def history(record, *, title=None, fig=None, axes=None):
    """Draw the history of a fit, one panel a quantity.

    Parameters
    ----------
    record : mapping of str to array_like
        ``history_`` of an estimator: elbo, noise_scale and n_active with the stage of each pass, or objective.
    title : str, optional
        Of the figure; ``axes`` are part of one of yours.
    fig : matplotlib.figure.Figure or SubFigure, optional
    axes : sequence of matplotlib.axes.Axes, optional
        One a quantity, in place of a figure.

    Returns
    -------
    matplotlib.figure.Figure or sequence of Axes
        What was drawn into.
    """
    names = {
        "elbo": "ELBO (nats)",
        "noise_scale": "noise scale",
        "n_active": "active atoms",
        "objective": "objective",
    }
    found = [name for name in names if name in record]
    if not found:
        raise ValueError(
            f"record must hold one of {', '.join(names)}, found {', '.join(record) or 'nothing'}"
        )
    drawn, panels = new_panels(fig, axes, (7.5, 0.5 + 1.5 * len(found)), len(found), 1, sharex=True)
    stages = record.get("stage")
    for i, (ax, name) in enumerate(zip(panels.flat, found, strict=True)):
        label = "pass" if stages is not None else "iteration"
        trace(
            record[name], stages=stages, ylabel=names[name], key=i == 0, ax=ax,
            xlabel=label if i == len(found) - 1 else None, robust=name != "n_active",
        )  # fmt: skip
        if name == "n_active":
            ax.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=STEPS))
    panels[0, 0].figure.align_ylabels(list(panels.flat))
    headline(drawn, title, LARGE)
    return drawn
