"""Both passes on a GPU: the CUDA kernels against plain JAX, against the processor, and against what the card can do.

Run ``python -m benchmarks.gpu`` after ``python csrc/build.py --cuda``; results of parts that are not run again are
kept. Without a GPU it says so and writes nothing.
"""

import os
from typing import NamedTuple

import numpy as np

from benchmarks._machine import alone
from benchmarks._posterior import Page, run_page
from benchmarks.code_sweep import ENTRY, REPEATS, _times

SWEEPS = 10  # of rows, in one program
BLOCK = 16  # rows that csrc/cuda/row_sweep.cu takes at a time
ON_CARD, ON_PROCESSOR = "cuda,cpu", "cpu"
# Platforms of JAX and setting of PADL_BAYES_KERNELS.
RUNS = {
    "plain JAX, GPU": (ON_CARD, "off"),
    "CUDA": (ON_CARD, "auto"),
    "C++, processor": (ON_PROCESSOR, "auto"),
}


class Part(NamedTuple):
    """Pass, precision, samples, features, atoms, and the size of what the card's speed is measured by."""

    what: str
    dtype: str
    n_samples: int = 100_000
    n_features: int = 64
    n_atoms: int = 256
    matrix: int = 8192


PARTS = {
    f"{what}, {dtype}": Part(what, dtype) for what in ("codes", "rows") for dtype in ("float32", "float64")
}
QUICK = Part("codes", "float32", 2000, 8, 16, 256)


def card():
    """Name of the GPU that JAX has, or None."""
    import jax

    try:
        return jax.devices("cuda")[0].device_kind
    except RuntimeError:
        return None


def _codes(part):
    """A pass over the codes, and its arguments; of the result, sums over samples are compared."""
    import jax

    from benchmarks import code_sweep
    from padl_bayes import kernels
    from padl_bayes.inference.variational import SLABS
    from padl_bayes.kernels.code_sweep import Tile

    sizes = part.n_samples, part.n_features, part.n_atoms
    problem, state, residual = code_sweep._problem(code_sweep.Part("bernoulli_laplace", part.dtype, *sizes))
    slab = SLABS["bernoulli_laplace", False]

    def run(residual, codes, atoms, precision, valid):
        return kernels.sweep_tiles(slab, residual, codes, atoms, precision, Tile(valid), entries=False)

    arguments = residual, state.codes, state.atoms, state.precision, problem.valid
    return run, arguments, lambda done: np.concatenate([np.sum(a, axis=0) for a in jax.device_get(done.sums)])


def _rows(part):
    """Sweeps over the rows from zero codes, and their arguments; of the result, clip levels are compared."""
    import jax.numpy as jnp
    from jax import lax

    from padl_bayes import kernels
    from padl_bayes.kernels.row_sweep import Iterate, pad_rows

    rng = np.random.default_rng(0)
    D = rng.standard_normal((part.n_atoms, part.n_features))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    shape = part.n_samples, part.n_atoms
    codes = 3 * rng.laplace(size=shape) * (rng.random(shape) < 0.1)
    X = jnp.asarray((codes @ D + 0.1 * rng.standard_normal((part.n_samples, part.n_features))).T, part.dtype)
    rows = pad_rows(jnp.asarray(D, part.dtype), 0.5, 0.175 * part.n_samples)
    none = jnp.zeros((2, len(rows.atoms), part.n_samples), part.dtype)

    def run(rows, iterate, momentum):
        def sweep(_, state):
            return kernels.sweep_rows(rows, state[0], momentum, nonnegative=False)

        return lax.fori_loop(0, SWEEPS, sweep, (iterate, jnp.zeros_like(momentum)))

    arguments = rows, Iterate(none, X, X, none[0, :, 0]), jnp.asarray(0.5, part.dtype)
    return run, arguments, lambda done: np.append(done[0].thresholds, done[1])


