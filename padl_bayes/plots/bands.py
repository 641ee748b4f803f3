"""Atoms with how well the posterior determines each entry."""

import numpy as np

from padl_bayes._validation import check_array, check_count
from padl_bayes.plots._style import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    SMALL,
    headline,
    new_panels,
    percent,
    quantiles,
)
from padl_bayes.plots.atoms import MAP, check_image_shape


def atom_bands(
    draws,
    *,
    active=None,
    truth=None,
    image_shape=None,
    level=0.9,
    max_atoms=12,
    columns=4,
    title=None,
    fig=None,
    axes=None,
):
    """Draw atoms with posterior bands, from aligned draws.

    Parameters
    ----------
    draws : array_like, shape (..., K, P)
        Aligned dictionaries, for example ``posterior["dictionary"]`` of `padl_bayes.arviz_io.to_arviz`.
    active : array_like, shape (..., K), optional
        Where an atom is on, for example ``posterior["active"]``: only these draws of an atom count, atoms are drawn in
        the order of how often they are on, and ones that never are, are left out.
    truth : array_like, shape (K_true, P), optional
        True atoms in the order and with the signs of the draws (`padl_bayes.match`), for lines; the first are drawn.
    image_shape : tuple of int, optional
        Height and width, whose product is P: the mean is drawn as an image, the width of the band as one below. Without
        it atoms are lines over the features, in bands.
    level : float
        Probability of the bands.
    max_atoms, columns : int
    title : str, optional
        Of the figure; ``axes`` are part of one of yours.
    fig : matplotlib.figure.Figure or SubFigure, optional
    axes : array_like of matplotlib.axes.Axes, optional
        In place of a figure: ``columns`` of them in each row, and two rows for a row of images.

    Returns
    -------
    matplotlib.figure.Figure or array_like of Axes
        What was drawn into.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit together.
    """
    draws = check_array(draws, "draws", ("...", "K", "P"))
    n_atoms, n_features = draws.shape[-2:]
    on = (
        np.ones(draws.shape[:-1], bool)
        if active is None
        else check_array(active, "active", draws.shape[:-1]) > 0
    )
    draws, on = draws.reshape(-1, n_atoms, n_features), on.reshape(-1, n_atoms)
    share = on.mean(axis=0)
    order = np.argsort(-share, kind="stable") if active is not None else np.arange(n_atoms)
    shown = order[share[order] > 0][: check_count(max_atoms, "max_atoms")]
    truth = None if truth is None else check_array(truth, "truth", ("K", n_features))
    bands = [quantiles(draws[on[:, k], k], level) for k in shown]
    heads = [f"{k + 1}" if active is None else f"{k + 1}: P(active) {share[k]:.2f}" for k in shown]
    columns = max(1, min(check_count(columns, "columns"), len(shown)))
    rows = max(1, -(-len(shown) // columns))
    if image_shape is None:
        size = (1.9 * columns, 1.25 * rows + 0.5)
        drawn, panels = new_panels(fig, axes, size, rows, columns, sharex=True, sharey=True)
        _lines(panels, shown, bands, heads, truth)
    else:
        shape = check_image_shape(image_shape, n_features)
        size = (1.1 * columns, (2.2 * shape[0] / shape[1] + 0.3) * rows + 0.3)
        drawn, panels = new_panels(fig, axes, size, 2 * rows, columns)
        widest = max((float(np.max(upper - lower)) for lower, _, upper in bands), default=0.0) or 1.0
        _images(panels, bands, heads, shape, widest)
    if image_shape is None:
        name = f"{percent(level)} band{'' if truth is None else ', dots: truth'}"
    else:
        name = f"below: width of the {percent(level)} band, dark 0 to bright {widest:.2g}"
    headline(drawn, f"{title}; {name}" if title else name)
    return drawn


def _lines(axes, shown, bands, heads, truth):
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, k, (lower, middle, upper), head in zip(axes.flat, shown, bands, heads, strict=False):
        at = np.arange(len(middle))
        ax.axhline(0, color=MUTED, linewidth=0.5)
        ax.fill_between(at, lower, upper, color=BLUE, alpha=0.3, linewidth=0)
        ax.plot(at, middle, color=BLUE, linewidth=1)
        if truth is not None and k < len(truth):
            ax.plot(at, truth[k], ".", color=ORANGE, markersize=3)
        ax.set_title(head, fontsize=SMALL, color=INK, loc="left", pad=2)


def _images(axes, bands, heads, shape, widest):
    for ax in axes.flat:
        ax.set_axis_off()
    for i, ((lower, middle, upper), head) in enumerate(zip(bands, heads, strict=True)):
        row, column = divmod(i, axes.shape[1])
        limit = float(np.abs(middle).max()) or 1.0
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        above.imshow(middle.reshape(shape), cmap=MAP, vmin=-limit, vmax=limit, interpolation="nearest")
        above.set_axis_on()
        above.set(xticks=[], yticks=[])
        above.spines[:].set_color(FAINT)
        above.set_title(head, fontsize=SMALL, color=INK, pad=2)
        below.imshow(
            (upper - lower).reshape(shape), cmap="magma", vmin=0, vmax=widest, interpolation="nearest"
        )
