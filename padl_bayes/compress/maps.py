"""Where in an image an atom is used."""

import numpy as np

from padl_bayes._validation import check_array
from padl_bayes.compress.images import MEAN, SCALE
from padl_bayes.plots._style import new_axes


def shown(image):
    """An image (3, H, W) as the network takes it, back as (H, W, 3) in [0, 1]."""
    image = check_array(image, "image", (3, "height", "width"))
    return np.clip(image.transpose(1, 2, 0) * SCALE + MEAN, 0, 1)


def atom_map(image, codes, *, title=None, ax=None):
    """Draw an atom's codes of the patches of an image over the image.

    Parameters
    ----------
    image : array_like, shape (3, H, W)
        As the network takes it.
    codes : array_like, shape (n,)
        Of one atom, patch by patch, rows first: a square number of them. Red where positive, blue where negative.
    title : str, optional
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        Arrays of other shapes.
    """
    picture = shown(image)
    codes = np.asarray(check_array(codes, "codes", ("n",)))
    side = round(len(codes) ** 0.5)
    if side**2 != len(codes):
        raise ValueError(f"codes must be of a square number of patches, found {len(codes)}")
    ax = new_axes(ax, (2.5, 2.7))
    height, width = picture.shape[:2]
    ax.imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=1)
    most = max(float(np.abs(codes).max()), float(np.finfo(np.float32).tiny))
    grid = codes.reshape(side, side)
    ax.imshow(
        grid,
        cmap="seismic",
        vmin=-most,
        vmax=most,
        alpha=0.75 * np.abs(grid) / most,
        extent=(0, width, height, 0),
    )
    ax.set_axis_off()
    if title:
        ax.set_title(title, fontsize="small")
    return ax
