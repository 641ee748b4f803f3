"""Sparse coding of natural patches on one thread: seconds to equal suboptimality, this package against rivals.

Run ``python -m benchmarks.sparse_coding``; results of parts that are not run again are kept.
"""

import os
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks._machine import alone, times_of
from benchmarks._posterior import Page, run_page, stopwatch

ALPHA1 = 0.5
SUBOPTIMALITY = 1e-6
REPEATS = 3
# Iteration limits to try: the first that reaches the target is timed.
LIMITS = np.unique(np.geomspace(10, 3000, 24).astype(int))


class Part(NamedTuple):
    """Samples, ``alpha2`` over the samples, atoms."""

    n_samples: int
    alpha2_per_sample: float
    n_atoms: int = 256


PARTS = {
    f"{n} patches, alpha2 {weight} N": Part(n, weight)
    for n, weight in (
        (2000, 0.05),
        (2000, 0.175),
        (2000, 0.6),
        (20_000, 0.0175),
        (20_000, 0.175),
        (20_000, 0.6),
    )
}
QUICK = Part(300, 0.3, 16)


def learn_dictionary(X, n_atoms):
    """Dictionary from SPAMS's online learning: neither side's own."""
    import spams

    atoms = spams.trainDL(
        np.asfortranarray(X.T), K=n_atoms, lambda1=1.0, iter=200, mode=2, numThreads=1, verbose=False
    ).T
    return np.ascontiguousarray(atoms / np.linalg.norm(atoms, axis=1, keepdims=True))


def code_with_spams(X, dictionary, alpha2, limit):
    """Codes after at most ``limit`` iterations of SPAMS's FISTA."""
    import spams

    start = np.zeros((len(dictionary), len(X)), order="F", dtype=X.dtype)
    return spams.fistaFlat(
        np.asfortranarray(X.T), np.asfortranarray(dictionary.T), start,
        loss="square", regul="l1linf+l1", lambda1=alpha2, lambda2=ALPHA1,
        tol=0.0, max_it=int(limit), numThreads=1,
    ).T  # fmt: skip


def code_with_numba(X, dictionary, alpha2, limit):
    """Codes after ``limit`` sweeps of `benchmarks._row_descent_numba`."""
    from benchmarks._row_descent_numba import code

    return code(X, dictionary, ALPHA1, alpha2, int(limit))


def code_with_fista(prox, X, dictionary, alpha2, limit):
    """Codes after ``limit`` iterations of `benchmarks._fista`, with the prox of that name."""
    from benchmarks._fista import code

    return code(X, dictionary, ALPHA1, alpha2, int(limit), prox)


def code_with_ours(X, dictionary, alpha2, limit):
    """Codes after at most ``limit`` sweeps."""
    from padl_bayes.sparse_coding import sparse_code

    return sparse_code(X, dictionary, ALPHA1, alpha2, tol=0.0, max_iter=int(limit)).codes


def energy(X, dictionary, alpha2, codes):
    """PADL's objective in float64."""
    X, dictionary, codes = (np.asarray(a, np.float64) for a in (X, dictionary, codes))
    fit = 0.5 * np.sum((X - codes @ dictionary) ** 2)
    return fit + ALPHA1 * np.abs(codes).sum() + alpha2 * np.abs(codes).max(axis=0).sum()


def times_to_target(code, X, dictionary, alpha2, target, limits=LIMITS):
    """The first of the iteration limits that reaches ``target``, the times it takes, and JAX's compilation.

    None if none reaches it. Where a limit failed or reached, all was compiled that is timed.
    """
    with stopwatch() as watch:
        for limit in map(int, limits):
            if energy(X, dictionary, alpha2, code(X, dictionary, alpha2, limit)) <= target:
                compilation = watch.compilation
                seconds = times_of(partial(code, X, dictionary, alpha2, limit), REPEATS, warm=True)[1]
                return {"limit": limit, "seconds": seconds, "compilation": compilation}
    return None


def _rivals(problem):
    """Rows of the rivals, all in float64."""
    from benchmarks._row_descent_numba import compile_all

    compilation = compile_all(problem[0].shape[1])
    rows = {
        "SPAMS, FISTA": times_to_target(code_with_spams, *problem),
        "numba, row descent": times_to_target(code_with_numba, *problem),
        "JAX FISTA, Newton": times_to_target(partial(code_with_fista, "Newton"), *problem),
    }
    if rows["numba, row descent"]:
        rows["numba, row descent"]["compilation"] = compilation
    # The same iterations, each much slower: no limit below need be tried.
    known = rows["JAX FISTA, Newton"]
    enough = [limit for limit in LIMITS if limit >= known["limit"]] if known else ()
    rows["JAX FISTA, sorted"] = times_to_target(partial(code_with_fista, "sorted"), *problem, limits=enough)
    return rows


