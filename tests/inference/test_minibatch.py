"""Variational EM over mini-batches: its statistics, its M-step, and what it finds."""

import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import padl_bayes as pb
from padl_bayes.inference import fit_em, fit_em_minibatch
from padl_bayes.inference.batches import Feed, open_source
from padl_bayes.inference.recoding import code_afresh
from padl_bayes.inference.statistics import (
    SETTLE,
    batch_means,
    blend,
    elbo_of_means,
    keep_only,
    maximise,
    missed_of,
)
from padl_bayes.inference.variational import State, elbo_of, make_problem, run_passes
from padl_bayes.kernels.code_sweep import Atoms
from padl_bayes.kernels.slabs import SLABS
from tests.inference.test_batches import Chunks

KEYS = sorted(SLABS)


def example(slab, n=40, p=6, k=8, seed=0):
    """Data, and global quantities that do not fit them particularly well."""
    rng = np.random.default_rng(seed)
    dictionary = rng.normal(size=(k, p))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    codes = rng.laplace(size=(n, k)) * (rng.random((n, k)) < 0.3)
    X = codes @ dictionary + 0.2 * rng.normal(size=(n, p))
    active = np.arange(k) != 5
    atoms = Atoms(dictionary, rng.normal(-1, 0.5, k), rng.uniform(0.5, 2, k), active.astype(float))
    return X, State(None, atoms, rng.uniform(1, 5, k), np.float64(8.0))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def means_of(key, X, state, size):
    """Means over all samples, from batches."""
    feed = Feed(open_source(X), size, key[0], 0)
    total, means = 0, None
    for _ in range(feed.n_batches):
        found, count = batch_means(key, feed.spread(), state, feed.whole().hot)
        total += count
        means = found if means is None else blend(means, found, count / total)
    assert total == len(X)
    return means, feed.whole()


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_means_of_batches_are_those_of_all_samples(key, x64):
    X, state = example(key[0])
    whole, _ = means_of(key, X, state, len(X))
    parts, _ = means_of(key, X, state, 7)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13), parts, whole)


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_m_step_and_bound_are_those_of_passes_over_all_samples(key, x64):
    X, state = example(key[0])
    means, whole = means_of(key, X, state, 9)
    problem = make_problem(X, slab=key[0])
    np.testing.assert_allclose([float(a) for a in whole[3:]], [float(a) for a in problem[3:]], rtol=1e-12)
    # One pass over all samples, from where code_afresh stands before its last sweep.
    before = code_afresh(key, problem.x, problem.valid, state.atoms, state.precision, problem.hot, SETTLE - 1)
    start = jax.tree.map(jnp.asarray, state._replace(codes=before.codes))
    one, trace = one_pass(key, problem, start)
    found = maximise(key, whole, state, means)
    assert elbo_of_means(whole, state, means) == pytest.approx(float(trace), rel=1e-12)
    np.testing.assert_allclose(found.atoms.dictionary, one.atoms.dictionary, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.energy, one.energy, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.precision, one.precision, rtol=1e-10)
    on = state.atoms.active > 0
    for name in ("usage_logit", "rate"):
        np.testing.assert_allclose(getattr(found.atoms, name)[on], getattr(one.atoms, name)[on], rtol=1e-12)


def one_pass(key, problem, state):
    """State and bound after one sweep and M-step of `padl_bayes.inference.variational`."""
    from padl_bayes.inference import variational

    codes, square, energy, bound, sums = variational.sweep(
        key, problem, state, variational.residuals(problem, state)
    )
    elbo = elbo_of(problem, state, energy, bound, sums)
    new, _ = variational._maximise(key, problem, state, codes, square, sums, np.inf)
    return new, elbo


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_full_batches_never_lower_the_bound(key, x64):
    """With one batch and codes that are settled, the M-step is that of EM: the bound rises."""
    X, state = example(key[0], n=64)
    problem = make_problem(X, slab=key[0])
    start = jax.tree.map(jnp.asarray, state._replace(codes=jnp.zeros((1, 8, 64))))
    settled, trace = run_passes(key, problem, start, jnp.asarray(1e6))
    means, whole = means_of(key, X, jax.tree.map(np.asarray, settled._replace(codes=None)), 64)
    new = maximise(key, whole, jax.tree.map(np.asarray, settled._replace(codes=None)), means)
    again, _ = means_of(key, X, new, 64)
    assert elbo_of_means(whole, new, again) > elbo_of_means(whole, settled, means)
    assert np.isfinite(trace.elbo).all()


