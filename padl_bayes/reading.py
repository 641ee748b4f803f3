"""Samples from files: a matrix, or patches out of a folder of images."""

import warnings
from pathlib import Path

import numpy as np

from ._validation import check_count
from .datasets._patches import cut_patches, positions_in

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
PATCH_SHAPE = (8, 8)
N_PATCHES = 20_000


def read_matrix(path, key=None):
    """Read a matrix from ``.npy``, ``.npz``, ``.csv`` or ``.parquet``.

    Parameters
    ----------
    path : str or os.PathLike
    key : str, optional
        Names the array of an ``.npz`` file that holds several.

    Returns
    -------
    ndarray, shape (N, P)
        A csv file may have one line of column names; columns are separated by commas.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Unreadable, truncated, of another kind, or without that array.
    ImportError
        A ``.parquet`` file, and pandas or pyarrow is missing.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"file {str(path)!r} is a folder; patches of its images come from read_patches")
    if not path.is_file():
        raise FileNotFoundError(f"file {str(path)!r} does not exist")
    kind = path.suffix.lower()
    if kind not in READERS:
        raise ValueError(f"file {str(path)!r} must end in {', '.join(READERS)}")
    if key is not None and kind != ".npz":
        raise ValueError(f"key {key!r} only applies to .npz files, found {str(path)!r}")
    try:
        return READERS[kind](path, key)
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"file {str(path)!r} is no readable {path.suffix[1:]} file: {error}") from error


def _read_npy(path, key):
    with path.open("rb") as file:
        try:
            return np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            if "Object arrays" not in str(error):
                raise
            raise ValueError("it holds Python objects; save numbers, as X.astype(float)") from None


def _read_npz(path, key):
    # given a path, NumPy leaves a broken archive's file open
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = list(archive.files)
        if key is None and len(names) != 1:
            raise KeyError(f"file {str(path)!r} holds {', '.join(names)}: choose one with --key")
        if key is not None and key not in names:
            raise KeyError(f"file {str(path)!r} holds {', '.join(names)}, not {key!r}")
        return archive[names[0] if key is None else key]


def _read_csv(path, key):
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.loadtxt(
                path,
                delimiter=",",
                skiprows=int(not _is_numeric(first)),
                ndmin=2,
                encoding="utf-8-sig",
                dtype=np.float64,
            )
        except ValueError as error:
            hint = (
                "; every column must hold numbers: leave out names of rows, fill in or drop what is missing"
            )
            raise ValueError(f"{error}{hint}") from error


def _is_numeric(line):
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


def _read_parquet(path, key):
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"reading {str(path)!r} needs pandas and pyarrow: pip install 'padl-bayes[parquet]'"
        ) from error
    return pandas.read_parquet(path, engine="pyarrow").to_numpy()


READERS = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet}


def _read_grey(path):
    """Grey levels in [0, 1] of an image, its first frame."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            # Pillow would cut off what is beyond 8 bits
            deep = np.asarray(image) if image.mode.startswith(("I", "F")) else None
            grey = np.asarray(image.convert("L")) / 255 if deep is None else deep / (deep.max() or 1)
    except Exception as error:
        raise ValueError(f"file {str(path)!r} is no readable image: {error}") from error
    return grey.astype(np.float64)


def read_patches(folder, shape=PATCH_SHAPE, n_patches=N_PATCHES, *, seed=0):
    """Cut patches at random out of the images in a folder, in grey levels of [0, 1] with each patch's mean taken out.

    Parameters
    ----------
    folder : str or os.PathLike
        Its images, not those of folders in it: png, jpeg, bmp, gif, tiff or webp. Deep ones (16 bits, floats) are
        divided by their largest value.
    shape : tuple of int
        Height and width of a patch.
    n_patches : int
        N; all there are where the images hold fewer. Places are drawn without replacement.
    seed : int

    Returns
    -------
    ndarray, shape (N, height * width)

    Raises
    ------
    FileNotFoundError
        No such folder.
    ValueError
        No images in it, one that cannot be read, or one smaller than a patch.
    """
    folder = Path(folder)
    height, width = (check_count(size, "shape") for size in shape)
    n_patches = check_count(n_patches, "n_patches")
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {str(folder)!r} does not exist")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    if not paths:
        raise ValueError(f"folder {str(folder)!r} has no images, expected files in {', '.join(IMAGES)}")
    pictures = [_read_grey(path) for path in paths]
    grids = positions_in(pictures, (height, width))
    for path, picture, grid in zip(paths, pictures, grids, strict=True):
        if 0 in grid:
            rows, columns = picture.shape
            raise ValueError(
                f"file {str(path)!r} is {rows}x{columns} pixels, smaller than a patch of {height}x{width}"
            )
    places = sum(rows * columns for rows, columns in grids)
    X, _ = cut_patches(pictures, (height, width), min(n_patches, places), seed)
    return X - X.mean(axis=1, keepdims=True)
