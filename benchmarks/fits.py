"""Dictionary learning on natural patches, one thread: seconds to equal objective, this package against rivals.

Run ``python -m benchmarks.fits``; results of parts that are not run again are kept.
"""

import os
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks._machine import alone, times_of
from benchmarks._posterior import Page, run_page, stopwatch

ALPHA = 1.0
REPEATS = 3
# Targets above the lowest objective that every learner reaches, and above the lowest of any.
COMMON, LOWEST = 1e-3, 5e-3
# Limits on iterations grow by this factor until a run takes so long, or two steps change the objective by so little.
GROWTH = 1.5
FLAT = 1e-4


class Part(NamedTuple):
    """Samples, features of a side of a patch, atoms, and seconds after which no larger limit is tried."""

    n_samples: int
    size: int
    n_atoms: int
    budget: float = 60.0


PARTS = {f"{k} atoms": Part(10_000, 8, k) for k in (64, 128)}
QUICK = Part(300, 4, 12, 1.5)


def learn_with_ours(X, start, limit):
    """Atoms after so many iterations of `fit_map`, and a last coding to its default gap."""
    from padl_bayes.inference import fit_map

    return fit_map(
        X, len(start), alpha=(ALPHA, 0.0), dictionary_init=start, max_iter=limit, tol=0.0
    ).dictionary


def learn_with_sklearn(X, start, limit):
    """Atoms after so many iterations of scikit-learn's batch learner."""
    from sklearn.decomposition import DictionaryLearning

    learner = DictionaryLearning(
        len(start), alpha=ALPHA, max_iter=limit, tol=0.0, fit_algorithm="cd", dict_init=start.copy(),
        code_init=np.zeros((len(X), len(start))), random_state=0,
    )  # fmt: skip
    return _fitted(learner, X)


def learn_with_sklearn_batches(X, start, limit):
    """Atoms after so many epochs of scikit-learn's mini-batch learner."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    learner = MiniBatchDictionaryLearning(
        len(start), alpha=ALPHA, max_iter=limit, tol=0.0, max_no_improvement=None, fit_algorithm="cd",
        dict_init=start.copy(), random_state=0,
    )  # fmt: skip
    return _fitted(learner, X)


def _fitted(learner, X):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Objective did not converge")
        return learner.fit(X).components_


def learn_with_spams(X, start, limit):
    """Atoms after so many mini-batches of SPAMS's online learner."""
    import spams

    return spams.trainDL(
        np.asfortranarray(X.T), D=np.asfortranarray(start.T), lambda1=ALPHA, iter=limit, mode=2,
        batchsize=512, numThreads=1, verbose=False,
    ).T  # fmt: skip


class Learner(NamedTuple):
    """How to learn, the least limit, and what is limited."""

    learn: object
    least: int
    unit: str


LEARNERS = {
    "this package, fit_map": Learner(learn_with_ours, 1, "iterations"),
    "scikit-learn, DictionaryLearning": Learner(learn_with_sklearn, 1, "iterations"),
    "scikit-learn, MiniBatchDictionaryLearning": Learner(learn_with_sklearn_batches, 1, "epochs"),
    "SPAMS, trainDL": Learner(learn_with_spams, 5, "mini-batches"),
}


def starting_atoms(X, n_atoms):
    """Samples, normalised: what every learner starts from."""
    norms = np.linalg.norm(X, axis=1)
    usable = np.flatnonzero(norms > 1e-3 * norms.max())
    chosen = np.random.default_rng(0).choice(usable, n_atoms, replace=False)
    return X[chosen] / norms[chosen, None]


def objective(X, dictionary, codes):
    """``1/2 ||X - R D||^2 + ALPHA ||R||_1``, and a value that no codes can go below, over the samples."""
    residual = X - codes @ dictionary
    value = 0.5 * np.sum(residual**2) + ALPHA * np.abs(codes).sum()
    # Each residual, scaled until no atom's product with it is above ALPHA, is a dual point.
    largest = np.abs(residual @ dictionary.T).max(axis=1)
    dual = residual * np.minimum(1, ALPHA / np.maximum(largest, np.finfo(float).tiny))[:, None]
    bound = 0.5 * np.sum(X**2) - 0.5 * np.sum((X - dual) ** 2)
    return value / len(X), bound / len(X)


def evaluate(X, dictionary):
    """Objective of a dictionary, its atoms normalised, with lasso codes by SPAMS's homotopy; and their relative gap."""
    import spams

    norms = np.linalg.norm(dictionary, axis=1)
    atoms = np.asarray(dictionary[norms > 0] / norms[norms > 0, None], np.float64)
    codes = spams.lasso(
        np.asfortranarray(X.T), np.asfortranarray(atoms.T), lambda1=ALPHA, mode=2, numThreads=1, cholesky=True
    )
    value, bound = objective(X, atoms, codes.T.toarray())
    return value, (value - bound) / value


def curve_of(learner, X, start, budget):
    """Limits with seconds, without compilation, and objectives; the compilation; the largest gap of the coding."""
    rows, compilation, worst, limit = [], 0.0, 0.0, learner.least
    while True:
        with stopwatch() as watch:
            dictionary = learner.learn(X, start, limit)
        value, gap = evaluate(X, dictionary)
        rows.append({"limit": limit, "seconds": watch.running, "objective": value})
        compilation, worst = compilation + watch.compilation, max(worst, gap)
        flat = len(rows) > 2 and rows[-3]["objective"] - value < FLAT * value
        if watch.running > budget / GROWTH or flat:
            return {"rows": rows, "compilation": compilation, "gap": worst}
        limit = max(limit + 1, round(GROWTH * limit))


