"""Files that appear whole or not at all, and bytes that end with a digest or a checksum of all that goes before."""

import contextlib
import hashlib
import os
import secrets
import time
import zlib
from pathlib import Path

_MARK = b"padl_bayes sha256 "
SEAL_SIZE = len(_MARK) + 64
UNFINISHED = ".padl-"
"""Names of files that `write_whole` has not completed start with this; a run that was killed leaves one."""
ABANDONED = 24 * 3600
"""Seconds after which nobody writes to such a file any more: on this machine or on another that shares the folder."""
_CHUNK = 2**20
CHECKSUM_SIZE = 4
DAMAGED = "it is damaged: its bytes are not those that were written"


def check_free(path, *, overwrite=False):
    """Return ``path`` as a `pathlib.Path` where a file can be written, or raise what `write_whole` does."""
    path = Path(path)
    if path.is_dir():
        raise FileExistsError(f"path {str(path)!r} is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"path {str(path)!r} exists already; pass another one or overwrite=True "
            "(on the command line --overwrite)"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path {str(path)!r} lies in a folder that does not exist; create it first")
    return path


def _remove_abandoned(folder):
    """Remove what runs that were killed left, as far as it can be removed."""
    for path in folder.glob(UNFINISHED + "[0-9a-f]" * 16):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > ABANDONED:
                path.unlink()


def write_whole(path, write, *, overwrite=False):
    """Write a file under another name in the same folder, and give it its own once all of it is on disk.

    Files of other names that were begun so long ago that the run must have been killed are removed.

    Parameters
    ----------
    path : str or os.PathLike
    write : callable
        Given the path that it shall write.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileExistsError
        ``path`` exists and ``overwrite`` is false, or it is a folder.
    FileNotFoundError
        Its folder does not exist.
    """
    path = check_free(path, overwrite=overwrite)
    _remove_abandoned(path.parent)
    unfinished = path.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        write(unfinished)
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _digest(file, size):
    """SHA-256 of the first ``size`` bytes, in hexadecimal."""
    found = hashlib.sha256()
    file.seek(0)
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            break
        found.update(chunk)
        size -= len(chunk)
    return found.hexdigest().encode()


def seal(path):
    """Write the digest of a file over its last `SEAL_SIZE` bytes."""
    with open(path, "rb+") as file:
        body = os.path.getsize(path) - SEAL_SIZE
        digest = _digest(file, body)
        file.seek(body)
        file.write(_MARK + digest)


def check_seal(path):
    """Return whether a file ends with a digest, of just what goes before it.

    Raises
    ------
    ValueError
        It ends with a digest of something else: it is damaged.
    """
    body = os.path.getsize(path) - SEAL_SIZE
    if body < 0:
        return False
    with open(path, "rb") as file:
        file.seek(body)
        found = file.read()
        if not found.startswith(_MARK):
            return False
        if found != _MARK + _digest(file, body):
            raise ValueError(f"path {str(path)!r} is damaged: its bytes are not those that were written")
    return True


def with_checksum(body):
    """Bytes with their CRC-32 behind them."""
    return body + zlib.crc32(body).to_bytes(CHECKSUM_SIZE, "little")


def without_checksum(data):
    """The bytes given to `with_checksum`.

    Raises
    ------
    ValueError
        They are others.
    """
    body = data[:-CHECKSUM_SIZE]
    if with_checksum(body) != data:
        raise ValueError(DAMAGED)
    return body
