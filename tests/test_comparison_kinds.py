"""Comparisons of every kind of fit on one problem."""

import json
import warnings

import numpy as np
import pytest
from scipy.stats import norm

import padl_bayes as pb
from padl_bayes.arviz_io import to_arviz
from padl_bayes.inference.results import MapFit
from tests.made_fits import draws_near, em_of

LEVELS = (0.5, 0.8, 0.95)


@pytest.fixture(scope="module")
def every_fit():
    """Fits of every kind of the same samples, and their comparison."""
    data = pb.datasets.synthetic_a(noise=0.1, n_samples=60, n_features=8, n_atoms=3, usage=0.5, seed=0)
    X = data.X[:40]
    em = pb.PADL(4).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pb.ConvergenceWarning)
        mode = pb.PADL(4, "map", max_iter=20).fit(X)
    fits = {"EM": em.fit_, "PADL": em, "MAP": mode.fit_, "PADL MAP": mode, **draws_near(em.fit_)}
    for name in ("Gibbs", "NUTS", "SVI"):
        draws = fits[name]
        attrs = draws.settings | {"wall_time": draws.wall_time}
        fits[f"ArviZ {name}"] = to_arviz(
            draws.samples, X=X, align=getattr(draws, "alignment", True), attrs=attrs
        )
    truth = {"clean": data.clean[40:], "dictionary": data.dictionary}
    return fits, pb.compare(fits, X_held_out=data.X[40:], truth=truth, n_draws=6)


def test_every_kind_of_fit_goes_through(every_fit):
    fits, found = every_fit
    assert [row.name for row in found.rows] == list(fits)
    assert [row.engine for row in found.rows] == [
        "EM", "EM", "MAP", "MAP", "Gibbs", "NUTS", "SVI", "NUTS", "Gibbs", "NUTS", "SVI",
    ]  # fmt: skip
    for row in found.rows:
        assert np.isfinite([row.log_density, row.rmse, row.seconds, row.log_density_mcse]).all()
        assert row.n_draws == (1 if row.engine in ("EM", "MAP") else 6)
        assert sorted(row.width) == list(row.width)
        assert (row.num_active_interval is not None) == (row.engine == "Gibbs")
        assert 0 <= row.atoms_recovered <= 3


def test_arviz_data_say_what_the_draws_say(every_fit):
    _, found = every_fit
    for name in ("Gibbs", "NUTS", "SVI"):
        direct, stored = found[name], found[f"ArviZ {name}"]
        # the order of atoms differs, and with it the random numbers
        assert stored.log_density == pytest.approx(direct.log_density, abs=0.05)
        np.testing.assert_array_equal(found.num_active[name], found.num_active[f"ArviZ {name}"])
    same = found.activation.probability
    np.testing.assert_allclose(
        np.sort(same["Gibbs"][~np.isnan(same["Gibbs"])]),
        np.sort(same["ArviZ Gibbs"][~np.isnan(same["ArviZ Gibbs"])]),
    )


def test_the_mode_knows_nothing_of_the_codes(every_fit):
    _, found = every_fit
    row = found["MAP"]
    assert row.effective_codes == 1
    assert max(row.clean_coverage) < 0.5
    reach = norm.ppf((1 + np.array(LEVELS)) / 2)
    np.testing.assert_allclose(np.array(row.width) / row.width[0], reach / reach[0], rtol=0.02)


def test_the_table_and_its_numbers(every_fit):
    fits, found = every_fit
    lines = str(found).splitlines()
    assert len(lines) == 2 + len(fits)
    assert lines[0].startswith("20 held-out samples, 40 of their entries hidden")
    assert all(line.startswith(name) for line, name in zip(lines[2:], fits, strict=True))
    assert len({len(line) for line in lines[1:]}) == 1
    back = json.loads(json.dumps(found.to_dict()))
    assert back["rows"][0]["log_density"] == found.rows[0].log_density
    with pytest.raises(KeyError, match="no fit 'none'"):
        found["none"]


def test_atoms_of_all_fits_share_labels(every_fit):
    _, found = every_fit
    activation = found.activation
    n_atoms = len(activation.dictionary)
    assert set(activation.probability) == set(found.pit)
    assert all(values.shape == (n_atoms,) for values in activation.probability.values())
    assert np.isnan(activation.probability["MAP"]).all()
    assert not np.isnan(activation.probability["EM"]).all()


def test_a_fit_without_atoms_predicts_noise():
    # sizes and slabs as in every_fit, which are compiled
    X = np.random.default_rng(6).normal(size=(20, 8))
    em = em_of(np.zeros((0, 8)), np.zeros(0), np.zeros(0), 1.0, slab="bernoulli_laplace")
    mode = MapFit(
        em.dictionary,
        np.zeros((9, 0)),
        0.0,
        0.0,
        (1.0, 1.0),
        1.0,
        np.zeros(0),
        np.zeros(1),
        1,
        "converged",
        1.0,
    )
    found = pb.compare(em, mode, X_held_out=X)
    for name in ("EM", "MAP"):
        np.testing.assert_allclose(found.log_density[name], norm.logpdf(X).sum(axis=1), rtol=1e-9)
        assert found[name].rmse == pytest.approx(np.sqrt(np.mean(norm.ppf(found.pit[name]) ** 2)))
