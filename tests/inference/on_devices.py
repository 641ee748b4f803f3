"""Fits on several devices and in several processes, each run in processes of its own: a device count cannot change."""

import functools
import os
import re
import socket
import subprocess
import sys

import jax
import numpy as np

import padl_bayes as pb
from padl_bayes import _devices
from padl_bayes.inference import fit_em, fit_map, sample_gibbs
from padl_bayes.inference.em import code_em
from tests.inference.problems import unit_rows

N_EM, N_ROWS, N_GIBBS = 2500, 4003, 1003
"""Samples: no multiple of the devices."""


def _arrays(fit):
    return {name: value for name, value in fit._asdict().items() if isinstance(value, (float, np.ndarray))}


def _data(n_samples, dtype=np.float64):
    return pb.datasets.synthetic_a(0.1, n_samples=n_samples, n_features=8, n_atoms=4, seed=0, dtype=dtype).X


def em(devices):
    """A fit by the estimator, and what it makes of other samples."""
    X = _data(N_EM)
    est = pb.PADL(6, devices=devices).fit(X)
    fresh = {"fresh": est.transform(X[:1100] + 0.1, rule="mean"), "score": est.score(X[:600])}
    return _arrays(est.fit_) | fresh | {"trace": est.history_["elbo"]}


def em_float32(devices):
    return _arrays(fit_em(_data(N_EM, np.float32), 6, max_iter=150, devices=devices))


def em_masked(devices):
    """Entries missing, and codes of one sign."""
    mask = np.random.default_rng(0).random((1300, 8)) < 0.9
    X = np.abs(_data(1300))
    fit = fit_em(X, 5, mask=mask, max_iter=60, slab="bernoulli_gaussian", nonnegative=True, devices=devices)
    return _arrays(fit) | {"fresh": code_em(np.where(mask, X, 0), fit, mask=mask, devices=devices).codes}


def _coding():
    """Samples and atoms."""
    return _data(N_ROWS), unit_rows(np.random.default_rng(0), 12, 8)


def _parts(found):
    return {name: getattr(found, name) for name in ("codes", "objective", "gap")}


def sparse(devices):
    return _parts(pb.sparse_code(*_coding(), 0.1, 100.0, tol=1e-12, devices=devices))


def lasso(devices):
    """From a warm start."""
    X, atoms = _coding()
    options = dict(tol=1e-12, codes_init=np.maximum(X @ atoms.T, 0), nonnegative=True, devices=devices)
    return _parts(pb.sparse_code(X, atoms, 0.1, 0.0, **options))


def sparse_float32(devices):
    X, atoms = (table.astype(np.float32) for table in _coding())
    return _parts(pb.sparse_code(X, atoms, 0.1, 100.0, devices=devices))


def maximum(devices):
    """A fit by the estimator, and what it makes of other samples."""
    X = _data(N_ROWS)
    est = pb.PADL(6, method="map", alpha=(0.1, 100.0), devices=devices).fit(X)
    return _arrays(est.fit_) | {"fresh": est.transform(X[:1001] + 0.1)}


def fixed_map(devices):
    """More atoms than are needed: births, merges and idle ones.

    Codes that stop at the usual gap are 1e-5 from the optimum, and conjugate gradients cut short differ by the square
    root of rounding; at a gap of 1e-12 the optimum determines them.
    """
    X = _data(601)
    return _arrays(fit_map(X, 12, alpha=(0.1, 30.0), max_iter=30, gap_tol=1e-12, devices=devices))


def gibbs(devices, slab="bernoulli_laplace", **options):
    X = pb.datasets.synthetic_a(0.1, n_samples=N_GIBBS, n_features=5, n_atoms=3, usage=0.5, seed=0).X
    counts = dict(num_chains=2, num_warmup=8, num_samples=4, keep_codes="draws", devices=devices)
    draws = sample_gibbs(X, 3, slab=slab, **counts, **options)
    more = sample_gibbs(
        X, 3, slab=slab, num_chains=2, num_samples=2, devices=devices, resume=draws, **options
    )
    resumed = {"next_noise": more.samples["noise_scale"], "next_mean": more.codes_moments["mean"]}
    return draws.samples | draws.codes_moments | draws.sample_stats | resumed


def gibbs_masked(devices):
    mask = np.random.default_rng(0).random((N_GIBBS, 5)) < 0.9
    return gibbs(devices, "bernoulli_gaussian", mask=mask, chain_method="sequential")


def gibbs_enveloped(devices):
    return gibbs(devices, "l1linf")


