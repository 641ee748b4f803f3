"""What the figures share: colours, axes without chart junk, intervals of draws."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from padl_bayes._validation import check_array, check_scalar

# Okabe and Ito's palette: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, PINK, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER)
INK, MUTED, FAINT = "#22282f", "#6b7680", "#e3e7eb"
SMALL, NORMAL, LARGE = 8, 9, 11


def new_figure(fig, size):
    """Return ``fig``, or a new figure of ``size`` inches that is not registered with pyplot."""
    if fig is None:
        return Figure(figsize=size, layout="constrained")
    if not isinstance(fig, FigureBase):
        raise TypeError(f"fig must be a matplotlib Figure, found {type(fig).__name__}")
    return fig


def new_axes(ax, size):
    """Return ``ax``, or the axes of a new figure of ``size`` inches."""
    if ax is None:
        return new_figure(None, size).add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes, found {type(ax).__name__}")
    return ax


def dress(ax, *, xlabel=None, ylabel=None, title=None, grid="y"):
    """Give ``ax`` the common look and return it."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(colors=MUTED, labelcolor=INK, labelsize=SMALL, length=3)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=FAINT, linewidth=0.8)
    if xlabel:
        ax.set_xlabel(xlabel, fontsize=NORMAL, color=INK)
    if ylabel:
        ax.set_ylabel(ylabel, fontsize=NORMAL, color=INK)
    if title:
        ax.set_title(title, fontsize=LARGE, color=INK, loc="left")
    return ax


def legend(ax, **options):
    """Draw a small legend without a frame, if there is something to tell."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=SMALL, frameon=False, labelcolor=INK, **options)


def say(ax, text):
    """Write ``text`` where there is nothing to draw."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, fontsize=NORMAL, transform=ax.transAxes)
    return ax


def quantiles(draws, level, name="draws"):
    """Return lower end, median and upper end of the central interval over all axes but the last.

    Parameters
    ----------
    draws : array_like, shape (..., K)
        At least one axis of draws in front.
    level : float
        Probability of the interval, in (0, 1).
    name : str
        What to call the argument in errors.
    """
    level = check_scalar(level, "level", strict=True, maximum=1.0)
    draws = check_array(draws, name, ("...", "n"))
    if draws.ndim < 2:
        raise ValueError(f"{name} must have an axis of draws in front, found shape {draws.shape}")
    ends = [(1 - level) / 2, 0.5, (1 + level) / 2]
    return np.quantile(draws.reshape(-1, draws.shape[-1]), ends, axis=0)


def percent(level):
    """Return ``level`` for a label: 90% for 0.9."""
    return f"{100 * level:g}%"
