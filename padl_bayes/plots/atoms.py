"""The dictionary as a gallery."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from padl_bayes._validation import check_array, check_count
from padl_bayes.plots._style import BLUE, FAINT, INK, LARGE, NORMAL, new_axes, new_figure, say

MAP = "RdBu_r"
LABEL_ROOM = 0.34
GAP = 0.12


def gallery(
    dictionary,
    *,
    image_shape=None,
    energy=None,
    labels=None,
    label_name=None,
    columns=None,
    max_atoms=128,
    title=None,
    fig=None,
    ax=None,
):
    """Draw all atoms: as images in a diverging map with zero white, or as lines.

    Parameters
    ----------
    dictionary : array_like, shape (K, P)
    image_shape : tuple of int, optional
        Height and width, whose product is P. Without it atoms are drawn as lines over the features.
    energy : array_like, shape (K,), optional
        Atoms are sorted by it, largest first; the order given otherwise.
    labels : array_like, shape (K,), optional
        A number below each atom, for example its usage or P(active).
    label_name : str, optional
        What the numbers are.
    columns : int, optional
    max_atoms : int
        Draw the first so many at most.
    title : str, optional
    fig : matplotlib.figure.Figure or SubFigure, optional
    ax : matplotlib.axes.Axes, optional
        In place of a figure.

    Returns
    -------
    matplotlib.figure.Figure or Axes
        What was drawn into.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit together.

    Notes
    -----
    Each atom has its own scale, symmetric around zero: atoms are unit-norm, their sign is free.
    """
    if not np.size(dictionary):
        drawn, ax = _place(fig, ax, (4, 1))
        say(ax, "no active atom")
        return drawn
    dictionary = check_array(dictionary, "dictionary", ("K", "P"))
    n_atoms, n_features = dictionary.shape
    if image_shape is not None:
        image_shape = check_image_shape(image_shape, n_features)
    order = np.arange(n_atoms)
    if energy is not None:
        order = np.argsort(-check_array(energy, "energy", (n_atoms,)), kind="stable")
    labels = None if labels is None else check_array(labels, "labels", (n_atoms,))
    order = order[: check_count(max_atoms, "max_atoms")]
    columns = _columns(len(order), image_shape) if columns is None else check_count(columns, "columns")
    columns = min(columns, len(order))
    rows = -(-len(order) // columns)
    room = GAP if labels is None else LABEL_ROOM
    tall, wide = (1.0, 1.0) if image_shape is None else np.divide(image_shape, max(image_shape))
    inches = 1.4 if image_shape is None else 0.68
    stretch = 0.55 if image_shape is None else 1.0
    size = (inches * columns * (wide + GAP) + 0.3, inches * stretch * rows * (tall + room) + 0.55)
    drawn, ax = _place(fig, ax, size)
    corners = [(i % columns * (wide + GAP), -(i // columns) * (tall + room)) for i in range(len(order))]
    if image_shape is None:
        _draw_lines(ax, dictionary[order], corners)
    else:
        _draw_images(ax, dictionary[order].reshape(-1, *image_shape), corners, (tall, wide))
    if labels is not None:
        for (x, y), value in zip(corners, labels[order], strict=True):
            at = (x + wide / 2, y - tall - 0.04)
            ax.text(*at, _short(value), ha="center", va="top", fontsize=6.5, color=INK)
    ax.set(xlim=(-GAP / 2, columns * (wide + GAP) - GAP / 2), ylim=(GAP / 2 - rows * (tall + room), GAP / 2))
    ax.set_aspect("equal" if image_shape is not None else "auto")
    ax.set_axis_off()
    _head(ax, title, len(order), n_atoms, label_name if labels is not None else None)
    return drawn


def _place(fig, ax, size):
    """What was drawn into, and the axes: ``ax``, or new ones of ``fig``."""
    if ax is None:
        fig = new_figure(fig, size)
        return fig, fig.add_subplot()
    if fig is not None:
        raise TypeError("fig or ax must be None, found both")
    return ax, new_axes(ax, size)


def check_image_shape(image_shape, n_features):
    """Return ``image_shape`` as two ints whose product is the number of features."""
    try:
        height, width = image_shape
    except (TypeError, ValueError):
        raise ValueError(f"image_shape must be (height, width), found {image_shape!r}") from None
    height, width = check_count(height, "image_shape[0]"), check_count(width, "image_shape[1]")
    if height * width != n_features:
        raise ValueError(f"image_shape {(height, width)} holds {height * width} pixels, found {n_features}")
    return height, width


def _columns(n_atoms, image_shape):
    if image_shape is None:
        return min(6, n_atoms)
    return int(np.clip(round(np.sqrt(1.8 * n_atoms)), 4, 16))


def _draw_images(ax, images, corners, size):
    tall, wide = size
    for image, (x, y) in zip(images, corners, strict=True):
        limit = np.abs(image).max() or 1.0
        extent = (x, x + wide, y - tall, y)
        ax.add_patch(Rectangle((x, y - tall), wide, tall, fill=False, edgecolor=FAINT, linewidth=0.8))
        ax.imshow(image, cmap=MAP, vmin=-limit, vmax=limit, extent=extent, interpolation="nearest")


def _draw_lines(ax, atoms, corners):
    grid = np.linspace(0.03, 0.97, atoms.shape[1])
    limits = np.abs(atoms).max(axis=1, keepdims=True)
    heights = atoms / np.where(limits > 0, limits, 1) * 0.47
    corners = np.asarray(corners)
    lines = np.stack([corners[:, :1] + grid, corners[:, 1:] - 0.5 + heights], axis=2)
    zeros = [[(x, y - 0.5), (x + 1, y - 0.5)] for x, y in corners]
    ax.add_collection(LineCollection(zeros, colors=FAINT, linewidths=1))
    ax.add_collection(LineCollection(list(lines), colors=BLUE, linewidths=1))


def _short(value):
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}"
    return text.replace("0.", ".", 1) if text.startswith("0.") else text


def _head(ax, title, shown, total, label_name):
    parts = [title] if title else []
    parts += [f"first {shown} of {total} atoms"] if shown < total else []
    parts += [f"below each: {label_name}"] if label_name else []
    if parts:
        ax.set_title("; ".join(parts), fontsize=LARGE if title else NORMAL, color=INK, loc="left")
