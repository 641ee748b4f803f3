"""Toy runs of the benchmarks of operating points and of hyperparameters, and what their pages say."""

import json

import numpy as np
import pytest

import padl_bayes as pb
from benchmarks import hyperparameters, mdl
from padl_bayes.tradeoff.storage import best_precision, quantise, refit_on_support


def quiet(text):
    del text


def test_a_toy_of_the_shortest_description():
    r = json.loads(json.dumps(mdl.run(mdl.QUICK, None, quiet)))
    assert len(r["grid"]) == 6
    # 5% of what the shortest refit saves: refits are of few samples
    assert mdl.excess(r, r["chosen"])[1] < 0.05
    text = mdl.section("toy", r)
    assert f"{mdl.grid_seconds(r) / r['choice_seconds']:.0f} times as long" in text
    assert len(mdl.draw("toy", r).axes[0].lines) == 4


def test_held_out_lengths_are_those_of_the_words():
    data = pb.datasets.synthetic_a(0.1, n_samples=2000, n_features=16, n_atoms=6, seed=0)
    X, D = data.X, data.dictionary
    codes = pb.sparse_code(X, D, 0.3, 0.0, tol=1e-8).codes
    length, nonzeros = mdl.held_out_length(X, D, np.full(6, 1.01 * np.abs(codes).max()), 0.3, 0.1)
    assert nonzeros == pytest.approx((codes != 0).sum(axis=1).mean(), rel=1e-3)
    codes = refit_on_support(X, codes, D)
    residual = np.sum((X - codes @ D) ** 2) / len(X)
    found = mdl.statistics_of(X, codes, D)
    assert found.residual == pytest.approx(residual)
    stored = quantise(codes, D, 0.1, precision=float(best_precision(found, *X.shape, 0.1)))
    left = np.mean((X - stored.codes @ stored.dictionary) ** 2)
    words = stored.storage.total + 0.5 * X.size * np.log2(2 * np.pi * np.e * left)
    saved = 0.5 * X.size * np.log2(2 * np.pi * np.e * np.mean(X**2)) - words
    # bits from moments are within 1%, of 5% of the dictionary
    assert abs(length - words) < 0.01 * saved


@pytest.mark.slow
def test_a_toy_of_all_ways_to_hyperparameters():
    part = hyperparameters.QUICK._replace(noise=0.1, n_samples=400)
    r = json.loads(json.dumps(hyperparameters.run(part, None, quiet)))
    rows = r["rows"]
    assert list(rows) == ["true", "MAP, null calibration", "MAP, weights by SAEM", "EM", "SAEM", "full Bayes"]
    # nothing predicts better than the law of the data, but by chance
    for row in rows.values():
        gap, error = row["below"]
        assert gap > -3 * error
    assert rows["EM"]["density"] > rows["MAP, null calibration"]["density"]
    assert rows["full Bayes"]["usage"] is not None
    assert hyperparameters.section("toy", r).count("\n| ") == 1 + len(rows)
    assert len(hyperparameters.draw("toy", r).axes[0].patches) == len(rows) - 1