def time_to(target, learner, curve, X, start):
    """Limit and seconds of repeats of the first limit that reaches ``target``; None if none does."""
    for row in curve["rows"]:
        if row["objective"] <= target:
            call = partial(learner.learn, X, start, row["limit"])
            return {"limit": row["limit"], "seconds": times_of(call, REPEATS, warm=True)[1]}
    return None


def _measure(part):
    """Curves and times of all learners, in a process that has one processor."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    from padl_bayes.datasets import natural_patches
    from padl_bayes.kernels import cpu

    X = natural_patches(part.n_samples, part.size, seed=0).X
    start = starting_atoms(X, part.n_atoms)
    curves = {
        label: curve_of(learner, X, start, part.budget) | {"unit": learner.unit}
        for label, learner in LEARNERS.items()
    }
    best = {label: min(row["objective"] for row in curve["rows"]) for label, curve in curves.items()}
    targets = {"common": max(best.values()) * (1 + COMMON), "lowest": min(best.values()) * (1 + LOWEST)}
    for label, learner in LEARNERS.items():
        for name, target in targets.items():
            curves[label][name] = time_to(target, learner, curves[label], X, start)
    return {"start": evaluate(X, start)[0], "targets": targets, "curves": curves, "level": cpu.level()}


def run_part(part, options, say):
    """Result of one part, fit for JSON."""
    # Read as the libraries are loaded, before the process has one processor.
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {"sizes": list(part)} | alone(_measure, part, environment=one)


def _cells(time):
    if time is None:
        return "not reached | | | "
    seconds = time["seconds"]
    return f"{time['limit']} | {np.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f}"


def section(name, r):
    """Markdown of one part."""
    n_samples, size, n_atoms, budget = r["sizes"]
    lowest = min(row["objective"] for curve in r["curves"].values() for row in curve["rows"])
    gap = max(curve["gap"] for curve in r["curves"].values())
    kernels = f"C++ kernels at {r['level']}" if r["level"] else "plain JAX"
    lines = [
        f"## {name}",
        "",
        f"{n_samples} natural {size} x {size} patches, {n_atoms} atoms, runs of at most about {budget:g} s, {kernels}. "
        f"Objective a sample: {r['start']:.4f} at the start, {lowest:.4f} at the lowest, targets "
        f"{r['targets']['common']:.4f} (common) and {r['targets']['lowest']:.4f} (near the lowest); relative "
        f"duality gap of the codes it is taken with at most {gap:.1e}. {r['machine']}.",
        "",
        "| | its lowest | compilation, s | to the common target | s, median | fastest | slowest "
        "| to near the lowest | s, median | fastest | slowest |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for label, curve in r["curves"].items():
        own = min(row["objective"] for row in curve["rows"])
        lines.append(
            f"| {label} ({curve['unit']}) | {own / lowest - 1:+.2%} | {curve['compilation']:.1f} "
            f"| {_cells(curve['common'])} | {_cells(curve['lowest'])} |"
        )
    return "\n".join([*lines, ""])


def draw(name, r):
    """Objective above the lowest against seconds; dashed, the targets."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    ax = figure.subplots()
    lowest = min(row["objective"] for curve in r["curves"].values() for row in curve["rows"])
    for label, curve in r["curves"].items():
        seconds, values = zip(*((row["seconds"], row["objective"]) for row in curve["rows"]), strict=True)
        ax.loglog(seconds, np.array(values) / lowest - 1, "o-", markersize=3, label=label)
    for target in r["targets"].values():
        ax.axhline(target / lowest - 1, linestyle="--", color="0.6", linewidth=0.8)
    ax.set(xlabel="seconds of a run, one thread", ylabel="objective above the lowest (share)", title=name)
    ax.legend(frameon=False, fontsize="small")
    return figure


HEAD = f"""# Dictionary learning at equal objective

Written by `python -m benchmarks.fits`. All minimise ``1/2 ||X - R D||_F^2 + alpha ||R||_1`` with atoms of at most unit
norm, alpha = {ALPHA:g}: `fit_map` with `alpha=({ALPHA:g}, 0)`; scikit-learn's `alpha`, its mini-batch learner the mean
over samples (whose minimiser is the same); SPAMS's `lambda1` in mode 2, the mean likewise. None of the rivals has the
l_inf norm, so there is nothing to compare `fit_map` with at alpha2 > 0. All start from the same normalised patches,
and compute on one thread in float64. For limits on iterations that grow by {GROWTH:g}, each run starts afresh, and its
atoms, normalised, are coded anew by SPAMS's lasso; NumPy computes objective and duality gap. The common target is
{COMMON:.1%} above the lowest objective that every learner reaches, the other {LOWEST:.1%} above the lowest that any
does ("its lowest" is relative to that). Seconds are those of the first limit that reaches a target, {REPEATS} repeats,
compiled and warm; those of `fit_map` include a last coding of all samples to a certified gap of 1e-6.
"""


def main(arguments=None):
    """Run the parts named and return the results of all."""
    page = Page("fits", HEAD, PARTS, QUICK, run_part, section, draw)
    return run_page(page, arguments, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