def _measure(part, platforms, setting):
    """Times of one implementation in a process of its own; on a card also those of a copy and of a product."""
    os.environ["PADL_BAYES_KERNELS"] = setting
    import jax
    import jax.numpy as jnp

    from padl_bayes.kernels import compiled

    jax.config.update("jax_platforms", platforms)
    with jax.enable_x64(part.dtype == "float64"):
        run, arguments, compared = (_codes if part.what == "codes" else _rows)(part)
        compilation, seconds = _times(run, *arguments)
        square = jnp.ones((part.matrix, part.matrix), part.dtype)
        product = min(_times(lambda a: jnp.matmul(a, a, precision="highest"), square)[1])
        many = jnp.ones((4, part.matrix, part.matrix), part.dtype)
        copy = min(_times(lambda a: a + 1, many)[1])
        return {
            "compilation": compilation,
            "seconds": [s / (SWEEPS if part.what == "rows" else 1) for s in seconds],
            "operations a second": 2 * part.matrix**3 / product,
            "bytes a second": 2 * many.nbytes / copy,
            "kernels": compiled("code_sweep" if part.what == "codes" else "row_sweep", part.dtype),
            "compared": compared(jax.jit(run)(*arguments)).tolist(),
        }


def work(part):
    """Operations of a pass, and bytes that it reads and writes."""
    n, p, k = part.n_samples, part.n_features, part.n_atoms
    size = np.dtype(part.dtype).itemsize
    if part.what == "codes":
        return n * k * (4 * p + ENTRY["bernoulli_laplace", part.dtype]), size * n * (2 * p + 2 * k + 2)
    return n * k * (4 * p + BLOCK), size * n * (2 * p * (k / BLOCK + 1) + 9 * k)


class NoGPU(RuntimeError):
    """There is nothing to measure."""


def run_part(part, options, say):
    """Result of one part, fit for JSON."""
    name_of_card = alone(card)
    if name_of_card is None:
        raise NoGPU("JAX has no GPU here: nothing was run and nothing is written")
    runs = {}
    for name, (platforms, setting) in RUNS.items():
        say(f"  {name}")
        runs[name] = alone(_measure, part, platforms, setting)
    expected = np.asarray(runs["C++, processor"]["compared"])
    for run in runs.values():
        difference = np.abs(np.asarray(run.pop("compared")) - expected)
        run["difference"] = float(difference.max() / np.abs(expected).max())
    if "cuda" not in runs["CUDA"]["kernels"]:
        raise SystemExit("no CUDA kernels: run `python csrc/build.py --cuda` first, and read its warnings")
    operations, moved = work(part)
    return {"card": name_of_card, "part": part, "operations": operations, "bytes": moved, "runs": runs}


def section(name, r):
    """Markdown of one part."""
    _, _, n, p, k, _ = r["part"]
    lines = [
        f"## {name}",
        "",
        f"{n} samples, {p} features, {k} atoms: {r['operations'] / 1e9:.1f} billion operations, "
        f"{r['bytes'] / 1e9:.2f} GB. {r['card']}; {r['machine']}.",
        "",
        "| pass | s, median | fastest | slowest | times plain JAX | compilation, s | share of arithmetic "
        "| share of bandwidth | relative difference from the processor |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    base = np.median(r["runs"]["plain JAX, GPU"]["seconds"])
    for label, run in r["runs"].items():
        seconds = run["seconds"]
        middle = np.median(seconds)
        arithmetic = r["operations"] / middle / run["operations a second"]
        bandwidth = r["bytes"] / middle / run["bytes a second"]
        lines.append(
            f"| {label} | {middle:.5f} | {min(seconds):.5f} | {max(seconds):.5f} | {base / middle:.1f} "
            f"| {run['compilation']:.1f} | {arithmetic:.0%} | {bandwidth:.0%} | {run['difference']:.0e} |"
        )
    return "\n".join([*lines, ""])


HEAD = f"""# Both passes on a GPU

Written by `python -m benchmarks.gpu`. Codes: the pass of variational EM, `csrc/cuda/code_sweep.cu`. Rows: one of
{SWEEPS} sweeps of sparse coding in one program, `csrc/cuda/row_sweep.cu`. {REPEATS} repeats, compiled and warm, each
line in a process of its own. Operations are those of the residuals and of the entries' posterior, bytes those of the
arrays that a pass must read and write; shares are of the speed of XLA's product of matrices (in full precision; for
float64 a card's tensor cores take part) and of its sum of an array and a number, in the same process.
"""


def main(arguments=None):
    """Run the parts named and return the results of all; None without a GPU."""
    page = Page("gpu", HEAD, PARTS, QUICK, run_part, section)
    try:
        return run_page(page, arguments, __doc__.splitlines()[0])
    except NoGPU as error:
        print(error)
        return None


if __name__ == "__main__":
    main()
