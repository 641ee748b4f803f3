"""One thread and two: sparse coding and passes over codes of 100,000 samples.

Run ``python -m benchmarks.threads``; results of parts that are not run again are kept.
"""

import os
from typing import NamedTuple

import numpy as np

from benchmarks._machine import alone, times_of
from benchmarks._posterior import Page, run_page

REPEATS = 5


class Part(NamedTuple):
    """What is run, precision, samples, atoms."""

    what: str
    dtype: str = "float64"
    n_samples: int = 100_000
    n_atoms: int = 256


PARTS = {
    f"{what}, {dtype}": Part(what, dtype)
    for what in ("sparse coding", "EM pass")
    for dtype in ("float64", "float32")
}
QUICK = Part("sparse coding", "float32", 500, 16)


def _sparse_coding(part):
    from benchmarks.sparse_coding import ALPHA1, learn_dictionary
    from padl_bayes.datasets import natural_patches
    from padl_bayes.sparse_coding import sparse_code

    X = natural_patches(part.n_samples, 8, seed=0).X.astype(part.dtype)
    dictionary = learn_dictionary(X[:20_000].astype(np.float64), part.n_atoms).astype(part.dtype)
    return lambda: sparse_code(X, dictionary, ALPHA1, 0.175 * part.n_samples)


def _em_pass(part):
    import jax

    from benchmarks.code_sweep import Part as Sweep
    from benchmarks.code_sweep import _problem
    from padl_bayes.inference.variational import run_passes

    key = ("bernoulli_laplace", False)
    with jax.enable_x64(part.dtype == "float64"):
        problem, state, _ = _problem(Sweep(key[0], part.dtype, part.n_samples, 64, part.n_atoms))
        cap = jax.numpy.asarray(1e3, part.dtype)

    def run():
        with jax.enable_x64(part.dtype == "float64"):
            jax.block_until_ready(run_passes(key, problem, state, cap))

    return run


def _measure(part, threads):
    """Seconds of each repeat, in a process that has so many processors."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    from padl_bayes.kernels import cpu

    run = {"sparse coding": _sparse_coding, "EM pass": _em_pass}[part.what](part)
    return cpu.level(), times_of(run, REPEATS)[1]


def run_part(part, options, say):
    """Result of one part, fit for JSON."""
    seconds = {}
    for threads in (1, 2):
        level, seconds[str(threads)] = alone(_measure, part, threads)
        say(f"  {threads}: {np.median(seconds[str(threads)]):.3f} s")
    return {"sizes": list(part), "level": level, "seconds": seconds}


def section(name, r):
    """Markdown of one part."""
    _, dtype, n_samples, n_atoms = r["sizes"]
    one, two = (np.array(r["seconds"][n]) for n in "12")
    kernels = f"C++ kernels at {r['level']}" if r["level"] else "plain JAX"
    return "\n".join(
        [
            f"## {name}",
            "",
            f"{n_samples} samples of 64 features, {n_atoms} atoms, {dtype}, {kernels}. {r['machine']}.",
            "",
            "| threads | s, median | fastest | slowest | times as fast as one |",
            "|--:|--:|--:|--:|--:|",
            f"| 1 | {np.median(one):.3f} | {one.min():.3f} | {one.max():.3f} | |",
            f"| 2 | {np.median(two):.3f} | {two.min():.3f} | {two.max():.3f} | {np.median(one) / np.median(two):.2f} |",
            "",
        ]
    )


HEAD = f"""# Threads

Written by `python -m benchmarks.threads`. Sparse coding of natural 8 x 8 patches at `alpha2` of 0.175 N to a certified
relative gap of 1e-6, and five passes of variational EM with their M-steps; {REPEATS} repeats after one that compiles.
"""


def main(arguments=None):
    """Run the parts named and return the results of all."""
    return run_page(
        Page("threads", HEAD, PARTS, QUICK, run_part, section), arguments, __doc__.splitlines()[0]
    )


if __name__ == "__main__":
    main()
