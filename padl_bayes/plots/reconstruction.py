"""Samples, their reconstructions and codes, with how sure they are."""

import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm

from padl_bayes._validation import check_array, check_count, check_scalar
from padl_bayes.plots._style import (
    BLUE,
    INK,
    LARGE,
    MUTED,
    NORMAL,
    ORANGE,
    SMALL,
    dress,
    headline,
    legend,
    new_axes,
    new_panels,
    percent,
    quantiles,
    say,
)
from padl_bayes.plots.atoms import check_image_shape


def _band(mean, sd, draws, level):
    """Return middle, lower and upper end, from draws or from mean and standard deviation."""
    if draws is not None:
        lower, middle, upper = quantiles(draws, level)
        return (middle if mean is None else check_array(mean, "mean", (len(middle),))), lower, upper
    if mean is None:
        raise ValueError("mean and sd, or draws, must be given")
    mean = check_array(mean, "mean", ("P",))
    if sd is None:
        return mean, None, None
    sd = check_array(sd, "sd", mean.shape)
    level = check_scalar(level, "level", strict=True, maximum=1.0)
    reach = norm.ppf((1 + level) / 2) * sd
    return mean, mean - reach, mean + reach


def reconstruction(x, mean=None, *, sd=None, draws=None, level=0.9, title=None, ax=None):
    """Draw one sample over its features, with its reconstruction and credible band.

    Parameters
    ----------
    x : array_like, shape (P,)
        The sample.
    mean : array_like, shape (P,), optional
        Its reconstruction; the median of the draws if not given.
    sd : array_like, shape (P,), optional
        Posterior standard deviation, for a normal band.
    draws : array_like, shape (..., P), optional
        Posterior draws of the reconstruction, for a band of quantiles.
    level : float
        Probability of the band.
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = new_axes(ax, (5.2, 2.8))
    x = check_array(x, "x", ("P",))
    middle, lower, upper = _band(mean, sd, draws, level)
    if len(middle) != len(x):
        raise ValueError(f"x and its reconstruction must have one length, found {len(x)} and {len(middle)}")
    at = np.arange(len(x))
    if lower is not None:
        label = f"{percent(level)} credible band"
        ax.fill_between(at, lower, upper, color=BLUE, alpha=0.25, linewidth=0, label=label)
    ax.plot(at, middle, color=BLUE, linewidth=1.3, label="reconstruction")
    ax.plot(at, x, "o", color=ORANGE, markersize=3, label="data")
    ax.set_xlim(-0.5, len(x) - 0.5)
    ax.margins(y=0.12)
    legend(ax, loc="lower right", ncols=3, bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return dress(ax, xlabel="feature", ylabel="value", title=title)


def reconstruction_gallery(X, mean, sd, image_shape, *, title=None, fig=None, axes=None):
    """Draw a few images above their reconstructions and the standard deviations of these.

    Parameters
    ----------
    X, mean, sd : array_like, shape (N, P)
        Samples, reconstructions, and posterior standard deviations of the reconstructions.
    image_shape : tuple of int
        Height and width; their product is P.
    title : str, optional
        Of the figure; ``axes`` are part of one of yours.
    fig : matplotlib.figure.Figure or SubFigure, optional
    axes : sequence of matplotlib.axes.Axes, optional
        Three, in place of a figure.

    Returns
    -------
    matplotlib.figure.Figure or sequence of Axes
        What was drawn into. Data and reconstruction share a grey scale.
    """
    X = check_array(X, "X", ("N", "P"))
    mean, sd = check_array(mean, "mean", X.shape), check_array(sd, "sd", X.shape)
    shape = check_image_shape(image_shape, X.shape[1])
    size = (0.72 * len(X) * shape[1] / shape[0] + 1.9, 3 * 0.78 + 0.4)
    drawn, panels = new_panels(fig, axes, size, 3, 1)
    above, middle, below = panels.flat
    low, high = float(min(X.min(), mean.min())), float(max(X.max(), mean.max()))
    grey = {"cmap": "gray", "vmin": low, "vmax": high}
    _strip(above, X, shape, "data", **grey)
    shades = _strip(middle, mean, shape, "reconstruction", **grey)
    spread = _strip(below, sd, shape, "posterior sd", cmap="magma", vmin=0, vmax=float(sd.max()) or 1.0)
    for image, target in ((shades, [above, middle]), (spread, below)):
        bar = above.figure.colorbar(image, ax=target, fraction=0.02, pad=0.01, aspect=14)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL, colors=MUTED, labelcolor=INK, length=2)
        bar.ax.yaxis.set_major_locator(MaxNLocator(3))
    headline(drawn, title, LARGE)
    return drawn


def _strip(ax, images, shape, label, **colours):
    """Draw images side by side as one image."""
    tiles = np.pad(images.reshape(-1, *shape), ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    strip = tiles.transpose(1, 0, 2).reshape(shape[0], -1)[:, :-1]
    image = ax.imshow(strip, interpolation="nearest", **colours)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_ylabel(label, fontsize=NORMAL, color=INK, rotation=0, ha="right", va="center")
    return image


def code_intervals(
    mean=None, *, sd=None, draws=None, probability=None, level=0.9, max_atoms=40, title=None, ax=None
):
    """Draw the codes of one sample with credible intervals.

    Parameters
    ----------
    mean : array_like, shape (K,), optional
        Posterior means; the medians of the draws if not given.
    sd : array_like, shape (K,), optional
        Posterior standard deviations, for normal intervals.
    draws : array_like, shape (..., K), optional
        Posterior draws of the codes, for intervals of quantiles.
    probability : array_like, shape (K,), optional
        P(the sample uses the atom): codes below one half are drawn hollow.
    level : float
    max_atoms : int
        Draw the largest codes only.
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = new_axes(ax, (5.2, 2.8))
    if np.size(mean if mean is not None else draws) == 0:
        return say(ax, "no active atom")
    middle, lower, upper = _band(mean, sd, draws, level)
    used = np.ones(len(middle), bool)
    if probability is not None:
        used = check_array(probability, "probability", middle.shape) >= 0.5
    shown = np.argsort(-np.abs(middle), kind="stable")[: check_count(max_atoms, "max_atoms")]
    shown.sort()
    at = np.arange(len(shown))
    ax.axhline(0, color=MUTED, linewidth=0.8)
    if lower is not None:
        ax.vlines(at, lower[shown], upper[shown], color=BLUE, alpha=0.45, linewidth=2.5)
    for mask, face, label in ((used[shown], BLUE, "P(used) ≥ ½"), (~used[shown], "white", "P(used) < ½")):
        if mask.any():
            name = label if probability is not None else None
            ax.plot(at[mask], middle[shown][mask], "o", color=BLUE, mfc=face, markersize=4.5, label=name)
    step = max(1, -(-len(shown) // 20))
    ax.set_xticks(at[::step], [str(k + 1) for k in shown[::step]])
    ax.set_xlim(-0.7, len(shown) - 0.3)
    legend(ax, loc="lower right", ncols=2, bbox_to_anchor=(1, 1), borderaxespad=0.2)
    label = "code" if lower is None else f"code, {percent(level)} interval"
    return dress(ax, xlabel="atom, most energy first", ylabel=label, title=title)