def test_an_atom_that_goes_takes_what_it_explained_with_it(x64):
    X, state = example("bernoulli_laplace")
    means, _ = means_of(KEYS[0], X, state, 40)
    dictionary, kept = state.atoms.dictionary, np.arange(8) != 2
    left = keep_only(means, dictionary, kept)
    assert missed_of(left, dictionary) == pytest.approx(missed_of(means, dictionary), rel=1e-12)
    assert missed_of(left, dictionary * kept[:, None]) == pytest.approx(
        missed_of(means, dictionary), rel=1e-12
    )
    assert left.energy < means.energy
    for table in (left.gram, left.gram.T, left.cross, left.share, *left.atoms):
        assert not table[2].any()


def test_a_newborn_counts_from_its_birth_on(x64):
    X, state = example("bernoulli_laplace")
    means, whole = means_of(KEYS[0], X, state, 40)
    running = blend(keep_only(means, state.atoms.dictionary, np.arange(8) != 2), means, 0.25)
    found = maximise(KEYS[0], whole, state, running)
    expected = maximise(KEYS[0], whole, state, means)
    for name in ("usage_logit", "rate"):
        np.testing.assert_allclose(getattr(found.atoms, name), getattr(expected.atoms, name), rtol=1e-12)
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-12)


def found(fit, data):
    return (np.abs(fit.dictionary @ data.dictionary.T).max(axis=0) > 0.95).sum()


@pytest.mark.parametrize(
    ("dtype", "noise"), [(np.float64, 0.1), pytest.param(np.float32, 0.3, marks=pytest.mark.slow)]
)
def test_finds_the_true_atoms_as_passes_over_all_samples_do(dtype, noise, figure):
    data = pb.datasets.synthetic_a(noise, n_samples=3000, seed=1, dtype=dtype)
    fit = fit_em_minibatch(data.X, 40, batch_size=500)
    full = fit_em(data.X, 40)
    assert fit.status.startswith("converged")
    assert fit.dictionary.dtype == fit.usage.dtype == dtype
    assert len(fit.dictionary) == len(full.dictionary) == 20
    assert found(fit, data) == 20
    assert fit.codes is fit.probability is fit.code_sd is None
    # The noise of four batches of 500: standard error 1 / sqrt(2 * 4 * 500 * 32) relative.
    error = 1 / np.sqrt(2 * 4 * 500 * 32)
    assert (
        figure("noise, mini-batches, standard errors", abs(fit.noise_scale / full.noise_scale - 1) / error)
        < 4
    )
    # Batches of 500 leave the globals within their own standard errors, some of which a nat each pays for.
    lost = (full.elbo - fit.elbo) / (20 * (32 + 2))
    assert figure("bound lost by mini-batches, nats a parameter", lost) < 1
    usage = np.sort(fit.usage) - np.sort(full.usage)
    assert np.abs(usage).max() < 4 * np.sqrt(0.25 / 500)
    assert (fit.activation_log_odds > 0).all()
    # Both are estimates from some users of each atom, whose losses have heavy tails: their ratios say how good.
    same = np.abs(fit.dictionary @ full.dictionary.T).argmax(axis=1)
    ratio = fit.activation_log_odds / full.activation_log_odds[same]
    error = abs(ratio.mean() - 1) / (ratio.std() / np.sqrt(20))
    assert figure("activation log odds against all samples, standard errors", error) < 4
    assert 0.3 < ratio.min() < ratio.max() < 3


def test_it_does_not_matter_what_the_samples_are_read_from(tmp_path):
    data = pb.datasets.synthetic_a(0.1, n_samples=600, n_features=8, n_atoms=4, seed=0)
    np.save(tmp_path / "X.npy", data.X)
    options = dict(batch_size=150, max_epochs=2)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    one, two, three = (fit_em_minibatch(X, 6, **options) for X in (data.X, tmp_path / "X.npy", mapped))
    chunks = fit_em_minibatch(Chunks(data.X, (40, 90)), 6, **options)
    for other in (two, three):
        np.testing.assert_array_equal(other.dictionary, one.dictionary)
        assert (other.elbo, other.noise_scale) == (one.elbo, one.noise_scale)
    assert len(chunks.dictionary) == len(one.dictionary) == found(chunks, data) == 4
    assert chunks.noise_scale == pytest.approx(one.noise_scale, rel=0.05)


