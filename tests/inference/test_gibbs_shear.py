"""Shears of pairs of atoms: they leave what atoms explain as it is, and the prior of all else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes.distributions import L1LinfLaplace
from padl_bayes.inference.gibbs import Gibbs, enveloped, two_level
from padl_bayes.inference.gibbs import shear as module
from padl_bayes.inference.gibbs.shear import shear
from padl_bayes.kernels.slabs import SLABS
from padl_bayes.kernels.von_mises_fisher import draw_uniform_directions

RATE_L1, RATE_LINF = 1.3, 2.0
RATES = np.array([0.7, 1.0, 1.0, 1.5])
DRAWS = 20_000
ACTIVE = jnp.array([1, 1, 0, 1])
GIVEN = {"active": ACTIVE, "rate_l1": RATE_L1, "rate_linf": RATE_LINF, "rate": RATES}


def codes_of(slab, key, n_samples):
    shape = (DRAWS, 4, n_samples)
    if slab == "l1linf":
        return L1LinfLaplace(RATE_L1, RATE_LINF, n_samples).sample(key, shape[:2])
    if slab == "bernoulli_gaussian":
        return jax.random.normal(key, shape) / np.sqrt(RATES)[:, None]
    return jax.random.laplace(key, shape) / RATES[:, None]


def prior_draws(slab, n_samples, n_features, nonnegative):
    keys = jax.random.split(jax.random.key(0), 2)
    codes = codes_of(slab, keys[0], n_samples)
    codes = jnp.where(ACTIVE[:, None], jnp.abs(codes) if nonnegative else codes, 0)
    return {
        "dictionary": draw_uniform_directions(keys[1], (DRAWS, 4, n_features), codes.dtype),
        "codes": jnp.swapaxes(codes, 1, 2),
    }


def prior_of(slab, z, n_samples, nonnegative):
    if slab == "l1linf":
        return enveloped._code_prior(z, n_samples, nonnegative)
    return two_level._code_prior(z, SLABS[slab, nonnegative], nonnegative)


def sheared(slab, draws, nonnegative):
    def one(key, z):
        z = z | {name: jnp.asarray(value) for name, value in GIVEN.items()}
        return shear(key, z, prior_of(slab, z, len(z["codes"]), nonnegative))

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), DRAWS), draws)


def functionals(z):
    d, codes = (np.asarray(z[name], np.float64) for name in ("dictionary", "codes"))
    size = np.abs(codes)
    coherence = np.square(d @ np.swapaxes(d, 1, 2))
    pair = np.abs(np.einsum("snj,snk->sjk", codes, codes))
    return {
        "coherence": coherence[:, 0, 1] + coherence[:, 0, 3],
        "first entry": d[:, 0, 0] ** 4,
        "entry": d[:, 1, 0] * d[:, 3, 1],
        "l1": size.sum((1, 2)),
        "l1 of an atom, squared": size[:, :, 0].sum(1) ** 2,
        "linf": size.max(1).sum(1),
        "two atoms": pair[:, 0, 1],
        "codes and coherence": np.log(pair[:, 0, 3]) * coherence[:, 0, 3],
    }


def worst(slab, n_samples, n_features, nonnegative=False):
    """Largest z statistic of changes of the functionals."""
    before = prior_draws(slab, n_samples, n_features, nonnegative)
    after = sheared(slab, before, nonnegative)
    assert all(np.isfinite(after[name]).all() for name in ("dictionary", "codes"))
    explained = [np.asarray(z["codes"] @ z["dictionary"]) for z in (before, after)]
    np.testing.assert_allclose(*explained, atol=1e-9)
    np.testing.assert_array_equal(before["dictionary"][:, 2], after["dictionary"][:, 2])
    assert not np.asarray(after["codes"][:, :, 2]).any()
    assert not nonnegative or (after["codes"] >= 0).all()
    moved = np.linalg.norm(after["dictionary"] - before["dictionary"], axis=-1)[:, [0, 1, 3]]
    assert np.median(moved) > 0.1
    before, after = functionals(before), functionals(after)
    changes = {name: after[name] - before[name] for name in before}
    return max(abs(change.mean()) / change.std() * np.sqrt(DRAWS) for change in changes.values())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("slab", "n_samples", "n_features", "nonnegative"),
    [
        ("l1linf", 6, 2, False),
        ("l1linf", 4, 3, True),
        ("bernoulli_laplace", 2, 4, False),
        ("bernoulli_gaussian", 5, 3, False),
    ],
)
def test_the_prior_is_left_as_it_is(slab, n_samples, n_features, nonnegative):
    assert worst(slab, n_samples, n_features, nonnegative) < 4


@pytest.mark.usefixtures("x64")
def test_volumes_that_are_left_out_are_found(monkeypatch):
    monkeypatch.setattr(module, "_log_volume", lambda a, n_samples, _: n_samples / 2 * jnp.log1p(a * a))
    assert worst("l1linf", 6, 2) > 6


def test_one_atom_and_one_feature_stay_as_they_are():
    for shape in ((3, 1), (1, 3)):
        z = {"dictionary": jnp.ones(shape), "codes": jnp.ones((2, shape[0]))}
        assert shear(jax.random.key(0), z, None) is z


@pytest.mark.parametrize(
    ("second", "codes"),
    [
        ([0.6, 0.8], [[1.0, 2.0], [0.5, -1.0], [0.1, 0.3]]),
        ([1.0, 0.0], [[1.0, 2.0], [0.0, -1.0], [0.1, 0.3]]),
    ],
)
def test_parallel_atoms_and_atoms_with_a_zero_are_left_alone(second, codes):
    z = {"dictionary": jnp.array([[0.6, 0.8], second]), "codes": jnp.array(codes), "active": jnp.ones(2, int)}
    z |= {"rate": jnp.ones(2)}
    after = shear(jax.random.key(0), z, prior_of("bernoulli_laplace", z, 3, False))
    np.testing.assert_allclose(after["dictionary"], z["dictionary"], atol=1e-6)
    np.testing.assert_allclose(after["codes"], z["codes"], atol=1e-6)


def test_only_where_every_code_is_given_to_be_used():
    given = dict(activation_rate=1.0, usage=1 - 1e-12)
    assert Gibbs(3, fixed=given).config.every_code
    assert not Gibbs(3, fixed=given | {"usage": np.array([1.0, 0.5, 1.0])}).config.every_code
    assert not Gibbs(3).config.every_code
