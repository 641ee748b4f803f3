"""Folders that appear complete or not at all."""

import contextlib
import os
import shutil
import uuid
from pathlib import Path

MARK = "report.html"


def check_folder(path, *, overwrite=False):
    """Return ``path`` as a `Path` that a folder may be written to.

    Raises
    ------
    FileExistsError
        It exists and ``overwrite`` is false, or it is no folder that this package wrote.
    FileNotFoundError
        The folder that it lies in does not exist.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise FileExistsError(f"output path {str(path)!r} exists and is no folder; choose another")
    if path.exists():
        if not overwrite:
            raise FileExistsError(
                f"output path {str(path)!r} exists already; choose another, or replace it with --overwrite "
                "(in Python: overwrite=True)"
            )
        if any(path.iterdir()) and not (path / MARK).is_file():
            raise FileExistsError(
                f"output path {str(path)!r} holds files but no {MARK}: it is not overwritten; choose another"
            )
    parent = Path(os.path.abspath(path)).parent
    if not parent.is_dir():
        raise FileNotFoundError(f"output path {str(path)!r} lies in a folder that does not exist")
    return path


@contextlib.contextmanager
def new_folder(path, *, overwrite=False):
    """Yield an empty folder beside ``path``, which takes its name once the block ends without an error.

    Raises
    ------
    FileExistsError, FileNotFoundError
        As `check_folder`, before and after the block.
    """
    target = Path(os.path.abspath(check_folder(path, overwrite=overwrite)))
    token = uuid.uuid4().hex[:8]
    draft = target.with_name(f".{target.name}.{token}")
    old = target.with_name(f".{target.name}.{token}.old")
    draft.mkdir()
    try:
        yield draft
        check_folder(path, overwrite=overwrite)
        if target.exists():
            target.rename(old)
        draft.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
