"""The CUDA kernels: on a processor wherever there is one, by CUDA's compiler and on a GPU where there are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes import kernels
from padl_bayes.kernels import cpu, cuda, handlers
from padl_bayes.kernels.row_sweep import sweep
from padl_bayes.kernels.slabs import SLABS
from tests.kernels.conftest import builder
from tests.kernels.test_code_sweep import KEYS, Case, assert_agree
from tests.kernels.test_cpu import LAPLACE, malformed_calls, tiles_of
from tests.kernels.test_rows import SWEEP_SHAPES, assert_close, problem, sweep_call


def assert_same(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("x64", "emulated")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_features", [1, 30, 90, 400])
def test_any_number_of_features(n_features, dtype, masked):
    """Blocks of 128, 64 and 32 threads, and a residual that shared memory has no room for."""
    arguments = tiles_of(dtype, 2, n_features, 16, 70, masked=masked)
    reference = kernels.by_reference(LAPLACE, True, *arguments)
    done = kernels.sweep_tiles(LAPLACE, *arguments)
    for one, other in zip(jax.tree.leaves(done), jax.tree.leaves(reference), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2000 * np.finfo(dtype).eps * np.abs(other).max())


@pytest.mark.usefixtures("x64", "emulated")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("kind", list(KEYS))
def test_any_number_of_atoms_of_any_slab(kind, masked):
    """Blocks of atoms that are not full, in double precision and in single."""
    case = Case(masked=masked, n_atoms=13)
    for dtype, tolerance in ((np.float64, 1e-11), (np.float32, 40 * 13 * np.finfo(np.float32).eps)):
        residual, codes, atoms, precision, tile = case.arguments(dtype)
        arguments = jax.tree.map(lambda a: a[None], (residual, codes, tile))
        done = handlers.sweep_tiles(
            cpu.level(), *arguments[:2], atoms, precision, arguments[2], slab=SLABS[KEYS[kind]], entries=True
        )
        assert_agree(jax.tree.map(lambda a: a[0], done), case.truth(kind), tolerance)


@pytest.mark.usefixtures("x64", "emulated")
def test_codes_are_the_same_to_the_bit_in_whatever_order_threads_run():
    """Every launch of the emulation has an order of its own: a missing barrier would show."""
    residual, codes, atoms, *rest = tiles_of(np.float64, 2, 4, 40, 300)
    arguments = residual, codes, atoms._replace(active=jnp.ones(40)), *rest
    reference = kernels.by_reference(LAPLACE, True, *arguments)
    first = kernels.sweep_tiles(LAPLACE, *arguments)
    np.testing.assert_allclose(first.sums.used, reference.sums.used, rtol=1e-12)
    for _ in range(4):
        assert_same(kernels.sweep_tiles(LAPLACE, *arguments), first)


@pytest.mark.usefixtures("x64", "emulated")
def test_rows_are_the_same_to_the_bit_in_whatever_order_threads_run():
    rows, iterate = problem(np.float64, 4, 800, 18, 50.0)
    first = kernels.sweep_rows(rows, iterate, 0.5, nonnegative=False)
    for _ in range(4):
        assert_same(kernels.sweep_rows(rows, iterate, 0.5, nonnegative=False), first)


@pytest.mark.usefixtures("x64", "emulated")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nan_in_nan_out_in_rows(dtype):
    rows, iterate = problem(dtype, 5, 1030, 20, 3.0)
    broken = iterate._replace(residual=iterate.residual.at[2, 7].set(np.nan))
    found, objective = kernels.sweep_rows(rows, broken, 0.5, nonnegative=False)
    assert np.isnan(objective)
    assert np.isnan(found.history[0, :20]).all()


@pytest.mark.usefixtures("x64", "emulated")
def test_every_malformed_call_is_an_error_or_nan():
    malformed_calls(sweep_call, SWEEP_SHAPES, "row_sweep")
    for wrong in (-1, 5):
        # The number of rows is on the device, where a handler does not wait for it.
        *_, objective = sweep_call(SWEEP_SHAPES, n_rows=wrong)
        assert np.isnan(objective)
    empty = [tuple(0 if s == 5 else s for s in shape) for shape in SWEEP_SHAPES]
    assert sweep_call(empty)[-1] == 0


def test_a_processor_needs_nothing_of_a_gpu(monkeypatch):
    """Neither a handler for one to compile a pass, nor a library for one to be told that there is none."""
    arguments = tiles_of(np.float32, 1, 3, 8, 4)
    expected = kernels.sweep_tiles(LAPLACE, *arguments)
    monkeypatch.setattr(cuda, "tag", lambda: "of no library")
    assert kernels.compiled("code_sweep", np.float32)["cuda"] == "of no library"
    assert "cuda" not in kernels.compiled("newton", np.float32)
    assert_same(kernels.sweep_tiles(LAPLACE, *arguments), expected)
    assert_same(jax.jit(lambda *a: kernels.sweep_tiles(LAPLACE, *a))(*arguments), expected)


@pytest.fixture
def found_library(tmp_path, monkeypatch):
    """A library for GPUs that is there but damaged, and a GPU; what is known of them is forgotten."""
    (tmp_path / cuda.LIBRARY).write_bytes(b"damaged")
    monkeypatch.setattr(cuda, "FOLDER", tmp_path)
    monkeypatch.setattr(cuda, "_has_gpu", lambda: True)
    monkeypatch.delenv(cpu.VARIABLE, raising=False)
    cuda.tag.cache_clear()
    yield tmp_path
    cuda.tag.cache_clear()


def test_a_library_that_does_not_load_is_said_once_and_done_without(found_library):
    with pytest.warns(RuntimeWarning, match="the CUDA kernels cannot be used, plain JAX takes over"):
        assert cuda.tag() is None
    assert cuda.tag() is None


@pytest.mark.parametrize("what", ["switched off", "no GPU", "no library"])
def test_where_no_library_is_looked_at(what, found_library, monkeypatch):
    if what == "switched off":
        monkeypatch.setenv(cpu.VARIABLE, "off")
    elif what == "no GPU":
        monkeypatch.setattr(cuda, "_has_gpu", lambda: False)
    else:
        (found_library / cuda.LIBRARY).unlink()
    assert cuda.tag() is None


def test_a_library_says_why_a_gpu_cannot_run_it():
    class Library:
        @staticmethod
        def padl_cuda_problem():
            return b"CUDA driver version is insufficient for CUDA runtime version"

    with pytest.raises(RuntimeError, match="driver version is insufficient"):
        cuda._check(Library)


def test_without_a_compiler_for_gpus_that_is_said(monkeypatch):
    monkeypatch.setattr(builder().shutil, "which", lambda name: None)
    with pytest.raises(builder().BuildError, match="no nvcc found"):
        builder().build_cuda()


@pytest.mark.slow
def test_the_library_for_gpus_compiles(tmp_path):
    try:
        builder().nvcc()
    except builder().BuildError as error:
        pytest.skip(str(error))
    symbols = builder().build_cuda(tmp_path).read_bytes()
    for kernel in cuda.HANDLERS:
        for suffix in handlers.SUFFIX.values():
            assert f"padl_{kernel}_{suffix}".encode() in symbols


@pytest.fixture(scope="module")
def gpu():
    """A GPU on which the CUDA kernels run."""
    try:
        device = jax.devices("cuda")[0]
    except RuntimeError:
        pytest.skip("JAX has no GPU here")
    if cuda.tag() is None:
        pytest.skip("python csrc/build.py --cuda has not been run")
    return device


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("key", list(SLABS))
def test_codes_of_a_gpu_are_those_of_a_processor(gpu, key, dtype, masked):
    arguments = tiles_of(dtype, 3, 64, 32, 520, masked=masked)
    done = [
        kernels.sweep_tiles(SLABS[key], *jax.device_put(arguments, device))
        for device in (gpu, jax.devices("cpu")[0])
    ]
    for one, other in zip(*map(jax.tree.leaves, done), strict=True):
        assert one.devices() == {gpu}
        atol = 2000 * np.finfo(dtype).eps * np.abs(other).max()
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=atol)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_of_a_gpu_are_those_of_a_processor(gpu, dtype, nonnegative):
    rows, iterate = problem(dtype, 64, 30_000, 40, 200.0, nonnegative=nonnegative, spare=20)
    momentum = jnp.asarray(0.8, dtype)
    here = jax.device_put((rows, iterate, momentum), jax.devices("cpu")[0])
    expected = sweep(*here, nonnegative=nonnegative)
    first = kernels.sweep_rows(*jax.device_put((rows, iterate, momentum), gpu), nonnegative=nonnegative)
    assert_close(jax.tree.map(np.asarray, first), expected, 1000)
    again = kernels.sweep_rows(*jax.device_put((rows, iterate, momentum), gpu), nonnegative=nonnegative)
    assert_same(again, first)
