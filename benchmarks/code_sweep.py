"""Passes over the codes, posterior means and Gibbs draws: C++ against plain JAX and against the arithmetic.

Run ``python -m benchmarks.code_sweep``; results of parts that are not run again are kept.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np

from benchmarks._posterior import Page, run_page

REPEATS = 3
MATRIX = 2048
PASSES = 3
KINDS = {"definition": "plain JAX, atom by atom", "reference": "plain JAX"}
# Additions, multiplications and divisions of the posterior of one entry, as csrc/slabs.h computes it. Of a draw no more
# are counted, though most of its work is of other kinds.
ENTRY = {
    ("bernoulli_laplace", "float64"): 260,
    ("bernoulli_laplace", "float32"): 180,
    ("bernoulli_gaussian", "float64"): 90,
    ("bernoulli_gaussian", "float32"): 70,
}


class Part(NamedTuple):
    """Slab, precision, samples, features, atoms, rule."""

    slab: str
    dtype: str
    n_samples: int = 100_000
    n_features: int = 64
    n_atoms: int = 256
    rule: str = "means"


PARTS = {
    f"{'' if rule == 'means' else 'Gibbs draws, '}{slab}, {dtype}": Part(
        f"bernoulli_{slab}", dtype, rule=rule
    )
    for rule in ("means", "draws")
    for slab in ("laplace", "gaussian")
    for dtype in ("float64", "float32")
}
QUICK = Part("bernoulli_laplace", "float32", 2000, 8, 16, "draws")


def _passes(part):
    """`PASSES` passes in one program, as a fit makes them; none of their results may be left out."""
    import jax

    from padl_bayes.inference.variational import sweep
    from padl_bayes.kernels import draw_tiles
    from padl_bayes.kernels.code_draw import keys_of_samples
    from padl_bayes.kernels.code_sweep import Tile
    from padl_bayes.kernels.slabs import SLABS

    slab = part.slab, False

    def means(problem, state, residual, codes, key):
        codes, _, *rest = sweep(slab, problem, state._replace(codes=codes), residual)
        return codes, rest

    def draws(problem, state, residual, codes, key):
        keys = keys_of_samples(key, residual.shape[0], residual.shape[2])
        tile = Tile(problem.valid, keys=keys)
        done = draw_tiles(SLABS[slab], residual, codes, state.atoms, state.precision, tile)
        return done.codes, (done.sums, (done.residual**2).sum())

    one = means if part.rule == "means" else draws

    def run(problem, state, residual, keys):
        step = lambda codes, key: one(problem, state, residual, codes, key)  # noqa: E731
        return jax.lax.scan(step, state.codes, keys)

    return run


def _one_by_one(rule, kept, residual, codes, own, observed=None):
    """`padl_bayes.kernels.atom_pass.through_atoms` as it is defined: each atom meets the residual of those before."""
    import jax
    import jax.numpy as jnp

    def update(carry, one):
        residual, kept = carry
        index, own, old = one
        row = own[0] @ residual
        kept, new, outputs = rule(kept, index, own, old, row, jnp.ones_like(row))
        return (residual - jnp.outer(own[0], new - old), kept), (new, outputs)

    everything = (jnp.arange(len(codes)), own, codes)
    (residual, kept), outputs = jax.lax.scan(update, (residual, kept), everything)
    return residual, kept, *outputs


def _times(function, *arguments):
    """Seconds of compilation and of each repeat."""
    import jax

    started = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compilation = time.perf_counter() - started
    jax.block_until_ready(compiled(*arguments))
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - started)
    return compilation, seconds


def _problem(part):
    """Codes of which a tenth is in use, and what they leave of the data."""
    import jax.numpy as jnp

    from padl_bayes.inference.variational import State, make_problem, residuals, tile_rows
    from padl_bayes.kernels.code_sweep import Atoms

    rng = np.random.default_rng(0)
    dictionary = rng.standard_normal((part.n_atoms, part.n_features))
    dictionary = (dictionary / np.linalg.norm(dictionary, axis=1, keepdims=True)).astype(part.dtype)
    shape = part.n_samples, part.n_atoms
    codes = (rng.laplace(size=shape) * (rng.random(shape) < 0.1)).astype(part.dtype)
    X = codes @ dictionary + 0.1 * rng.standard_normal((part.n_samples, part.n_features)).astype(part.dtype)
    own = np.ones(part.n_atoms, part.dtype)
    atoms = Atoms(*map(jnp.asarray, (dictionary, own * np.log(0.1 / 0.9).astype(part.dtype), own, own)))
    problem = make_problem(X.astype(part.dtype), slab=part.slab)
    state = State(jnp.asarray(tile_rows(codes)), atoms, jnp.asarray(own), jnp.asarray(100, part.dtype))
    return problem, state, residuals(problem, state)


def _measure(part, threads, kind):
    """Times of one implementation on the first ``threads`` processors, and the speed of a product of matrices there."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["PADL_BAYES_KERNELS"] = "auto" if kind == "kernel" else "off"
    import jax
    import jax.numpy as jnp

    from padl_bayes.kernels import code_draw, code_sweep, cpu

    if kind == "definition":
        code_sweep.through_atoms = code_draw.through_atoms = _one_by_one
    with jax.enable_x64(part.dtype == "float64"):
        problem, state, residual = _problem(part)
        keys = jax.random.split(jax.random.key(0), PASSES)
        compilation, seconds = _times(_passes(part), problem, state, residual, keys)
        square = jnp.ones((MATRIX, MATRIX), part.dtype)
        peak = 2 * MATRIX**3 / min(_times(lambda a: a @ a, square)[1])
    return {
        "compilation": compilation,
        "seconds": [s / PASSES for s in seconds],
        "peak": peak,
        "level": cpu.level(),
    }


