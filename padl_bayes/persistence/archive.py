"""The container of version 1: an uncompressed .npz with a JSON header, sealed by a digest in the archive's comment."""

import json
import zipfile
import zlib

import numpy as np

from padl_bayes._files import SEAL_SIZE, check_seal, seal
from padl_bayes.persistence.values import Reader, Writer

FORMAT_VERSION = 1
HEADER = "header.json"
MAGIC = b"PK\x03\x04"
_DATE = (1980, 1, 1, 0, 0, 0)
_UNREADABLE = (
    AttributeError, EOFError, LookupError, NotImplementedError, OSError, RuntimeError, StopIteration, TypeError,
    ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def write_archive(obj, path, version):
    """Write an object of `padl_bayes.persistence.kinds`; ``version`` is the package's.

    Parameters
    ----------
    obj : object
    path : pathlib.Path
    version : str

    Raises
    ------
    TypeError
        The object, or something in it, is nothing that files hold.
    """
    writer = Writer()
    header = {
        "format": "padl_bayes",
        "format_version": FORMAT_VERSION,
        "padl_bayes_version": version,
        "kind": type(obj).__name__,
        "content": writer.value(obj, "obj"),
    }
    text = json.dumps(header, allow_nan=False, indent=1)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(HEADER, _DATE), text)
        for name, array in writer.arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.comment = bytes(SEAL_SIZE)
    seal(path)


def read_archive(path):
    """Read a file of `write_archive`.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    object

    Raises
    ------
    ValueError
        Anything else; the message names the path.
    """
    if not check_seal(path):
        raise ValueError(f"path {str(path)!r} is no file of padl_bayes.save, or not all of it")
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read(HEADER))
            _check(header)
            return Reader(_arrays(archive)).value(header["content"])
    except _UNREADABLE as error:
        raise ValueError(f"path {str(path)!r} cannot be read: {error}") from error


def _check(header):
    if header["format"] != "padl_bayes":
        raise ValueError(f"it is of the format {header['format']!r}, expected 'padl_bayes'")
    if header["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"it has format version {header['format_version']}, written by padl_bayes {header['padl_bayes_version']}, "
            f"expected at most {FORMAT_VERSION}; update padl_bayes"
        )


def _arrays(archive):
    arrays = {}
    for info in archive.infolist():
        if info.filename != HEADER:
            with archive.open(info) as member:
                name = info.filename.removesuffix(".npy")
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays
