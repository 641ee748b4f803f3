"""The one page of all benchmarks: what is asked for and what was found, every page, every figure.

It is made of the results that lie in a folder, and of nothing else: the same results make the same page.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

HEAD = """# Benchmarks

Written by `python -m benchmarks` (`make bench`), which runs everything, or by `python -m benchmarks --page` from the
results at hand. Figures are medians; in brackets the least and the most that the repeats allow. "Met" is left open
where nothing is asked for. Machines are below the table.
"""
COARSE, FINE = "20000 patches, alpha2 0.175 N", "20000 patches, alpha2 0.0175 N"


class Found(NamedTuple):
    """A figure, and its least and most."""

    value: float
    least: float | None = None
    most: float | None = None


class Line(NamedTuple):
    """What is measured against whom, on which parts of a page, what is asked for, and how to get it from the parts."""

    what: str
    rival: str
    page: str
    parts: tuple
    asked: tuple | None
    figure: Callable
    unit: str = "times"


def ratio(slow, fast):
    """`Found` of one list of seconds over another; None if either is missing."""
    if not slow or not fast:
        return None
    return Found(float(np.median(slow) / np.median(fast)), min(slow) / max(fast), max(slow) / min(fast))


def slope(parts):
    """`Found` of log seconds against log size over all rows of some parts; rows of a size in common count once."""
    by = parts[0]["part"]["by"]
    rows = {row[by]: row["seconds"] for r in parts for row in r["rows"]}
    sizes = np.log(list(rows))

    def fit(of):
        return float(np.polyfit(sizes, np.log([of(seconds) for seconds in rows.values()]), 1)[0])

    return Found(fit(np.median))


def _coding(rival, own="this package"):
    def figure(r):
        slow, fast = r["rows"].get(rival), r["rows"].get(own)
        return slow and fast and ratio(slow["seconds"], fast["seconds"])

    return figure


def _few_active(r):
    """Time with a twentieth of the atoms active over that with all."""
    share = {row["active"] / row["atoms"]: row["seconds"] for row in r["rows"]}
    few = min(share, key=lambda s: abs(s - 0.05))
    return ratio(share[few], share[1.0]) if 1.0 in share and few <= 0.06 else None


def _gap(r):
    return Found(r["gap"] / r["suboptimality"])


def _fit(rival, target):
    def figure(r):
        slow, fast = (r["curves"][name][target] for name in (rival, "this package, fit_map"))
        return slow and fast and ratio(slow["seconds"], fast["seconds"])

    return figure


def _kernel(threads):
    def figure(r):
        return ratio(r["runs"][f"reference {threads}"]["seconds"], r["runs"][f"kernel {threads}"]["seconds"])

    return figure


def _arithmetic(r):
    run = r["runs"]["kernel 1"]
    return Found(*(f(run["seconds"]) * run["peak"] / r["work"] for f in (np.median, min, max)))


def _one_epoch(r):
    ours, rival = r["ours"], r.get("sklearn")
    return rival and Found((rival["fit"] + rival["encode"]) / (ours["fit"] + ours["encode"]))


def _equal_nonzeros(r):
    rival = r.get("sklearn")
    return rival and Found(rival["train_lasso"]["rmse"] / r["ours"]["rmse"])


def _effective(ours, rival, which):
    def figure(r):
        if ours not in r["rows"] or rival not in r["rows"]:
            return None

        def rate(row, kind):
            spent = row["seconds"] - row["compilation"] + (kind == "aligned") * row["alignment_seconds"]
            return row[kind]["ess_median"] / spent

        return Found(rate(r["rows"][ours], "aligned") / rate(r["rows"][rival], which))

    return figure


def _decades(what, first=1):
    names = [f"{what} of 1e{n} to 1e{n + 1} samples" for n in (3, 4, 5)]
    return tuple(names[first:])


ACTIVE = "sparse coding against active atoms"
LAPLACE = ("Gibbs, Laplace codes, {0}", "NUTS, Laplace codes, {0}")
L1LINF = ("Gibbs, l1 + l_inf, {0}", "NUTS, l1 + l_inf, {0}")
SKLEARN = "scikit-learn, MiniBatchDictionaryLearning"
BATCH = "scikit-learn, DictionaryLearning"
LINES = (
    Line("sparse coding, 20,000 patches", "SPAMS, FISTA", "sparse_coding", (COARSE,), ("at least", 30), _coding("SPAMS, FISTA")),
    Line("sparse coding, 20,000 patches", "numba, row descent", "sparse_coding", (COARSE,), ("at least", 3), _coding("numba, row descent")),
)
