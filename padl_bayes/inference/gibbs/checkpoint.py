"""A folder from which a run that was stopped, however that came about, goes on to the bit.

It holds ``settings.json`` (what was asked for, and a digest of the data), ``state.npz`` (where the chains are and how
many parts are complete), ``reference.npz`` and ``part-0000.npz``, ... Each file is written under another name first,
the state last, so that what the state counts is complete. Files hold plain arrays: reading them executes nothing.
"""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import jax
import numpy as np

from .parts import Part
from .transition import GibbsState

FORMAT = 1


def digest(tree):
    """Hexadecimal digest of the arrays in a tree."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.ascontiguousarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def sweeps_in(folder):
    """Sweeps of each chain, warm-up included, that the folder of a `Checkpoint` holds; 0 if there is no such folder."""
    path = Path(folder) / "state.npz"
    if not path.is_file():
        return 0
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        return int(file["i"][0])


class Checkpoint:
    """What a run saves as it goes, and finds when it is started again; with no folder, nothing.

    Parameters
    ----------
    folder : str or os.PathLike or None
        Made if it does not exist.
    settings : dict
        Texts and numbers that must be the same when the run goes on.

    Raises
    ------
    FileExistsError
        The folder holds something else.
    ValueError
        It was written with other settings, by a newer version, or a file of it is damaged.
    """

    def __init__(self, folder, settings):
        self.enabled = folder is not None
        self.folder = Path(folder or "")
        self.state, self.reference, self.parts = None, None, []
        if not self.enabled:
            return
        settings = {"format": FORMAT} | settings
        if self.folder.exists() and {path.name for path in self.folder.iterdir()} - {_draft("settings.json")}:
            self._check(settings)
            self._load()
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write("settings.json", lambda file: file.write(json.dumps(settings, indent=1).encode()))

    def _check(self, settings):
        path = self.folder / "settings.json"
        if not path.is_file():
            raise FileExistsError(
                f"checkpoint {str(self.folder)!r} holds files but no settings.json: choose another"
            )
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"checkpoint file {str(path)!r} is damaged: {error}") from error
        if found.get("format", 0) > FORMAT:
            raise ValueError(
                f"checkpoint {str(self.folder)!r} has format {found['format']}, newer than {FORMAT}"
            )
        for name, value in settings.items():
            if found.get(name) != value:
                raise ValueError(
                    f"checkpoint {str(self.folder)!r} was made with {name} = {found.get(name)!r}, found {value!r}: "
                    "give another folder, or the same data and settings"
                )

    def _load(self):
        if not (self.folder / "state.npz").is_file():
            return
        saved = self._read("state.npz")
        n_parts = int(saved.pop("n_parts"))
        z = {name[2:]: array for name, array in saved.items() if name.startswith("z/")}
        rest = {name: array for name, array in saved.items() if not name.startswith("z/")}
        rest["rng_key"] = jax.random.wrap_key_data(rest["rng_key"])
        self.state = GibbsState(z=z, **rest)
        if (self.folder / "reference.npz").is_file():
            self.reference = self._read("reference.npz").get("reference")
        for index in range(n_parts):
            flat = self._read(_name(index))
            nested: dict = {field: {} for field in Part._fields[:3]}
            for name, array in flat.items():
                field, _, key = name.partition("/")
                if key:
                    nested[field][key] = array
            self._append(Part(sums=flat["sums"], **nested))

    def _append(self, part):
        # Atoms that the reference lacked have got labels, which the next part must keep.
        self.parts.append(part)
        self.reference = part.labels["reference"]

    def save_reference(self, reference):
        """Save the dictionary (K_ref, P) that the first part is to be aligned to, which may be None."""
        self.reference = reference
        if reference is not None:
            self._save("reference.npz", {"reference": np.asarray(reference)})

    def save(self, state, part=None):
        """Save where the chains are, after the ``part`` just drawn if there is one."""
        if part is not None:
            flat = {
                f"{field}/{name}": a for field in Part._fields[:3] for name, a in getattr(part, field).items()
            }
            self._save(_name(len(self.parts)), flat | {"sums": part.sums})
            self._append(part)
        fields = state._asdict() | {"rng_key": jax.random.key_data(state.rng_key), "n_parts": len(self.parts)}
        z = {f"z/{name}": value for name, value in fields.pop("z").items()}
        self._save("state.npz", fields | z)

    def _save(self, name, arrays):
        if self.enabled:
            arrays = jax.device_get(arrays)
            self._write(name, lambda file: np.savez(file, **arrays))

    def _write(self, name, write):
        draft = self.folder / _draft(name)
        with open(draft, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.folder / name)

    def _read(self, name):
        path = self.folder / name
        try:
            with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"checkpoint file {str(path)!r} is damaged: {error}") from error


def _name(index):
    return f"part-{index:04d}.npz"


def _draft(name):
    return f".{name}"
