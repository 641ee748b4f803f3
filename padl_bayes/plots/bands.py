"""Atoms with how well the posterior determines each entry."""

import numpy as np

from padl_bayes._validation import check_array, check_count
from padl_bayes.plots._style import BLUE, INK, MUTED, NORMAL, ORANGE, SMALL, new_figure, percent, quantiles
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
    fig : matplotlib.figure.Figure, optional

    Returns
    -------
    matplotlib.figure.Figure

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
    heads = [f"{k + 1}" if active is None else f"{k + 1}: P {share[k]:.2f}" for k in shown]
    columns = max(1, min(check_count(columns, "columns"), len(shown)))
    rows = -(-len(shown) // columns)
    if image_shape is None:
        fig = new_figure(fig, (1.9 * columns, 1.25 * rows + 0.5))
        _lines(
            fig.subplots(max(rows, 1), columns, sharex=True, sharey=True, squeeze=False),
            shown,
            bands,
            heads,
            truth,
        )
    else:
        shape = check_image_shape(image_shape, n_features)
        fig = new_figure(fig, (1.1 * columns, 2.1 * rows + 0.5))
        _images(fig.subplots(2 * max(rows, 1), columns, squeeze=False), bands, heads, shape)
    name = (
        f"{percent(level)} band"
        if image_shape is None
        else f"below each atom the width of its {percent(level)} band"
    )
    fig.suptitle(f"{title}; {name}" if title else name, x=0.01, ha="left", fontsize=NORMAL, color=INK)
    return fig


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


def _images(axes, bands, heads, shape):
    for ax in axes.flat:
        ax.set_axis_off()
    widest = max((float(np.max(upper - lower)) for lower, _, upper in bands), default=1.0) or 1.0
    for i, ((lower, middle, upper), head) in enumerate(zip(bands, heads, strict=True)):
        row, column = divmod(i, axes.shape[1])
        limit = float(np.abs(middle).max()) or 1.0
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        above.imshow(middle.reshape(shape), cmap=MAP, vmin=-limit, vmax=limit, interpolation="nearest")
        above.set_title(head, fontsize=SMALL, color=INK, pad=2)
        below.imshow(
            (upper - lower).reshape(shape), cmap="magma", vmin=0, vmax=widest, interpolation="nearest"
        )
