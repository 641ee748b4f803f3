"""Cost against the number of samples and of active atoms: sparse coding, and passes of variational EM.

Run ``python -m benchmarks.scaling``; results of parts that are not run again are kept.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks._machine import alone, times_of
from benchmarks._posterior import Page, run_page

REPEATS = 3
ALPHA2 = 0.175


class Part(NamedTuple):
    """What is run, precision, numbers of samples or weights ``alpha2`` over the samples, most atoms."""

    what: str
    dtype: str
    sizes: tuple
    n_atoms: int = 256


PARTS = {
    "sparse coding against samples": Part("coding", "float64", (10_000, 20_000, 40_000, 80_000, 160_000)),
    "EM passes against samples": Part("passes", "float32", (10_000, 30_000, 100_000, 300_000)),
    "sparse coding against active atoms": Part(
        "active", "float64", (1.0, 0.9, 0.75, 0.5, 0.3, 0.175, 0.1, 0.0175)
    ),
}
QUICK = Part("coding", "float32", (200, 400), 16)
N_FOR_ACTIVE = 20_000


def _coding(part):
    """Patches, a dictionary, and ``(n, alpha2 per sample)`` of each size."""
    from benchmarks.sparse_coding import learn_dictionary
    from padl_bayes.datasets import natural_patches

    runs = [(N_FOR_ACTIVE, size) if part.what == "active" else (size, ALPHA2) for size in part.sizes]
    X = natural_patches(max(n for n, _ in runs), 8, seed=0).X.astype(part.dtype)
    dictionary = learn_dictionary(natural_patches(20_000, 8, seed=1).X, part.n_atoms).astype(part.dtype)
    return X, dictionary, runs


def _time_coding(part):
    from benchmarks.sparse_coding import ALPHA1
    from padl_bayes.sparse_coding import sparse_code

    X, dictionary, runs = _coding(part)
    rows = []
    for n, weight in runs:
        # The same sample of patches whatever their number.
        some = np.ascontiguousarray(X[:: len(X) // n][:n])
        found, seconds = times_of(
            lambda some=some, n=n, weight=weight: sparse_code(some, dictionary, ALPHA1, weight * n), REPEATS
        )
        active = int(np.count_nonzero(found.codes.any(axis=0)))
        rows.append({"samples": n, "active": active, "sweeps": found.n_iter, "seconds": seconds})
    return rows


def _time_passes(part):
    import jax

    from benchmarks.code_sweep import Part as Sweep
    from benchmarks.code_sweep import _problem
    from padl_bayes.inference.variational import PASSES, run_passes

    key, rows = ("bernoulli_laplace", False), []
    for n in part.sizes:
        problem, state, _ = _problem(Sweep(key[0], part.dtype, n, 64, part.n_atoms))
        cap = jax.numpy.asarray(1e3, part.dtype)
        seconds = times_of(
            lambda p=problem, s=state, c=cap: jax.block_until_ready(run_passes(key, p, s, c)), REPEATS
        )[1]
        rows.append({"samples": n, "active": part.n_atoms, "sweeps": PASSES, "seconds": seconds})
    return rows


def run_part(part, options, say):
    """Result of one part, fit for JSON."""
    measure = _time_passes if part.what == "passes" else _time_coding
    rows = alone(measure, part)
    return {"what": part.what, "dtype": part.dtype, "n_atoms": part.n_atoms, "rows": rows}


def _sizes(r):
    by = "active" if r["what"] == "active" else "samples"
    return (
        by,
        np.array([row[by] for row in r["rows"]]),
        np.array([np.median(row["seconds"]) for row in r["rows"]]),
    )


def section(name, r):
    """Markdown of one part."""
    by, sizes, seconds = _sizes(r)
    slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    lines = [
        f"## {name}",
        "",
        f"64 features, {r['n_atoms']} atoms, {r['dtype']}. Slope of log seconds against log {by}: {slope:.2f}. "
        f"{r['machine']}.",
        "",
        "| samples | active atoms | sweeps | s, median | fastest | slowest | us a sample and sweep |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row, middle in zip(r["rows"], seconds, strict=True):
        each = 1e6 * middle / row["samples"] / max(row["sweeps"], 1)
        lines.append(
            f"| {row['samples']} | {row['active']} | {row['sweeps']} | {middle:.3f} | {min(row['seconds']):.3f} "
            f"| {max(row['seconds']):.3f} | {each:.2f} |"
        )
    return "\n".join([*lines, ""])


def draw(name, r):
    """Seconds against size, both logarithmic."""
    by, sizes, seconds = _sizes(r)
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    ax = figure.subplots()
    ax.loglog(sizes, seconds, "o-", label="measured")
    ax.loglog(sizes, seconds[-1] * sizes / sizes[-1], "--", color="0.6", label="in proportion")
    ax.set(xlabel={"active": "active atoms", "samples": "samples"}[by], ylabel="seconds", title=name)
    ax.legend(frameon=False)
    return figure


HEAD = f"""# Cost against size

Written by `python -m benchmarks.scaling`. Sparse coding of natural 8 x 8 patches to a certified relative gap of 1e-6,
with `alpha2` {ALPHA2} times the samples, and against active atoms {N_FOR_ACTIVE} patches with `alpha2` from 1 to 0.0175
times the samples; five passes of variational EM with their M-steps. {REPEATS} repeats after one that compiles.
"""


def main(arguments=None):
    """Run the parts named and return the results of all."""
    page = Page("scaling", HEAD, PARTS, QUICK, run_part, section, draw)
    return run_page(page, arguments, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