def kinds_of(part):
    """What is measured: draws atom by atom in plain JAX take minutes."""
    return ("definition", "reference", "kernel") if part.rule == "means" else ("reference", "kernel")


def run_part(part, options, say):
    """Result of one part, fit for JSON; each measurement in a process of its own."""
    cores = len(os.sched_getaffinity(0))
    runs = {}
    for name, threads in product(kinds_of(part), (1, cores)):
        say(f"  {name}, {threads} threads")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            runs[f"{name} {threads}"] = pool.submit(_measure, part, threads, name).result()
    work = part.n_samples * part.n_atoms * (4 * part.n_features + ENTRY[part.slab, part.dtype])
    return {"sizes": part[2:5], "cores": cores, "work": work, "runs": runs}


def section(name, r):
    """Markdown of one part."""
    n, p, k = r["sizes"]
    runs = r["runs"]
    base = np.median(runs["reference 1"]["seconds"])
    lines = [
        f"## {name}",
        "",
        f"{n} samples, {p} features, {k} atoms, {r['work'] / 1e9:.1f} billion operations. {r['machine']}.",
        "",
        "| pass | threads | s, median | fastest | slowest | times the plain one on 1 thread | compilation, s | "
        "its time over that of its arithmetic |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for label, run in runs.items():
        kind, threads = label.split()
        seconds = run["seconds"]
        middle = np.median(seconds)
        text = KINDS.get(kind) or f"C++, {run['level']}"
        lines.append(
            f"| {text} | {threads} | {middle:.3f} | {min(seconds):.3f} | {max(seconds):.3f} | {base / middle:.1f} "
            f"| {run['compilation']:.1f} | {middle * run['peak'] / r['work']:.1f} |"
        )
    return "\n".join([*lines, ""])


HEAD = f"""# One pass over the codes

Written by `python -m benchmarks.code_sweep`. The pass of variational EM over all samples (posterior means of the codes,
sums over samples, bound) and the pass of Gibbs draws (each from its exact conditional, random numbers of threefry
included). {PASSES} passes in one program, as fits make them; seconds of one. Plain JAX, `code_sweep.py` and
`code_draw.py` in `padl_bayes/kernels/`, corrects residuals through the Gram matrix of eight atoms at a time; "atom by
atom" corrects them after each one, as the pass is defined; C++ is `csrc/code_sweep.cc` and `code_draw.cc`. {REPEATS}
repeats, compiled and warm, each line in a process of its own. The arithmetic of a pass: four operations a feature and
entry, and those of an entry's posterior; its time is at the speed of XLA's product of two {MATRIX} x {MATRIX} matrices
in the same process.
"""


def main(arguments=None):
    """Run the parts named and return the results of all."""
    page = Page("code_sweep", HEAD, PARTS, QUICK, run_part, section)
    return run_page(page, arguments, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
