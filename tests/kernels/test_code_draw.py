"""Gibbs draws of codes: each implementation against quadrature and enumeration, and against the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from padl_bayes import kernels
from padl_bayes.kernels import cpu, handlers
from padl_bayes.kernels.code_draw import keys_of_samples, uniforms_of
from padl_bayes.kernels.code_sweep import Atoms, Tile
from padl_bayes.kernels.slabs import SLABS
from tests.inference.problems import KEYS
from tests.kernels.test_cpu import malformed_calls, tiles_of
from tests.oracles import spike_slab

LAPLACE = SLABS["bernoulli_laplace", False]
DRAWS = 20_000


def with_keys(arguments, seed=0):
    """Arguments of a pass of draws."""
    *others, tile = arguments
    tiles, n = tile.valid.shape
    return *others, tile._replace(keys=keys_of_samples(jax.random.key(seed), tiles, n))


def pass_of_copies(kind, x, dictionary, usage, rate, precision, n_passes=1):
    """Codes (K, DRAWS) after passes over as many copies of a sample (P,), at first zero."""
    n_atoms = 8  # the others are switched off
    own = np.zeros(n_atoms)
    atoms = [np.zeros((n_atoms, len(x))), own - 1, own + 1, own.copy()]
    for array, values in zip(atoms, (dictionary, np.log(usage) - np.log1p(-usage), rate, 1), strict=True):
        array[: len(dictionary)] = values
    residual = jnp.repeat(jnp.asarray(x, float)[None, :, None], DRAWS, axis=2)
    codes, done = jnp.zeros((1, n_atoms, DRAWS)), None
    draw = jax.jit(lambda *arguments: kernels.draw_tiles(SLABS[KEYS[kind]], *arguments))
    for seed in range(n_passes):
        keys = keys_of_samples(jax.random.key(seed), 1, DRAWS)
        tile = Tile(jnp.ones((1, DRAWS)), keys=keys)
        done = draw(residual, codes, Atoms(*map(jnp.asarray, atoms)), jnp.asarray(precision), tile)
        residual, codes = done.residual, done.codes
    return np.asarray(codes[0]), done


@pytest.mark.usefixtures("x64", "implementation")
@pytest.mark.parametrize("kind", list(KEYS))
def test_one_entry_has_the_law_of_quadrature(kind):
    usage, rate, precision = np.array([0.3]), np.array([1.7]), 4.0
    for x in (-1.1, 0.05, 0.8, 9.0):
        codes, done = pass_of_copies(kind, [x], np.ones((1, 1)), usage, rate, precision)
        law = spike_slab.entry(kind, precision * x, precision, usage[0], rate[0])
        drawn = codes[0][codes[0] != 0]
        p = float(law.probability)
        assert abs(len(drawn) / DRAWS - p) < 4 * np.sqrt(p * (1 - p) / DRAWS) + 1e-12
        nodes = spike_slab.slab_nodes(kind, precision * x, precision, rate[0])
        order = np.argsort(nodes.r)
        weight = nodes.weight[order]
        points, below = nodes.r[order], np.cumsum(weight) - weight / 2
        found = stats.ks_1samp(drawn, lambda r, at=points, to=below: np.interp(r, at, to))
        assert found.pvalue > 1e-4, (x, found)
        sums = [float(total[0, 0]) for total in done.sums]
        expected = [len(drawn), spike_slab.slab_size(kind, drawn).sum(), np.sum(drawn**2)]
        np.testing.assert_allclose(sums, expected, rtol=1e-12)


@pytest.mark.usefixtures("x64", "implementation")
@pytest.mark.parametrize("kind", ["laplace", "half_normal"])
def test_passes_have_the_posterior_of_two_atoms_that_are_alike(kind):
    """How often each is used: usage plus the slope of the log evidence in the logit of the usage."""
    dictionary = np.array([[0.8, 0.6], [0.96, 0.28]])
    x, precision = np.array([0.5, 0.3]), 12.0
    usage, rate = np.array([0.4, 0.25]), np.array([1.5, 2.5])
    codes, _ = pass_of_copies(kind, x, dictionary, usage, rate, precision, n_passes=25)
    step = 1e-4
    for k in range(2):
        evidence = []
        for sign in (1, -1):
            logit = np.log(usage) - np.log1p(-usage)
            logit[k] += sign * step
            evidence.append(
                spike_slab.log_evidence(kind, x, dictionary, precision, 1 / (1 + np.exp(-logit)), rate)
            )
        p = usage[k] + (evidence[0] - evidence[1]) / (2 * step)
        assert abs(np.mean(codes[k] != 0) - p) < 4 * np.sqrt(p * (1 - p) / DRAWS)


@pytest.mark.usefixtures("x64", "kernel")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("key", list(SLABS))
def test_the_kernel_draws_what_the_reference_draws(key, dtype, masked):
    for n in (1, 33, 300):
        *others, tile = with_keys(tiles_of(dtype, 2, 5, 16, n, masked=masked))
        excluded = np.where(np.arange(2 * n).reshape(2, n) % 3 == 0, 4, -1)
        arguments = *others, tile._replace(excluded=jnp.asarray(excluded))
        reference = kernels.draw_by_reference(SLABS[key], *arguments)
        done = kernels.draw_tiles(SLABS[key], *arguments)
        assert np.mean(np.asarray(reference.codes) != 0) > 0.01
        for one, other in zip(jax.tree.leaves(done), jax.tree.leaves(reference), strict=True):
            assert one.dtype == dtype
            atol = 2000 * np.finfo(dtype).eps * max(np.abs(other).max(), 1)
            np.testing.assert_allclose(one, other, rtol=0, atol=atol)


@pytest.mark.usefixtures("x64", "implementation")
def test_what_is_drawn_does_not_depend_on_the_tiles():
    residual, codes, atoms, precision, _ = tiles_of(np.float64, 1, 5, 8, 48)
    found = []
    for tiles in (1, 3):
        keys = keys_of_samples(jax.random.key(7), tiles, 48 // tiles)
        pieces = [jnp.stack(jnp.split(a[0], tiles, axis=-1)) for a in (residual, codes, jnp.ones((1, 1, 48)))]
        done = kernels.draw_tiles(LAPLACE, *pieces[:2], atoms, precision, Tile(pieces[2][:, 0], keys=keys))
        found.append(np.concatenate(list(done.codes), axis=-1))
    assert np.mean(found[0] != 0) > 0.05
    np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numbers_are_those_of_each_samples_own_key(dtype):
    with jax.enable_x64(dtype == np.float64):
        keys = keys_of_samples(jax.random.key(1), 2, 50)
        numbers = np.asarray(uniforms_of(keys[1], 40, dtype))
    assert numbers.shape == (40, 3, 50)
    assert numbers.dtype == dtype
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert len(np.unique(numbers)) > 0.999 * numbers.size
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3


@pytest.mark.usefixtures("x64", "best_kernel")
@pytest.mark.parametrize("key", list(SLABS))
def test_nan_in_nan_out_and_in_no_other_sample(key):
    residual, codes, atoms, precision, tile = with_keys(tiles_of(np.float64, 2, 5, 8, 40))
    tile = tile._replace(valid=jnp.ones_like(tile.valid))
    clean = kernels.draw_tiles(SLABS[key], residual, codes, atoms, precision, tile)
    ill = residual.at[1, 2, 7].set(np.nan)
    done = kernels.draw_tiles(SLABS[key], ill, codes, atoms, precision, tile)
    assert np.isnan(done.codes[1, :, 7]).any()
    others = np.ones((2, 40), bool)
    others[1, 7] = False
    np.testing.assert_array_equal(
        np.moveaxis(done.codes, 1, 2)[others], np.moveaxis(clean.codes, 1, 2)[others]
    )


@pytest.mark.usefixtures("x64", "best_kernel")
def test_vmap_over_dictionaries():
    residual, codes, atoms, precision, tile = with_keys(tiles_of(np.float64, 1, 5, 8, 20))
    many = jax.tree.map(lambda a: jnp.stack([a, a[::-1]]), atoms)
    together = jax.vmap(lambda a: kernels.draw_tiles(LAPLACE, residual, codes, a, precision, tile))(many)
    for i in range(2):
        one = jax.tree.map(lambda a, i=i: a[i], many)
        alone = kernels.draw_tiles(LAPLACE, residual, codes, one, precision, tile)
        np.testing.assert_array_equal(together.codes[i], alone.codes)


@pytest.mark.usefixtures("x64", "best_kernel")
def test_every_malformed_call_is_an_error():
    tiles, n_features, n_atoms, n = 2, 3, 8, 5
    by_feature, by_atom, by_sample, own = (tiles, n_features, n), (tiles, n_atoms, n), (tiles, n), (n_atoms,)
    shapes = [by_feature, by_atom, by_sample, (n_atoms, n_features), own, own, own, (), by_feature]
    shapes += [by_sample, (tiles, 2, n), by_feature, by_atom, (tiles, 3, n_atoms)]

    def call(shapes, slab=0):
        handler = handlers.target("code_draw", np.float64, cpu.level())
        run = jax.ffi.ffi_call(handler, [jax.ShapeDtypeStruct(s, np.float64) for s in shapes[11:]])
        types = [np.float64] * 9 + [np.int32, np.uint32]
        buffers = [jnp.zeros(s, t) for s, t in zip(shapes[:11], types, strict=True)]
        return jax.block_until_ready(run(*buffers, slab=np.int32(slab)))

    malformed_calls(call, shapes, "code_draw")
    with pytest.raises(Exception, match="unknown slab"):
        call(shapes, slab=4)
