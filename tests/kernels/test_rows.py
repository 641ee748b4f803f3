"""The C++ kernels of sparse coding, row sweeps and Newton steps: plain JAX, dense algebra, malformed calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes import kernels
from padl_bayes.kernels import cpu, handlers, newton
from padl_bayes.kernels.dual_bound import feasibility_sweep
from padl_bayes.kernels.row_sweep import Iterate, pad_rows, sweep
from padl_bayes.sparse_coding import sparse_code
from tests.kernels.test_cpu import malformed_calls

# features, samples, atoms, alpha2, momentum, nonnegative
CASES = [
    (5, 37, 3, 0.5, 0.0, False),
    (64, 1500, 40, 200.0, 0.8, False),
    (7, 1024, 17, 3.0, -1.0, True),
    (9, 1025, 33, 0.0, 0.5, False),
    (1, 1, 1, 0.1, 0.3, True),
]


def problem(dtype, n_features, n_samples, n_atoms, alpha2, *, nonnegative=False, spare=0):
    """Rows, and an iterate with codes of which a fifth is used."""
    rng = np.random.default_rng(0)
    D = rng.standard_normal((n_atoms, n_features))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X = 2 * rng.standard_normal((n_features, n_samples))
    rows = pad_rows(jnp.asarray(np.pad(D, ((0, spare), (0, 0))), dtype), 0.3, alpha2)
    rows = rows._replace(n_rows=jnp.asarray(n_atoms))
    atoms = np.asarray(rows.atoms, float)
    shape = n_atoms, n_samples
    now = rng.laplace(size=shape) * (rng.random(shape) < 0.2)
    before = now + 0.1 * rng.standard_normal(shape)
    history = np.stack([np.abs(c) if nonnegative else c for c in (now, before)])
    history = np.pad(history, ((0, 0), (0, len(atoms) - n_atoms), (0, 0)))
    arrays = history, X - atoms.T @ history[0], X - atoms.T @ history[1], 0.9 * np.abs(history[0]).max(axis=1)
    return rows, Iterate(*(jnp.asarray(a, dtype) for a in arrays))


def assert_close(found, expected, roundings):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        eps, size = np.finfo(one.dtype).eps, np.max(np.abs(other), where=np.isfinite(other), initial=1)
        np.testing.assert_allclose(one, other, rtol=0, atol=roundings * eps * size)


@pytest.mark.usefixtures("x64", "kernel")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES)
def test_a_sweep_is_that_of_plain_jax(case, dtype):
    *sizes, momentum, nonnegative = case
    rows, iterate = problem(dtype, *sizes, nonnegative=nonnegative, spare=20)
    momentum = jnp.asarray(momentum, dtype)
    found = kernels.sweep_rows(rows, iterate, momentum, nonnegative=nonnegative)
    assert_close(found, sweep(rows, iterate, momentum, nonnegative=nonnegative), 100)
    F = kernels.feasibility_sweep(rows, iterate.residual, nonnegative=nonnegative)
    assert_close(F, feasibility_sweep(rows, iterate.residual, nonnegative=nonnegative), 100)


@pytest.mark.usefixtures("x64", "best_kernel")
def test_sweeps_that_differ_are_told_apart():
    rows, iterate = problem(np.float64, 7, 100, 17, 3.0)
    expected = sweep(rows, iterate, 0.5, nonnegative=False)
    for wrong in (rows._replace(alpha1=1.0001 * rows.alpha1), rows._replace(alpha2=1.0001 * rows.alpha2)):
        with pytest.raises(AssertionError):
            assert_close(kernels.sweep_rows(wrong, iterate, 0.5, nonnegative=False), expected, 100)
    with pytest.raises(AssertionError):
        assert_close(kernels.sweep_rows(rows, iterate, 0.5001, nonnegative=False), expected, 100)


def on_a_face(dtype, n_features=30, n_samples=200, n_atoms=20, alpha2=20.0):
    """Rows, codes that a few sweeps left on a face, and their correlations with the residual."""
    rows, _ = problem(dtype, n_features, n_samples, n_atoms, alpha2)
    rows = rows._replace(alpha1=jnp.asarray(1.5, dtype))
    X = jnp.asarray(2 * np.random.default_rng(3).standard_normal((n_features, n_samples)), dtype)
    none = jnp.zeros((2, len(rows.atoms), n_samples), dtype)
    iterate = Iterate(none, X, X, none[0, :, 0])
    for _ in range(4):
        iterate, _ = sweep(rows, iterate, jnp.zeros((), dtype), nonnegative=False)
    return rows, iterate.history[0], rows.atoms @ iterate.residual, iterate.residual


def least_on_the_face(rows, codes, residual):
    """The same step by a dense system in all free codes and levels at once."""
    atoms, codes, residual = (np.asarray(a, np.float64) for a in (rows.atoms, codes, residual))
    alpha1, alpha2 = float(rows.alpha1), float(rows.alpha2)
    level = np.abs(codes).max(axis=1, keepdims=True)
    clipped = (np.abs(codes) == level) & (level > 0) & (alpha2 > 0)
    columns, offsets, places = [], [], []
    for k, n in np.argwhere((codes != 0) & ~clipped):
        change = np.zeros_like(codes)
        change[k, n] = 1
        places.append(change)
        offsets.append(alpha1 * np.sign(codes[k, n]))
    for k in np.flatnonzero(clipped.any(axis=1)):
        change = np.zeros_like(codes)
        change[k] = np.where(clipped[k], np.sign(codes[k]), 0)
        places.append(change)
        offsets.append(alpha1 * clipped[k].sum() + alpha2)
    columns = np.stack([(atoms.T @ change).ravel() for change in places], axis=1)
    step = np.linalg.lstsq(columns.T @ columns, columns.T @ residual.ravel() - offsets, rcond=None)[0]
    return np.tensordot(step, np.stack(places), axes=1)


@pytest.mark.usefixtures("x64", "processor_kernel")
@pytest.mark.parametrize(("alpha2", "n_samples"), [(8.0, 33), (0.0, 20), (4.0, 17)])
def test_a_newton_step_is_that_of_a_dense_system(alpha2, n_samples, monkeypatch):
    rows, codes, correlations, residual = on_a_face(np.float64, n_samples=n_samples, alpha2=alpha2)
    expected = least_on_the_face(rows, codes, residual)
    assert np.abs(expected).max() > 1e-6
    np.testing.assert_allclose(
        handlers.newton_step(cpu.level(), rows, correlations, codes), expected, atol=1e-9
    )
    monkeypatch.setattr(newton, "MOST_STEPS", 1000)
    monkeypatch.setattr(newton, "TOLERANCE", 1e-12)
    np.testing.assert_allclose(newton.newton_step(rows, correlations, codes), expected, atol=1e-8)
    halved = rows._replace(alpha2=rows.alpha2 / 2, alpha1=rows.alpha1 * 0.999)
    assert np.abs(handlers.newton_step(cpu.level(), halved, correlations, codes) - expected).max() > 1e-6


@pytest.mark.usefixtures("x64", "processor_kernel")
def test_a_newton_step_in_float32():
    rows, codes, correlations, _ = on_a_face(np.float32)
    expected = handlers.newton_step(
        cpu.level(), *jax.tree.map(lambda a: a.astype(jnp.float64), (rows, correlations, codes))
    )
    np.testing.assert_allclose(
        handlers.newton_step(cpu.level(), rows, correlations, codes), expected, atol=1e-6
    )


@pytest.mark.usefixtures("x64", "best_kernel")
def test_a_newton_step_with_copies_of_atoms_is_finite_and_downhill():
    rows, codes, correlations, _ = on_a_face(np.float64)
    twice = rows._replace(atoms=jnp.concatenate([rows.atoms, rows.atoms]), n_rows=2 * len(rows.atoms))
    both = jnp.concatenate([0.5 * codes, 0.5 * codes])
    change = handlers.newton_step(cpu.level(), twice, jnp.concatenate([correlations, correlations]), both)
    together = change[: len(codes)] + change[len(codes) :]
    # Two half codes cost what the whole one does.
    expected = handlers.newton_step(cpu.level(), rows, correlations, codes)
    np.testing.assert_allclose(together, expected, atol=1e-8)


@pytest.mark.usefixtures("x64", "best_kernel")
def test_no_newton_step_where_it_would_cost_too_much():
    rng = np.random.default_rng(0)
    D = rng.standard_normal((96, 4))
    rows = pad_rows(jnp.asarray(D / np.linalg.norm(D, axis=1, keepdims=True)), 0.0, 0.0)
    codes = jnp.asarray(rng.standard_normal((96, 30)))
    assert not np.any(handlers.newton_step(cpu.level(), rows, codes, codes))


@pytest.mark.usefixtures("x64", "best_kernel")
def test_one_answer_to_the_bit_however_often():
    rows, iterate = problem(np.float64, 16, 9000, 20, 50.0)
    first = kernels.sweep_rows(rows, iterate, 0.5, nonnegative=False)
    codes = first[0].history[0]
    step = handlers.newton_step(cpu.level(), rows, rows.atoms @ first[0].residual, codes)
    for _ in range(5):
        again = kernels.sweep_rows(rows, iterate, 0.5, nonnegative=False)
        for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(first), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(
            handlers.newton_step(cpu.level(), rows, rows.atoms @ first[0].residual, codes), step
        )


@pytest.mark.usefixtures("x64", "best_kernel")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nan_in_nan_out(dtype):
    rows, iterate = problem(dtype, 5, 1030, 20, 3.0)
    broken = iterate._replace(residual=iterate.residual.at[2, 7].set(np.nan))
    found, objective = kernels.sweep_rows(rows, broken, 0.5, nonnegative=False)
    assert np.isnan(objective)
    assert np.isnan(found.history[0, :20]).all()
    rows, codes, correlations, _ = on_a_face(dtype)
    used = np.argwhere(np.asarray(codes) != 0)[0]
    change = handlers.newton_step(cpu.level(), rows, correlations.at[tuple(used)].set(np.nan), codes)
    assert np.isnan(change).any()


def sweep_call(shapes, n_rows=3, dtype=np.float64):
    """The handler of the row sweep with buffers of these shapes, as nobody but a test calls it."""
    call = jax.ffi.ffi_call(
        handlers.target("row_sweep", dtype, cpu.level()), [jax.ShapeDtypeStruct(s, dtype) for s in shapes[8:]]
    )
    *arrays, alpha1, alpha2, momentum = (jnp.zeros(s, dtype) for s in shapes[:8])
    rows = jnp.asarray(n_rows, jnp.int32)
    return jax.block_until_ready(call(*arrays, rows, alpha1, alpha2, momentum, nonnegative=False))


def newton_call(shapes, n_rows=3, dtype=np.float64):
    """The handler of the Newton step, likewise."""
    call = jax.ffi.ffi_call(
        handlers.target("newton", dtype, cpu.level()), jax.ShapeDtypeStruct(shapes[6], dtype)
    )
    *arrays, alpha1, alpha2 = (jnp.zeros(s, dtype) for s in shapes[:6])
    return jax.block_until_ready(call(*arrays, jnp.asarray(n_rows, jnp.int32), alpha1, alpha2))


W, P, N = 4, 3, 5
SWEEP_SHAPES = [(2, W, N), (P, N), (P, N), (W,), (W, P), (), (), (), (2, W, N), (P, N), (P, N), (W,), ()]
NEWTON_SHAPES = [(W, P), (W, N), (W, N), (W,), (), (), (W, N)]


@pytest.mark.usefixtures("x64", "best_kernel")
@pytest.mark.parametrize(
    ("call", "shapes", "name"),
    [(sweep_call, SWEEP_SHAPES, "row_sweep"), (newton_call, NEWTON_SHAPES, "newton")],
)
def test_every_malformed_call_is_an_error(call, shapes, name):
    # A Newton step takes atoms of any number of features.
    malformed_calls(call, shapes, name, unchecked=(0, 1) if call is newton_call else None)
    for wrong in (-1, W + 1):
        with pytest.raises(Exception, match="n_rows must be between"):
            call(shapes, n_rows=wrong)
    call([tuple(0 if s == N else s for s in shape) for shape in shapes])


@pytest.mark.usefixtures("x64", "best_kernel")
def test_sparse_codes_do_not_depend_on_them(monkeypatch):
    rng = np.random.default_rng(5)
    D = rng.standard_normal((40, 16))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X = rng.standard_normal((300, 16))
    with_kernels = sparse_code(X, D, 0.1, 10.0, tol=1e-9)
    monkeypatch.setenv(cpu.VARIABLE, "off")
    cpu.level.cache_clear()
    jax.clear_caches()
    assert not kernels.compiled("row_sweep", np.float64)
    without = sparse_code(X, D, 0.1, 10.0, tol=1e-9)
    jax.clear_caches()
    energy = 0.5 * np.sum(X**2)
    assert abs(with_kernels.objective - without.objective) <= (with_kernels.gap + without.gap) * energy
    assert max(with_kernels.gap, without.gap) <= 1e-9
