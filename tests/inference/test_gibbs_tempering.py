"""Tempered transitions of the codes against enumeration of their supports, and the annealed warm-up."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from padl_bayes.datasets import synthetic_a
from padl_bayes.inference.gibbs import Gibbs, tempering
from padl_bayes.inference.gibbs.annealing import FEW, NATS_A_FEATURE, bonus, prune
from padl_bayes.inference.gibbs.chains import Chains
from padl_bayes.inference.gibbs.tempering import temper_codes
from padl_bayes.kernels.slabs import SLABS

# The third atom is about the sum of the first two: what it explains, they explain together.
ATOMS = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0.7, 0.7, 0.1, 0], [0.5, 0.5, 0.5, 0.5]])
ATOMS /= np.linalg.norm(ATOMS, axis=1, keepdims=True)
ACTIVE = np.array([1, 1, 1, 0])
USAGE = np.array([0.2, 0.3, 0.15, 0.5])
RATE = np.array([0.5, 1.0, 0.8, 1.0])
NOISE = 0.4
SAMPLE = np.array([1.2, 1.0, 0.1, -0.2])
COPIES = 20_000


def supports_by_enumeration():
    """Posterior of the eight supports of the active atoms under the Gaussian slab, in order of their binary number."""
    logs = []
    for used in itertools.product([0, 1], repeat=3):
        used = np.array(used, bool)
        atoms, rate = ATOMS[:3][used], RATE[:3][used]
        covariance = NOISE**2 * np.eye(4) + atoms.T @ (atoms / rate[:, None])
        prior = np.log(np.where(used, USAGE[:3], 1 - USAGE[:3])).sum()
        logs.append(prior + stats.multivariate_normal(cov=covariance).logpdf(SAMPLE))
    weights = np.exp(logs - np.max(logs))
    return weights / weights.sum()


def sites(codes):
    given = dict(dictionary=ATOMS, active=ACTIVE, usage=USAGE, rate=RATE, noise_scale=NOISE, codes=codes)
    return {name: jnp.asarray(value) for name, value in given.items()}


def p_value():
    """Of the supports of many copies of one sample, after some transitions from no codes at all."""
    law = SLABS["bernoulli_gaussian", False]
    z = sites(np.zeros((COPIES, 4)))
    residual = jnp.asarray(np.tile(SAMPLE, (COPIES, 1)))
    move = jax.jit(lambda key, residual, z: temper_codes(key, law, residual, z))
    for key in jax.random.split(jax.random.key(3), 12):
        residual, z, share = move(key, residual, z)
        assert 0.2 < share < 1
    codes = np.asarray(z["codes"])
    np.testing.assert_allclose(residual, SAMPLE - codes @ ATOMS, atol=1e-12)
    assert not codes[:, 3].any()
    counts = np.bincount((codes[:, :3] != 0) @ [4, 2, 1], minlength=8)
    return stats.chisquare(counts, COPIES * supports_by_enumeration()).pvalue


@pytest.mark.usefixtures("x64")
def test_supports_have_the_posterior_that_enumeration_gives():
    assert p_value() > 1e-3


@pytest.mark.usefixtures("x64")
def test_it_is_the_acceptance_that_makes_it_right(monkeypatch):
    monkeypatch.setattr(tempering, "_work", lambda precision, residual: jnp.zeros(len(residual)))
    with pytest.raises(AssertionError):
        assert p_value() > 1e-12


def test_only_the_first_part_of_the_warm_up_is_annealed():
    X = synthetic_a(0.1, n_samples=20, n_features=5, n_atoms=3, seed=0, dtype=np.float32).X
    kernel = Gibbs(4)
    assert kernel.n_anneal(100) == 50
    assert kernel.n_anneal(100, {"codes": 0}) == 0
    assert Gibbs(4, anneal=0).n_anneal(100) == 0
    assert bonus(50, 0, X) == NATS_A_FEATURE * 5
    assert bonus(50, 25, X) == NATS_A_FEATURE * 5 / 2
    assert bonus(50, 50, X) == bonus(50, 99, X) == bonus(0, 0, X) == 0
    assert kernel.data(X).n_anneal == 0
    assert Chains(kernel, X, None, 1, None, n_anneal=50).data.n_anneal == 50


def test_only_the_rest_of_the_warm_up_prunes_and_only_what_few_samples_use():
    used = np.arange(6)[:, None] < [FEW, FEW + 1, 0]
    z = {"active": jnp.array([1, 1, 0]), "codes": jnp.asarray(used * 1.0), "dictionary": jnp.eye(3, 4)}

    def pruned(i, n_anneal=50):
        after = prune(n_anneal, i, z)
        assert not np.asarray(after["codes"])[:, np.asarray(after["active"]) == 0].any()
        return int(z["active"].sum() - after["active"].sum())

    assert [i for i in range(200) if pruned(i)] == [50, 62, 74, 86]
    np.testing.assert_array_equal(prune(50, 50, z)["active"], [0, 1, 0])
    assert pruned(0, 0) == 0


@pytest.mark.parametrize(
    ("cosine", "counts", "kept"),
    [
        (0.9, [20, 9], [1, 0]),
        (-0.9, [20, 9], [1, 0]),
        (0.9, [8, 9], [0, 1]),
        (0.5, [20, 9], [1, 1]),
        (0.9, [20, 12], [1, 1]),
        (0.9, [9, 9], [1, 1]),
    ],
)
def test_pruned_is_what_few_samples_use_in_place_of_a_like_atom(cosine, counts, kept):
    dictionary = np.eye(2, 10)
    dictionary[1, :2] = cosine, np.sqrt(1 - cosine**2)
    codes = (np.arange(30)[:, None] < counts) * 1.0
    z = {"active": jnp.array([1, 1]), "codes": jnp.asarray(codes), "dictionary": jnp.asarray(dictionary)}
    np.testing.assert_array_equal(prune(50, 50, z)["active"], kept)
    np.testing.assert_array_equal(prune(50, 51, z)["active"], [1, 1])
    alone = z | {"active": jnp.array([0, 1]), "codes": z["codes"].at[:, 0].set(0)}
    np.testing.assert_array_equal(prune(50, 50, alone)["active"], [0, 1])


def test_annealing_fills_all_places_and_empties_them_again():
    X = synthetic_a(0.1, n_samples=60, n_features=8, n_atoms=3, usage=0.3, seed=0, dtype=np.float32).X
    chains = Chains(Gibbs(10, n_moves=0, temper_every=0), X, None, 2, lambda *_: None, n_anneal=100)
    states = chains.start(0, None, np.array([1, 10]))
    counts = []
    for _ in range(3):
        states = chains.warm_up(states, 50, lambda _: None)
        counts.append(np.asarray(states.z["active"].sum(1)))
    assert (counts[0] >= 8).all()
    assert (counts[2] <= 6).all()


@pytest.mark.parametrize("setting", [dict(temper_every=-1), dict(anneal=0.6)])
def test_settings_out_of_range_are_named(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Gibbs(4, **setting)
