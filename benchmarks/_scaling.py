"""What `benchmarks.scaling` runs, in processes of their own."""

import math
from typing import NamedTuple

import numpy as np

from benchmarks._machine import memory, times_of
from benchmarks._posterior import stopwatch
from padl_bayes.datasets import PHOTOGRAPHS, TEXTURES, natural_patches
from padl_bayes.inference.variational import PASSES, run_passes

REPEATS = 3
ALPHA2 = 0.175
BATCH = 8192
SLAB = ("bernoulli_laplace", False)
# The photographs hold 0.87 million positions of 8 x 8 patches, with the textures 1.6 million.
MOST_OF_PHOTOGRAPHS = 800_000
# At which codes of patches are found in batches: about those of a fit.
USAGE, RATE, NOISE = 0.1, 1.0, 0.1


class Run(NamedTuple):
    """What is run, at which size; ``weight`` is alpha2 over the samples."""

    what: str
    dtype: str
    n_samples: int
    n_atoms: int
    weight: float
    n_devices: int


def patches(count, size, seed, dtype):
    """Patches of photographs, of textures too where there are too many."""
    images = PHOTOGRAPHS + TEXTURES * (count > MOST_OF_PHOTOGRAPHS)
    return natural_patches(count, size, seed=seed, images=images, dtype=np.dtype(dtype)).X


def prepare(folder, runs, size):
    """Write patches, and a dictionary of each number of atoms, where they are needed."""
    if runs[0].what == "EM passes":
        return
    from benchmarks.sparse_coding import learn_dictionary

    most, dtype = max(run.n_samples for run in runs), runs[0].dtype
    np.save(folder / "X.npy", patches(most, size, 0, dtype))
    others = patches(20_000, size, 1, np.float64)
    for n_atoms in {run.n_atoms for run in runs}:
        np.save(folder / f"{n_atoms}.npy", learn_dictionary(others, n_atoms).astype(dtype))


def _samples(folder, run):
    """Some of the patches, the same sample of them whatever their number."""
    X = np.load(folder / "X.npy", mmap_mode="r")
    return X[:: len(X) // run.n_samples][: run.n_samples]


def _coding(folder, run):
    from benchmarks.sparse_coding import ALPHA1
    from padl_bayes.sparse_coding import sparse_code

    X, dictionary = _samples(folder, run), np.load(folder / f"{run.n_atoms}.npy")
    found, seconds = times_of(lambda: sparse_code(X, dictionary, ALPHA1, run.weight * run.n_samples), REPEATS)
    return int(np.count_nonzero(found.codes.any(axis=0))), found.n_iter, seconds, ()


def _passes(folder, run):
    import jax

    from benchmarks.code_sweep import Part, _problem

    problem, state, _ = _problem(Part(SLAB[0], run.dtype, run.n_samples, 64, run.n_atoms))
    cap = jax.numpy.asarray(1e3, run.dtype)
    seconds = times_of(lambda: jax.block_until_ready(run_passes(SLAB, problem, state, cap)), REPEATS)[1]
    return run.n_atoms, PASSES, seconds, ()


def _epoch(folder, run):
    import jax

    from padl_bayes.inference.batches import Feed, open_source
    from padl_bayes.inference.statistics import SETTLE, batch_means, blend, maximise
    from padl_bayes.inference.variational import State
    from padl_bayes.kernels.code_sweep import Atoms

    source = open_source(_samples(folder, run))
    devices = jax.devices() if run.n_devices > 1 else None
    if devices and len(devices) != run.n_devices:
        raise RuntimeError(f"expected {run.n_devices} devices, found {len(devices)}")
    feed = Feed(source, min(BATCH, run.n_samples), SLAB[0], 0, devices)
    dictionary = np.load(folder / f"{run.n_atoms}.npy")
    own = np.ones(run.n_atoms, run.dtype)
    atoms = Atoms(dictionary, own * math.log(USAGE / (1 - USAGE)), own * RATE, own)
    state, whole = State(None, atoms, own, own.dtype.type(NOISE**-2)), feed.whole()

    def epoch():
        feed.start_epoch()
        means, total = None, 0.0
        for _ in range(feed.n_batches):
            found, count = batch_means(SLAB, feed.spread(), state, whole.hot)
            total += count
            means = found if means is None else blend(means, found, count / total)
        maximise(SLAB, whole, state, means)
        return means

    means, seconds = times_of(epoch, REPEATS)
    return run.n_atoms, SETTLE, seconds, jax.tree.leaves(means)


def measure(folder, run):
    """One row."""
    before = memory()[0]
    call = {"sparse coding": _coding, "EM passes": _passes, "mini-batches": _epoch}[run.what]
    with stopwatch() as watch:
        active, sweeps, seconds, sums = call(folder, run)
    return {
        "samples": run.n_samples,
        "atoms": run.n_atoms,
        "active": active,
        "devices": run.n_devices,
        "sweeps": sweeps,
        "seconds": seconds,
        "compilation": watch.compilation,
        "memory": memory()[1] - before,
        "sums": sums,
    }