def test_pure_noise_has_no_atoms():
    X = pb.datasets.pure_noise(2000, 16, seed=0).X
    fit = fit_em_minibatch(X, 10, batch_size=400)
    assert len(fit.dictionary) == 0
    assert fit.noise_scale == pytest.approx(1, abs=4 / np.sqrt(2 * X.size))


def test_the_estimator_reads_batches(tmp_path):
    data = pb.datasets.bars(n_samples=900, seed=0)
    np.save(tmp_path / "X.npy", data.X)
    est = pb.PADL(15, nonnegative=True, batch_size=225).fit(tmp_path / "X.npy")
    assert est.n_active_ == 10
    codes = est.transform(data.X[:50])
    assert codes.shape == (50, 10)
    assert np.sqrt(np.mean((est.inverse_transform(codes) - data.clean[:50]) ** 2)) < 2.0
    with pytest.raises(ValueError, match="X must be given"):
        est.sample_posterior()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"batch_size": 1}, ValueError, "batch_size must be at least 2"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
        ({"max_epochs": 0}, ValueError, "max_epochs"),
        ({"slab": "l1linf"}, ValueError, "slab"),
    ],
)
def test_bad_settings_get_one_clear_error(options, error, words):
    with pytest.raises(error, match=words):
        fit_em_minibatch(np.eye(4), 2, **options)


def test_a_first_batch_of_zeros_gets_one_clear_error():
    with pytest.raises(ValueError, match="all zero"):
        fit_em_minibatch([np.zeros((20, 3)), np.eye(3)], 2, batch_size=5)


@pytest.mark.parametrize(
    ("parameters", "mask", "words"),
    [
        ({"batch_size": 2}, np.ones((4, 4), bool), "takes no mask"),
        ({"batch_size": 2, "method": "map"}, None, "takes no batches"),
    ],
)
def test_the_estimator_refuses_what_batches_cannot_do(parameters, mask, words):
    with pytest.raises(ValueError, match=words):
        pb.PADL(2, **parameters).fit(np.eye(4), mask=mask)


SCRIPT = """
import sys
import jax, numpy as np
path, processes, rank, port = sys.argv[1], *map(int, sys.argv[2:])
if processes > 1:
    jax.distributed.initialize(f"localhost:{port}", processes, rank, local_device_ids=None)
from padl_bayes.datasets import synthetic_a
from padl_bayes.inference import fit_em_minibatch

class Strided:
    def __init__(self, X): self.X = X
    def __iter__(self): yield self.X

X = synthetic_a(0.1, n_samples=403, n_features=8, n_atoms=4, seed=0).X
# Batch b of two processes is half of batch b of one.
rows = np.arange(len(X)) // 50 % 2
local = X if processes == 1 else X[rows == rank]
fit = fit_em_minibatch(Strided(local), 6, batch_size=100, max_epochs=2, devices=jax.devices())
if rank == 0:
    arrays = {name: value for name, value in fit._asdict().items() if isinstance(value, (float, np.ndarray))}
    np.savez(path, n_devices=len(jax.devices()), elbo_trace=fit.history["elbo"], **arrays)
"""


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def fit_on(devices, processes, folder):
    flags = f"--xla_force_host_platform_device_count={devices} " + os.environ.get("XLA_FLAGS", "")
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    path, port = folder / f"{devices}-{processes}.npz", free_port()
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), str(processes), str(rank), str(port)],
            env=env,
        )
        for rank in range(processes)
    ]
    assert [process.wait(timeout=600) for process in started] == [0] * processes
    with np.load(path) as file:
        return dict(file)


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    return fit_on(1, 1, tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize(
    ("devices", "processes"),
    [pytest.param(8, 1, marks=pytest.mark.slow), pytest.param(1, 2, marks=pytest.mark.slow), (4, 2)],
)
def test_devices_and_processes_change_nothing_but_rounding(devices, processes, on_one_device, tmp_path):
    many = fit_on(devices, processes, tmp_path)
    assert (on_one_device["n_devices"], many["n_devices"]) == (1, devices * processes)
    assert on_one_device.keys() == many.keys()
    assert on_one_device["dictionary"].shape == (4, 8)
    for name in set(many) - {"n_devices", "wall_time"}:
        values = on_one_device[name]
        np.testing.assert_allclose(many[name], values, rtol=1e-8, atol=1e-10, err_msg=name)
