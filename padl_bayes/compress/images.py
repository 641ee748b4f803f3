"""Photographs out of installed packages, cropped for a vision transformer; no image is in both halves."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

from padl_bayes._options import check_seed
from padl_bayes._validation import check_array, check_choice, check_count
from padl_bayes.compress._extra import optional

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
SCALE = np.array([0.229, 0.224, 0.225], np.float32)
SKIMAGE = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field", "immunohistochemistry")
SKIMAGE_GREY = ("camera", "coins", "moon", "page", "text", "brick", "grass", "gravel")
SKLEARN = ("china.jpg", "flower.jpg")
SPORCO = ("kodim23.png", "monarch.png", "sail.png", "tulips.png", "barbara.png")
HELD_OUT = ("chelsea", "coffee", "flower", "monarch", "sail", "camera", "coins", "rocket")
SMALLEST = 0.5


class Crops(NamedTuple):
    """Square crops of photographs, as a network takes them."""

    images: np.ndarray
    """(B, 3, size, size) float32, normalised as ImageNet is."""
    names: list
    """Photograph of each crop."""


def photographs():
    """Return the photographs of scikit-image, scikit-learn and, where installed, sporco, by name.

    Returns
    -------
    dict of str to ndarray
        (height, width, 3), uint8.

    Raises
    ------
    ImportError
        scikit-image or scikit-learn is missing.
    """
    data, sklearn = (optional(module, "a photograph") for module in ("skimage.data", "sklearn.datasets"))
    found = {name: getattr(data, name)() for name in (*SKIMAGE, *SKIMAGE_GREY)}
    found |= {name.partition(".")[0]: sklearn.load_sample_image(name) for name in SKLEARN}
    spec = importlib.util.find_spec("sporco")
    if spec is not None and spec.origin is not None:
        from PIL import Image

        folder = Path(spec.origin).parent / "data"
        found |= {name.partition(".")[0]: np.asarray(Image.open(folder / name)) for name in SPORCO}
    return {name: _three_channels(image) for name, image in found.items()}


def _three_channels(image):
    image = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    return np.ascontiguousarray(image[:, :, :3])


def prepared(images):
    """Normalise images in grey levels of 0 to 255 as the network was trained.

    Parameters
    ----------
    images : array_like, shape (B, height, width, 3)

    Returns
    -------
    ndarray, shape (B, 3, height, width)
        float32.
    """
    images = check_array(images, "images", ("B", "height", "width", 3)).astype(np.float32)
    return np.ascontiguousarray(((images / 255 - MEAN) / SCALE).transpose(0, 3, 1, 2))


def crops(part, n_crops, *, size=224, random_state=0):
    """Random square crops, each at least half the shorter side, resized; flips are not taken.

    Parameters
    ----------
    part : {"training", "held out"}
        Photographs of `HELD_OUT` are held out, whole: none of their crops is in training.
    n_crops : int
        Crops of each photograph.
    size : int
        Height and width after resizing.
    random_state : int

    Returns
    -------
    Crops
    """
    from PIL import Image

    check_choice(part, "part", ("training", "held out"))
    n_crops, size = check_count(n_crops, "n_crops"), check_count(size, "size", minimum=14)
    rng = np.random.default_rng(check_seed(random_state))
    cut, names = [], []
    for name, image in photographs().items():
        shorter = min(image.shape[:2])
        for _ in range(n_crops):
            side = int(rng.integers(int(SMALLEST * shorter), shorter + 1))
            top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
            if (name in HELD_OUT) == (part == "held out"):
                crop = Image.fromarray(image[top : top + side, left : left + side])
                cut.append(np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC)))
                names.append(name)
    return Crops(prepared(np.stack(cut)), names)