def _measure(part):
    """Everything about one problem, in a process that has one processor."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    from padl_bayes.datasets import natural_patches
    from padl_bayes.kernels import cpu
    from padl_bayes.sparse_coding import sparse_code

    X = natural_patches(part.n_samples, 8, seed=0).X
    dictionary = learn_dictionary(natural_patches(20_000, 8, seed=1).X, part.n_atoms)
    alpha2, whole = part.alpha2_per_sample * part.n_samples, 0.5 * np.sum(X**2)
    exact = sparse_code(X, dictionary, ALPHA1, alpha2, tol=1e-10)
    target = exact.objective + SUBOPTIMALITY * whole
    problem = X, dictionary, alpha2, target
    narrow = X.astype(np.float32), dictionary.astype(np.float32), alpha2, target
    rows = _rivals(problem) | {
        "this package": times_to_target(code_with_ours, *problem),
        "this package, float32": times_to_target(code_with_ours, *narrow),
    }
    with stopwatch() as watch:
        found, seconds = times_of(
            lambda: sparse_code(X, dictionary, ALPHA1, alpha2, tol=SUBOPTIMALITY), REPEATS
        )
    rows["this package, to a certified gap of 1e-6"] = {
        "limit": found.n_iter, "seconds": seconds, "compilation": watch.compilation
    }  # fmt: skip
    return {
        "active": int(np.count_nonzero(np.abs(exact.codes).max(axis=0))),
        "level": cpu.level(),
        "gap": found.gap,
        "suboptimality": (found.objective - exact.objective) / whole + exact.gap,
        "rows": rows,
    }


def run_part(part, options, say):
    """Result of one part, fit for JSON."""
    os.environ["OMP_NUM_THREADS"] = "1"
    return {"sizes": list(part)} | alone(_measure, part)


def section(name, r):
    """Markdown of one part."""
    kernels = f"C++ kernels at {r['level']}" if r["level"] else "plain JAX"
    slowest = r["rows"]["SPAMS, FISTA"]
    lines = [
        f"## {name}",
        "",
        f"{r['active']} of {r['sizes'][2]} atoms active, {kernels}. Certified gap at the stop {r['gap']:.1e}, true "
        f"suboptimality at most {r['suboptimality']:.1e}. {r['machine']}.",
        "",
        "| | iterations | s, median | fastest | slowest | compilation, s | times as fast as SPAMS |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for label, row in r["rows"].items():
        if row is None:
            lines.append(f"| {label} | more than {LIMITS[-1]} | | | | | |")
            continue
        seconds = row["seconds"]
        ratio = f"{np.median(slowest['seconds']) / np.median(seconds):.1f}" if slowest else ""
        lines.append(
            f"| {label} | {row['limit']} | {np.median(seconds):.3f} | {min(seconds):.3f} | {max(seconds):.3f} "
            f"| {row.get('compilation', np.nan):.1f} | {ratio} |"
        )
    return "\n".join([*lines, ""])


def draw(name, r):
    """Seconds of each method, fastest last."""
    rows = {label: row["seconds"] for label, row in r["rows"].items() if row}
    middle = np.array([np.median(seconds) for seconds in rows.values()])
    spread = np.abs([[min(seconds), max(seconds)] for seconds in rows.values()] - middle[:, None])
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    ax = figure.subplots()
    ax.barh(list(rows), middle, xerr=spread.T, color="0.6", capsize=3)
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="seconds, one thread", title=name)
    return figure


HEAD = f"""# Sparse coding

Written by `python -m benchmarks.sparse_coding`. Natural 8 x 8 patches, dictionary learned by SPAMS, `alpha1` {ALPHA1},
one thread each, float64 unless said. Time to a suboptimality of {SUBOPTIMALITY:g}, relative to half the energy of the
data: {REPEATS} repeats of the first limit on iterations, of {len(LIMITS)} in geometric progression, that reaches it,
compiled and warm. Compilation apart: lowering and compiling as JAX reports them, numba's first call. Iterations of
FISTA (SPAMS's and JAX's, `benchmarks/_fista.py`: step 1/L, restarted, with its prox by sorting or by Newton's method)
go over all atoms, sweeps of the others over those in use. The rival in numba is `benchmarks/_row_descent_numba.py`.
"""


def main(arguments=None):
    """Run the parts named and return the results of all."""
    page = Page("sparse_coding", HEAD, PARTS, QUICK, run_part, section, draw)
    return run_page(page, arguments, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
