"""Bands over posterior draws, and the choice that holds in most of them."""

import numpy as np
import pytest

import padl_bayes as pb
from padl_bayes.tradeoff.bands import Bands, choose
from tests.made_fits import unit_atoms


def made_draws(seed=0):
    """Draws of 5 places, 4 atoms on, near one dictionary; and samples of it."""
    rng = np.random.default_rng(seed)
    D = unit_atoms(rng, 5, 8)
    moved = D + 0.02 * rng.normal(size=(2, 6, 5, 8))
    draws = dict(
        dictionary=moved / np.linalg.norm(moved, axis=-1, keepdims=True), noise_scale=rng.uniform(0.09, 0.11, (2, 6)),
        usage=rng.uniform(0.2, 0.3, (2, 6, 5)), rate=rng.uniform(0.9, 1.1, (2, 6, 5)),
        active=np.broadcast_to([1, 1, 0, 1, 1], (2, 6, 5)),
    )  # fmt: skip
    codes = rng.laplace(size=(300, 5)) * (rng.random((300, 5)) < 0.25) * [1, 1, 0, 1, 1]
    return draws, codes @ D + 0.1 * rng.normal(size=(300, 8))


def test_a_band_is_the_refit_of_every_draw():
    draws, X = made_draws()
    alpha = [(0.1, 0.0), (0.2, 3.0)]
    found = pb.tradeoff.bands(draws, X=X, alpha=alpha)
    assert found.rmse.shape == (12, 2)
    for s in (0, 7, 11):
        D = draws["dictionary"].reshape(12, 5, 8)[s][[0, 1, 3, 4]]
        for i, pair in enumerate(alpha):
            codes = pb.sparse_code(X, D, *pair, tol=1e-8).codes
            assert found.rmse[s, i] == pytest.approx(np.sqrt(np.mean((X - codes @ D) ** 2)), rel=1e-3)
            assert found.active[s, i] == (codes != 0).any(axis=0).sum()
    lower, middle, upper = found.interval("rmse", 0.5)
    np.testing.assert_allclose(
        np.stack([lower, middle, upper]), np.quantile(found.rmse, [0.25, 0.5, 0.75], axis=0)
    )


@pytest.mark.parametrize("method", ["interference", "decoupled"])
def test_integrals_need_no_more_than_the_draws(method):
    draws, X = made_draws()
    sampled, other = (
        pb.tradeoff.bands(draws, X=X, alpha=[(0.15, 0.0)], method=m) for m in ("sampled", method)
    )
    assert np.median(other.rmse) == pytest.approx(np.median(sampled.rmse), rel=0.1)
    assert other.rmse.std() > 0


def test_the_choice_has_the_fewest_atoms_that_hold_often_enough():
    rng = np.random.default_rng(1)
    columns = {name: rng.uniform(size=(40, 9)) for name in Bands._fields[1:]}
    found = Bands(
        rng.uniform(size=(9, 2)), **columns | {"active": np.tile([5, 4, 3, 2, 2, 6, 7, 8, 9], (40, 1))}
    )
    columns["rmse"][:] = 0.1 + 0.01 * rng.normal(size=(40, 9))
    columns["rmse"][:4, 3] = columns["rmse"][:3, 2] = columns["rmse"][:2, 4] = 0.9
    columns["bits"][:] = 700
    columns["bits"][:, 3] = 750
    columns["bits"][5, 4] = 900
    found = found._replace(rmse=columns["rmse"], bits=columns["bits"])
    # of two atoms: 36 and 37 of 40 hold; of three 37; four is the first to hold in 39
    assert choose(found, 0.2, 100, 0.9).alpha == tuple(found.alpha[4])
    assert choose(found, 0.2, 100, 0.95).alpha == tuple(found.alpha[1])
    best = choose(found, 0.2, 100, 0.92)
    assert best.active == 2
    assert best.probability == 37 / 40
    with pytest.raises(ValueError, match=r"no weights give rmse 0\.2 within 80 bytes with probability 0\.95"):
        choose(found, 0.2, 80, 0.95)


@pytest.mark.slow
def test_one_call_from_a_posterior():
    data = pb.datasets.synthetic_a(0.1, n_samples=120, n_features=10, n_atoms=4, usage=0.3, seed=0)
    est = pb.PADL(6).fit(data.X)
    posterior = est.sample_posterior(num_warmup=60, num_samples=30, num_chains=2, start="fit")
    loose = pb.tradeoff.smallest_dictionary(posterior, rmse=0.3, max_bytes=2000, most_draws=10)
    strict = pb.tradeoff.smallest_dictionary(posterior, rmse=0.12, most_draws=10)
    assert loose.probability >= 0.95
    assert loose.rmse[2] <= 0.3
    assert loose.bits[2] <= 16000
    assert strict.active >= loose.active
    assert strict.bits[1] > loose.bits[1]


def test_bad_input_is_named():
    draws, X = made_draws()
    with pytest.raises(ValueError, match="found none of usage"):
        pb.tradeoff.bands({k: v for k, v in draws.items() if k != "usage"}, X=X)
    with pytest.raises(TypeError, match="nonnegative must be True or False, found 2"):
        pb.tradeoff.bands(draws, X=X, nonnegative=2)
    with pytest.raises(ValueError, match="random_state must be at least 0, found -1"):
        pb.tradeoff.bands(draws, X=X, random_state=-1)
    with pytest.raises(ValueError, match="X must be given"):
        pb.tradeoff.bands(draws)
    with pytest.raises(ValueError, match="no active atom"):
        pb.tradeoff.bands(draws | {"active": 0 * draws["active"]}, X=X)
