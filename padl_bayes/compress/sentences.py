"""English sentences that are on every machine with Python and SciPy: their documentation.

Sources are Python's language reference (``pydoc_data.topics``), the documentation of SciPy's and NumPy's functions and,
where installed, the descriptions of scikit-learn's data sets. What is in them depends on the versions installed.
"""

import importlib
import inspect
import re
import zlib
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np

from padl_bayes._validation import check_choice, check_count

MODULES = (
    "numpy", "numpy.linalg", "numpy.fft", "scipy.linalg", "scipy.optimize", "scipy.signal", "scipy.stats",
    "scipy.special", "scipy.sparse", "scipy.spatial", "scipy.interpolate", "scipy.ndimage",
)  # fmt: skip
SPLITS = ("calibration", "held_out")
WORDS = (6, 60)
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_SECTION = re.compile(r"\n\s*\w[\w ]*\n\s*-{3,}")
_PLAIN = re.compile(r"^[A-Z][A-Za-z0-9 ,;:()'’\"/-]*[.!?]$")


def documents():
    """Texts by name."""
    from pydoc_data.topics import topics

    found = {f"python:{name}": text for name, text in topics.items()}
    for module in MODULES:
        for name, value in vars(importlib.import_module(module)).items():
            if callable(value) and not name.startswith("_") and isinstance(value.__doc__, str):
                found[f"{module}:{name}"] = _SECTION.split(inspect.cleandoc(value.__doc__))[0]
    return found | _descriptions()


def _descriptions():
    try:
        files = distribution("scikit-learn").files or []
    except PackageNotFoundError:
        return {}
    return {
        f"scikit-learn:{file.name}": file.read_text(encoding="utf-8")
        for file in files
        if file.match("sklearn/datasets/descr/*.rst")
    }


def sentences_of(text):
    """Sentences of plain words in a text, in its order."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in _END.split(" ".join(paragraph.replace("*", "").replace('"', "").split())):
            if _PLAIN.match(sentence) and WORDS[0] <= len(sentence.split()) <= WORDS[1]:
                found.append(sentence)
    return found


def sentences(count, split, *, seed=0):
    """Sentences out of documentation, no two alike: those of `sourced_sentences`, as a list."""
    return list(sourced_sentences(count, split, seed=seed))


def sourced_sentences(count, split, *, seed=0):
    """Sentences out of documentation, no two alike, and where they are from.

    Parameters
    ----------
    count : int
    split : {"calibration", "held_out"}
        A document belongs to one of the two, by the parity of its name's CRC-32; a sentence that is in documents of
        both belongs to "calibration".
    seed : int
        Of which sentences are taken.

    Returns
    -------
    dict of str to str
        By sentence the name of its document, the first in the alphabet of those that have it.

    Raises
    ------
    ValueError
        There are not so many, or there is no such split.
    """
    count, split = check_count(count, "count"), check_choice(split, "split", SPLITS)
    sides: list[dict] = [{}, {}]
    for name, text in sorted(documents().items()):
        side = sides[zlib.crc32(name.encode()) % 2]
        for sentence in sentences_of(text):
            side.setdefault(sentence, name)
    chosen = sides[SPLITS.index(split)]
    found = [text for text in chosen if chosen is sides[0] or text not in sides[0]]
    if len(found) < count:
        raise ValueError(f"count must be at most {len(found)}, the sentences at hand, found {count}")
    return {found[i]: chosen[found[i]] for i in np.random.default_rng(seed).permutation(len(found))[:count]}
