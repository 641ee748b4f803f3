"""The lasso in a box: its optimality conditions, and one implementation against the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from padl_bayes import kernels
from padl_bayes.kernels import cpu, handlers
from padl_bayes.kernels.box_lasso import box_lasso
from tests.kernels.test_cpu import malformed_calls

ALPHA1 = 0.3


def problem(n_samples=9, n_features=5, n_atoms=7, seed=0):
    rng = np.random.default_rng(seed)
    dictionary = rng.standard_normal((n_atoms, n_features))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    envelope = rng.uniform(0.2, 1.5, n_atoms)
    envelope[0] = 0
    mask = (rng.random((n_samples, n_features)) < 0.7).astype(float)
    mask[1] = 0
    return 2 * rng.standard_normal((n_samples, n_features)), dictionary, envelope, mask


def least(x, dictionary, envelope, seen, nonnegative):
    """Minimum by SciPy, the code split into its positive and its negative part."""
    k = len(envelope)

    def objective(parts):
        residual = seen * (x - (parts[:k] - parts[k:]) @ dictionary)
        slope = -dictionary @ residual
        value = 0.5 * np.sum(residual**2) + ALPHA1 * parts.sum()
        return value, np.concatenate([slope + ALPHA1, ALPHA1 - slope])

    bounds = [(0, t) for t in envelope] + [(0, 0 if nonnegative else t) for t in envelope]
    options = dict(maxiter=5000, ftol=1e-15, gtol=1e-12)
    return minimize(objective, np.zeros(2 * k), jac=True, bounds=bounds, options=options).fun


@pytest.mark.usefixtures("x64", "implementation")
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
def test_codes_are_at_the_minimum(masked, nonnegative):
    X, dictionary, envelope, mask = problem()
    seen = mask if masked else np.ones_like(mask)
    observed = jnp.asarray(mask) if masked else None
    codes, count = box_lasso(
        jnp.asarray(X * seen), jnp.asarray(dictionary), jnp.asarray(envelope), ALPHA1, 1e-12, 5000,
        observed=observed, nonnegative=nonnegative,
    )  # fmt: skip
    codes = np.asarray(codes)
    assert int(count) < 5000
    assert np.all(np.abs(codes) <= envelope)
    assert not nonnegative or codes.min() >= 0
    assert np.any((np.abs(codes) == envelope) & (envelope > 0))
    for x, r, s in zip(X, codes, seen, strict=True):
        value = 0.5 * np.sum((s * (x - r @ dictionary)) ** 2) + ALPHA1 * np.abs(r).sum()
        assert value == pytest.approx(least(s * x, dictionary, envelope, s, nonnegative), abs=1e-9)


@pytest.mark.usefixtures("x64", "implementation")
def test_a_sample_stops_by_itself():
    X, dictionary, envelope, _ = problem()
    given = jnp.asarray(dictionary), jnp.asarray(envelope), ALPHA1, 1e-3, 5000
    together, count = box_lasso(jnp.asarray(X), *given)
    alone = [box_lasso(jnp.asarray(x[None]), *given) for x in X]
    assert len({int(n) for _, n in alone}) > 1
    assert int(count) == max(int(n) for _, n in alone)
    np.testing.assert_allclose(together, np.concatenate([codes for codes, _ in alone]), rtol=0, atol=1e-12)


def tiles_of(dtype, n, masked, seed=0):
    rng = np.random.default_rng(seed)
    dictionary = rng.standard_normal((16, 6))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    observed = (rng.random((2, 6, n)) < 0.8).astype(float) if masked else None
    residual = rng.standard_normal((2, 6, n)) * (1 if observed is None else observed)
    codes = 0.2 * rng.standard_normal((2, 16, n))
    arrays = residual, codes, dictionary, rng.uniform(0, 1, 16), np.array(0.1), observed
    return [None if a is None else jnp.asarray(a, dtype) for a in arrays]


@pytest.mark.usefixtures("x64", "kernel")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_kernel_moves_as_the_reference_does(nonnegative, dtype, masked):
    for n in (1, 33, 300):
        arguments = tiles_of(dtype, n, masked)
        done = kernels.box_tiles(*arguments, nonnegative=nonnegative)
        reference = kernels.box_by_reference(*arguments, nonnegative=nonnegative)
        for one, other in zip(jax.tree.leaves(done), jax.tree.leaves(reference), strict=True):
            assert one.dtype == dtype
            np.testing.assert_allclose(one, other, rtol=0, atol=200 * np.finfo(dtype).eps)


@pytest.mark.usefixtures("x64", "best_kernel")
def test_nan_in_nan_out_and_in_no_other_sample():
    arguments = tiles_of(np.float64, 40, False)
    clean = kernels.box_tiles(*arguments, nonnegative=False)
    arguments[0] = arguments[0].at[1, 2, 7].set(np.nan)
    done = kernels.box_tiles(*arguments, nonnegative=False)
    assert np.isnan(done.moved[1, 7])
    assert np.isnan(done.codes[1, :, 7]).any()
    others = np.ones((2, 40), bool)
    others[1, 7] = False
    np.testing.assert_array_equal(np.asarray(done.moved)[others], np.asarray(clean.moved)[others])


@pytest.mark.usefixtures("x64", "best_kernel")
def test_every_malformed_call_is_an_error():
    tiles, n_features, n_atoms, n = 2, 3, 8, 5
    by_feature, by_atom = (tiles, n_features, n), (tiles, n_atoms, n)
    inputs = [by_feature, by_atom, (n_atoms, n_features), (n_atoms,), (), by_feature]

    def call(shapes):
        handler = handlers.target("box_sweep", np.float64, cpu.level())
        run = jax.ffi.ffi_call(handler, [jax.ShapeDtypeStruct(s, np.float64) for s in shapes[6:]])
        return jax.block_until_ready(run(*(jnp.zeros(s) for s in shapes[:6]), nonnegative=False))

    malformed_calls(call, [*inputs, by_feature, by_atom, (tiles, n)], "box_sweep")
