"""The C++ kernels: special functions, sizes, threads, NaN, malformed calls, and what happens without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes import kernels
from padl_bayes.exceptions import KernelsWarning
from padl_bayes.inference import fit_em
from padl_bayes.kernels import cpu, handlers
from padl_bayes.kernels.code_sweep import Atoms, Tile
from padl_bayes.kernels.slabs import SLABS
from tests.inference.problems import KEYS, sparse_data
from tests.kernels.conftest import LEVELS
from tests.oracles import spike_slab

LAPLACE = SLABS["bernoulli_laplace", False]
# 1 - u E r, which gives E r^2 where u is below 80 (float32: 16), loses this many roundings.
CANCELLED = {np.float64: 80**2 / 2, np.float32: 16**2 / 2}


def tiles_of(dtype, tiles, n_features, n_atoms, n, *, masked=False, seed=0):
    """Arguments of a pass but for the slab."""
    rng = np.random.default_rng(seed)
    dictionary = rng.standard_normal((n_atoms, n_features))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    active = (rng.random(n_atoms) < 0.9).astype(float)
    codes = rng.laplace(size=(tiles, n_atoms, n)) * (rng.random((tiles, n_atoms, n)) < 0.1) * active[:, None]
    residual = 0.3 * rng.standard_normal((tiles, n_features, n))
    observed = (rng.random(residual.shape) < 0.8).astype(float) if masked else None
    valid = (rng.random((tiles, n)) < 0.9).astype(float)

    def cast(value):
        return None if value is None else jnp.asarray(value, dtype)

    atoms = Atoms(*map(cast, (dictionary, rng.normal(-2, 1, n_atoms), rng.gamma(2.0, size=n_atoms), active)))
    residual = residual if observed is None else residual * observed
    return cast(residual), cast(codes), atoms, cast(10.0), Tile(cast(valid), cast(observed))


def entries_of(kind, dtype, linear, precision, usage, rate):
    """Posterior of entries with these linear coefficients: one atom, one feature."""
    slopes = jnp.asarray(linear / precision, dtype)
    atoms = Atoms(*(jnp.asarray([v], dtype) for v in ([1.0], np.log(usage) - np.log1p(-usage), rate, 1.0)))
    one = jnp.ones((1, len(linear)), dtype)
    done = kernels.sweep_tiles(
        SLABS[KEYS[kind]], slopes[None, None], 0 * one[None], atoms, precision, Tile(one)
    )
    return jax.tree.map(lambda a: np.asarray(a, np.float64), done)


@pytest.mark.usefixtures("x64", "kernel")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", list(KEYS))
def test_entries_against_quadrature(kind, dtype, figure):
    eps = np.finfo(dtype).eps
    tail = np.concatenate([-np.logspace(-4, 4, 31), [0.0], np.logspace(-4, 4, 31)])
    for power in (-8, -3, 0, 2, 6):
        for rate in (2.0**-8, 1.0, 2.0**8):
            precision, usage = 2.0**power, 2.0**-5
            at = np.concatenate([tail * np.sqrt(precision), tail * rate]).astype(dtype).astype(float)
            done = entries_of(kind, dtype, at, precision, usage, rate)
            truth = spike_slab.entry(kind, at, precision, usage, rate)
            scale = at**2 / precision + np.abs(np.log(rate**2 / precision)) + np.abs(truth.log_evidence) + 5
            odds = 32 * eps * scale
            uncertain = odds * truth.probability * (1 - truth.probability)
            probability, codes, square = (
                table[0, 0] for table in (done.probability, done.codes, done.square)
            )
            log_evidence = done.log_evidence[0, 0]
            figure(f"kernel: log evidence of an entry, roundings, {np.dtype(dtype)}",
                   np.max(np.abs(log_evidence - truth.log_evidence) / (eps * scale)))  # fmt: skip
            np.testing.assert_array_less(np.abs(probability - truth.probability), uncertain + 16 * eps)
            np.testing.assert_array_less(np.abs(log_evidence - truth.log_evidence), odds)
            allowed = np.minimum(odds, 1) + CANCELLED[dtype] * eps
            np.testing.assert_array_less(np.abs(codes - truth.mean), allowed * np.sqrt(truth.given_use[2]))
            np.testing.assert_array_less(np.abs(square - truth.square), allowed * truth.given_use[2])
            np.testing.assert_allclose(done.sums.size[0, 0], truth.size.sum(), rtol=1e3 * eps * scale.max())


@pytest.mark.usefixtures("x64", "kernel")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 8, 31, 33, 520])
def test_any_number_of_samples(n, dtype, masked):
    """Blocks that are not full, several units of work, several tiles."""
    arguments = tiles_of(dtype, 3, 5, 16, n, masked=masked)
    reference = kernels.by_reference(LAPLACE, True, *arguments)
    done = kernels.sweep_tiles(LAPLACE, *arguments)
    for one, other in zip(jax.tree.leaves(done), jax.tree.leaves(reference), strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=2000 * np.finfo(dtype).eps * np.abs(other).max())


@pytest.mark.usefixtures("x64", "any_kernel")
def test_one_answer_to_the_bit_however_often_and_without_the_entries():
    arguments = tiles_of(np.float64, 4, 6, 8, 300)
    full = kernels.sweep_tiles(LAPLACE, *arguments)
    for _ in range(5):
        for one, other in zip(
            jax.tree.leaves(kernels.sweep_tiles(LAPLACE, *arguments)), jax.tree.leaves(full), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    short = kernels.sweep_tiles(LAPLACE, *arguments, entries=False)
    assert short.probability is short.square is short.log_evidence is None
    np.testing.assert_array_equal(short.codes, full.codes)
    np.testing.assert_array_equal(short.bound, full.bound)


@pytest.mark.usefixtures("x64", "any_kernel")
@pytest.mark.parametrize("key", list(SLABS))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nan_in_nan_out_and_in_no_other_sample(dtype, key):
    residual, *rest = tiles_of(dtype, 2, 5, 8, 40)
    clean = kernels.sweep_tiles(SLABS[key], residual, *rest)
    rest[-1] = rest[-1]._replace(valid=jnp.ones_like(rest[-1].valid))
    clean = kernels.sweep_tiles(SLABS[key], residual, *rest)
    done = kernels.sweep_tiles(SLABS[key], residual.at[1, 2, 7].set(np.nan), *rest)
    assert np.isnan(done.bound[1, 7])
    assert np.isnan(done.codes[1, :, 7]).any()
    others = np.ones((2, 40), bool)
    others[1, 7] = False
    np.testing.assert_array_equal(np.asarray(done.bound)[others], np.asarray(clean.bound)[others])
    np.testing.assert_array_equal(
        np.moveaxis(done.codes, 1, 2)[others], np.moveaxis(clean.codes, 1, 2)[others]
    )


@pytest.mark.usefixtures("x64", "any_kernel")
def test_vmap_over_dictionaries():
    residual, codes, atoms, precision, tile = tiles_of(np.float64, 1, 5, 8, 20)
    many = jax.tree.map(lambda a: jnp.stack([a, a[::-1]]), atoms)
    together = jax.vmap(lambda a: kernels.sweep_tiles(LAPLACE, residual, codes, a, precision, tile))(many)
    for i in range(2):
        alone = kernels.sweep_tiles(
            LAPLACE, residual, codes, jax.tree.map(lambda a, i=i: a[i], many), precision, tile
        )
        np.testing.assert_array_equal(together.codes[i], alone.codes)


def raw_call(shapes, slab=0, dtype=np.float64):
    """The handler with buffers of these shapes, as nobody but a test calls it."""
    *inputs, excluded = shapes[:10]
    call = jax.ffi.ffi_call(
        handlers.target("code_sweep", dtype, cpu.level()),
        [jax.ShapeDtypeStruct(s, dtype) for s in shapes[10:]],
    )
    buffers = [jnp.zeros(shape, dtype) for shape in inputs]
    return jax.block_until_ready(call(*buffers, jnp.zeros(excluded, jnp.int32), slab=np.int32(slab)))


def shapes_of(tiles=2, n_features=3, n_atoms=8, n=5):
    """Of residual, codes, valid, dictionary, logit, rate, active, precision, observed, excluded; and of the results."""
    by_feature, by_atom, by_sample = (tiles, n_features, n), (tiles, n_atoms, n), (tiles, n)
    own = (n_atoms,)
    inputs = [by_feature, by_atom, by_sample, (n_atoms, n_features), own, own, own, (), by_feature, by_sample]
    return [*inputs, by_feature, by_atom, by_atom, by_atom, by_atom, (tiles, 5, n_atoms), by_sample]


def malformed_calls(call, shapes, name, unchecked=None):
    """Call with each shape wrong in a few ways; every one must be an error that names the kernel.

    ``unchecked`` is the position of a shape, and its axis, that may have any length.
    """
    call(shapes)
    rng = np.random.default_rng(0)
    for position, shape in enumerate(shapes):
        for _ in range(4):
            wrong = list(shape)
            what = rng.integers(3)
            if what == 0 or not wrong:
                wrong.insert(int(rng.integers(len(wrong) + 1)), int(rng.integers(2, 4)))
            elif what == 1:
                wrong.pop(int(rng.integers(len(wrong))))
            else:
                axis = int(rng.integers(len(wrong)))
                wrong[axis if (position, axis) != unchecked else 0] += int(rng.integers(1, 3))
            with pytest.raises(Exception, match=rf"{name}|Wrong|rank|dimension"):
                call([*shapes[:position], tuple(wrong), *shapes[position + 1 :]])


@pytest.mark.usefixtures("x64", "any_kernel")
def test_every_malformed_call_is_an_error():
    malformed_calls(raw_call, shapes_of(), "code_sweep")
    with pytest.raises(Exception, match="unknown slab"):
        raw_call(shapes_of(), slab=4)
    for empty in (dict(tiles=0), dict(n=0), dict(n_atoms=0), dict(n_features=0)):
        raw_call(shapes_of(**empty))


def test_the_level_is_the_best_that_the_processor_has():
    v2, v3, v4 = (cpu.LEVELS[level] for level in LEVELS)
    assert cpu.best_level(set()) is None
    assert cpu.best_level(v3 | v4) is None
    assert cpu.best_level(v2 | v4) == "x86-64-v2"
    assert cpu.best_level(v2 | v3 | {"sse"}) == "x86-64-v3"
    assert cpu.best_level(v2 | v3 | v4) == "x86-64-v4"


@pytest.mark.usefixtures("forget_level")
def test_a_library_that_does_not_load_is_said_once_and_done_without(tmp_path, monkeypatch):
    for level in LEVELS:
        (tmp_path / f"libpadl_{level}.so").write_bytes(b"damaged")
    monkeypatch.setattr(cpu, "FOLDER", tmp_path)
    monkeypatch.setenv(cpu.VARIABLE, "x86-64-v2")
    with pytest.warns(KernelsWarning, match="plain JAX takes over"):
        assert cpu.level() is None
    assert cpu.level() is None
    kernels.sweep_tiles(LAPLACE, *tiles_of(np.float32, 1, 3, 8, 4))


@pytest.mark.usefixtures("forget_level")
def test_an_unknown_setting_is_named(monkeypatch):
    monkeypatch.setenv(cpu.VARIABLE, "fast")
    with pytest.raises(ValueError, match="PADL_BAYES_KERNELS must be auto, off"):
        cpu.level()


@pytest.mark.usefixtures("forget_level")
def test_an_empty_setting_is_none(monkeypatch):
    monkeypatch.delenv(cpu.VARIABLE, raising=False)
    unset = cpu.level()
    cpu.level.cache_clear()
    monkeypatch.setenv(cpu.VARIABLE, "")
    assert cpu.level() == unset


@pytest.mark.usefixtures("forget_level")
@pytest.mark.parametrize("masked", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_fit_does_not_depend_on_them(monkeypatch, masked):
    rng = np.random.default_rng(0)
    X, _ = sparse_data(rng, 60, 6, 3, 0.1)
    mask = rng.random(X.shape) < 0.9 if masked else None
    fits = []
    for setting in ("off", "auto"):
        monkeypatch.setenv(cpu.VARIABLE, setting)
        cpu.level.cache_clear()
        jax.clear_caches()
        fits.append(fit_em(X, 4, mask=mask, max_iter=300))
    jax.clear_caches()
    np.testing.assert_allclose(fits[1].dictionary, fits[0].dictionary, atol=1e-7)
    assert fits[1].elbo == pytest.approx(fits[0].elbo, rel=1e-9)
