"""Sparse coding of natural patches: seconds to equal suboptimality, this package against SPAMS.

Run ``python -m benchmarks.sparse_coding --quick``. Both sides use all cores; on one core, set
``XLA_FLAGS=--xla_cpu_multi_thread_eigen=false OMP_NUM_THREADS=1`` and pin the process (``taskset -c 0``).
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import spams
from rich.console import Console
from rich.table import Table

from padl_bayes.datasets import natural_patches
from padl_bayes.sparse_coding import sparse_code

N_ATOMS = 256
ALPHA1 = 0.5
SUBOPTIMALITY = 1e-6
# Iteration limits to try: the first that reaches the target is timed.
LIMITS = np.unique(np.geomspace(10, 3000, 24).astype(int))


class Case(NamedTuple):
    """One problem."""

    n_samples: int
    alpha2_per_sample: float


QUICK = [Case(2000, 0.05), Case(2000, 0.175), Case(2000, 0.6)]
FULL = [*QUICK, Case(20000, 0.175), Case(20000, 0.6)]


def learn_dictionary(X):
    """Dictionary of ``N_ATOMS`` atoms from SPAMS's online learning: neither side's own."""
    atoms = spams.trainDL(
        np.asfortranarray(X.T), K=N_ATOMS, lambda1=1.0, iter=200, mode=2, numThreads=-1, verbose=False
    ).T
    return np.ascontiguousarray(atoms / np.linalg.norm(atoms, axis=1, keepdims=True))


def code_with_spams(X, dictionary, alpha2, limit):
    """Codes after at most ``limit`` iterations of SPAMS's FISTA."""
    start = np.zeros((len(dictionary), len(X)), order="F", dtype=X.dtype)
    return spams.fistaFlat(
        np.asfortranarray(X.T), np.asfortranarray(dictionary.T), start,
        loss="square", regul="l1linf+l1", lambda1=alpha2, lambda2=ALPHA1,
        tol=0.0, max_it=int(limit), numThreads=-1,
    ).T  # fmt: skip


def code_with_ours(X, dictionary, alpha2, limit):
    """Codes after at most ``limit`` sweeps."""
    return sparse_code(X, dictionary, ALPHA1, alpha2, tol=0.0, max_iter=int(limit)).codes


def energy(X, dictionary, alpha2, codes):
    """PADL's objective in float64."""
    X, dictionary, codes = (np.asarray(a, np.float64) for a in (X, dictionary, codes))
    fit = 0.5 * np.sum((X - codes @ dictionary) ** 2)
    return fit + ALPHA1 * np.abs(codes).sum() + alpha2 * np.abs(codes).max(axis=0).sum()


def best_time(call, repeats=3):
    """Result of ``call`` and the shortest of a few timings."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - started)
    return result, min(times)


def seconds_to_target(code, X, dictionary, alpha2, target):
    """Time of the first iteration limit that reaches ``target``; infinity if none does."""
    code(X, dictionary, alpha2, LIMITS[0])
    for limit in LIMITS:
        if energy(X, dictionary, alpha2, code(X, dictionary, alpha2, limit)) <= target:
            return best_time(lambda limit=limit: code(X, dictionary, alpha2, limit))[1]
    return np.inf


def run_case(case, X, dictionary):
    """Timings of one problem, as a row of numbers."""
    X = X[: case.n_samples]
    alpha2 = case.alpha2_per_sample * case.n_samples
    exact = sparse_code(X, dictionary, ALPHA1, alpha2, tol=1e-9)
    target = exact.objective + SUBOPTIMALITY * 0.5 * np.sum(X**2)
    single = X.astype(np.float32), dictionary.astype(np.float32)
    certified, certified_time = best_time(lambda: sparse_code(X, dictionary, ALPHA1, alpha2))
    return {
        "samples": case.n_samples,
        "alpha2 / N": case.alpha2_per_sample,
        "active": int(np.count_nonzero(np.abs(exact.codes).max(axis=0))),
        "SPAMS": seconds_to_target(code_with_spams, X, dictionary, alpha2, target),
        "ours": seconds_to_target(code_with_ours, X, dictionary, alpha2, target),
        "ours, float32": seconds_to_target(code_with_ours, *single, alpha2, target),
        "ours, gap 1e-6": certified_time,
        "sweeps": certified.n_iter,
    }


def show(rows):
    """Print the table, with the ratio of the rival's time to ours."""
    table = Table(title=f"Seconds to a suboptimality of {SUBOPTIMALITY:g} ({N_ATOMS} atoms, 8 x 8 patches)")
    for name in [*rows[0], "SPAMS / ours"]:
        table.add_column(name, justify="right")
    for row in rows:
        ratio = row["SPAMS"] / row["ours"]
        table.add_row(*(f"{value:.3g}" for value in row.values()), f"{ratio:.1f}")
    Console(width=120).print(table)


def main(arguments=None):
    """Run the benchmark and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="2,000 samples only, two minutes on a quiet machine"
    )
    options = parser.parse_args(arguments)
    cases = QUICK if options.quick else FULL
    X = natural_patches(max(case.n_samples for case in cases), 8, seed=0).X
    dictionary = learn_dictionary(natural_patches(20000, 8, seed=1).X)
    rows = [run_case(case, X, dictionary) for case in cases]
    show(rows)
    return rows


if __name__ == "__main__":
    main()