RUNS = {
    run.__name__: run
    for run in (
        *(em, em_float32, em_masked),
        *(sparse, lasso, sparse_float32, maximum, fixed_map),
        *(gibbs, gibbs_masked, gibbs_enveloped),
    )
}


def forget_a_sum():
    """Let what all devices but the first have found be lost."""
    true_over_samples = _devices.over_samples

    def forgetful(mesh, function):
        def run(split, whole):
            done = true_over_samples(mesh, function)(split, whole)
            return jax.tree.map(lambda a: a.at[len(a) // mesh.size :].set(0), done)

        return run

    return forgetful


def _free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def run_on(devices, processes, folder, name, plant=""):
    """What `RUNS` gives on as many devices in each of some processes, and the programs that were compiled, as text."""
    dump, path, port = folder / "programs", folder / "found.npz", _free_port()
    flags = f"--xla_force_host_platform_device_count={devices} --xla_dump_to={dump} --xla_dump_hlo_as_text "
    env = os.environ | {"XLA_FLAGS": flags + os.environ.get("XLA_FLAGS", ""), "JAX_PLATFORMS": "cpu"}
    # What is found in a cache is not compiled.
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-W", "ignore", "-m", "tests.inference.on_devices", name, str(path), plant]
    started = [
        subprocess.Popen([*command, str(processes), str(rank), str(port)], env=env)
        for rank in range(processes)
    ]
    assert [process.wait(timeout=900) for process in started] == [0] * processes
    programs = [file.read_text() for file in dump.glob("*after_optimizations.txt") if GATHER not in file.name]
    with np.load(path) as file:
        return dict(file), programs


# What a process reads of the others: results at the end, and a few samples or a number each for moves between passes.
GATHER = "_identity_fn"
COLLECTIVES = "all-gather|all-reduce|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
EXCHANGE = re.compile(rf"= (.*?) (?:ragged-)?(?:{COLLECTIVES})(?:-start)?\(")


def exchanged(programs):
    """Sizes of all arrays that devices exchange in some programs."""
    kinds = (kind for program in programs for kind in EXCHANGE.findall(program))
    shapes = (shape for kind in kinds for shape in re.findall(r"\w+\[([\d,]*)\]", kind))
    return [int(np.prod([int(size) for size in shape.split(",") if size])) for shape in shapes]


@functools.cache
def _on_one_device(name):
    # Where devices are named, rows of codes are found by plain JAX, to the tolerance asked for.
    return RUNS[name](1 if name in ("sparse", "lasso", "sparse_float32", "maximum", "fixed_map") else None)


# Each sample keeps the best of three codes; where two have come to the same optimum, rounding decides. Bounds that are
# the same to rounding belong to codes that are the same to its square root.
LOOSE = {"codes", "probability", "code_sd", "fresh"}


def largest_error(name, found):
    """Of all arrays of a run, relative to what rounding may do to their largest entry: infinite for other shapes."""
    errors = {}
    expected = _on_one_device(name)
    assert found.keys() - {"n_devices"} == expected.keys()
    for key in expected.keys() - {"wall_time", "gap"}:
        values = np.asarray(expected[key])
        if found[key].shape != values.shape:
            return np.inf
        dtype = np.float32 if name.endswith("float32") else np.float64
        tolerance = np.finfo(dtype).eps ** 0.5 * (64 if name.startswith("em") and key in LOOSE else 1)
        error = np.abs(found[key] - values).max(initial=0)
        errors[key] = error / (tolerance * np.abs(values).max(initial=np.finfo(float).tiny))
    return max(errors.values())


def check(figure, folder, name, devices, processes, allowed):
    """Compare a run with that on one device, and what its devices exchange with the largest array ``allowed``."""
    found, programs = run_on(devices, processes, folder, name)
    assert found["n_devices"] == devices * processes
    assert figure(f"{name} on other devices, tolerances", largest_error(name, found)) < 1
    sizes = exchanged(programs)
    assert sizes
    assert figure(f"{name}: largest array that devices exchange", max(sizes)) <= allowed


def _main(name, path, plant, processes, rank, port):
    processes, rank = int(processes), int(rank)
    if processes > 1:
        jax.distributed.initialize(f"localhost:{port}", processes, rank, local_device_ids=None)
    if plant:
        from padl_bayes.inference import variational

        variational.over_samples = forget_a_sum()
    found = RUNS[name]("all")
    if rank == 0:
        np.savez(path, n_devices=len(jax.devices()), **found)


if __name__ == "__main__":
    _main(*sys.argv[1:])
