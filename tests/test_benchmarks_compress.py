"""Toy runs of the benchmark of shared atoms on a network of random weights, and what its page says."""

import json
from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks import _reduction, _tokens, compress
from padl_bayes.compress.images import Crops
from padl_bayes.compress.vit import load_vit

from .compress.tiny import SIZE, build


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    vit = load_vit(build(tmp_path / "tiny.onnx"))

    def crops(part, n_crops, *, size=SIZE, random_state=0):
        rng = np.random.default_rng(len(part))
        images = rng.standard_normal((4 * n_crops, 3, SIZE, SIZE)).astype(np.float32)
        return Crops(images, ["a", "b", "c", "d"] * n_crops)

    for module in (_reduction, _tokens):
        monkeypatch.setattr(module, "load_vit", lambda: vit)
        monkeypatch.setattr(module.images, "crops", crops)


def told(part):
    found = json.loads(json.dumps(compress.run(part, None, lambda text: None)))
    assert compress.draw("toy", found).axes
    return found, compress.section("toy", found)


def test_a_toy_of_fewer_tokens():
    part = compress.Fewer(
        SIZE,
        n_crops=1,
        blocks=(0,),
        keep=(1.0, 0.25),
        ranks=(8,),
        merged=(0, 0.25),
        n_atoms=6,
        thin=1,
        max_iter=5,
    )
    found, text = told(part)
    rows = {(row["rule"], row["keep"]): row for row in found["rows"]}
    # as many groups as tokens, or weights of full rank, are the whole network
    every = "similarity (ToMe), every block"
    for kind in (("similarity (ToMe)", 1.0), ("random", 1.0), ("SVD of the weights", 8), (every, 0)):
        assert rows[kind]["cls_cosine"] == pytest.approx(1, abs=1e-6)
        assert rows[kind]["neighbours"] == 1
    fewer = rows["similarity (ToMe)", 0.25]
    assert fewer["n_tokens"] == 5
    assert fewer["flops"] < found["flops"]
    assert rows[every, 4]["n_tokens"] == 5
    assert rows[every, 4]["flops"] < found["flops"]
    assert f"| {every} | every | 5 |" in text
    assert ("leading atom", 1.0) not in rows
    good = max(
        (r for k, r in rows.items() if k[0] == "random" and r["cls_cosine"] >= 0.99),
        key=lambda r: r["speedup"][1],
    )
    assert (
        f"- random: {good['n_tokens']:.0f} tokens behind block 0, CLS cosine {good['cls_cosine']:.4f}" in text
    )


def test_what_is_timed_has_one_thread():
    def blas():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen = []
    with threadpool_limits(2, user_api="blas"):
        if blas() != {2}:
            pytest.skip("needs two threads")
        _reduction._timed(lambda: seen.append(blas()), 1)
        image = np.zeros((3, SIZE, SIZE), np.float32)
        vit = _reduction.load_vit()
        whole = _reduction.session(_reduction.cut(vit, ["image"], ["norm", "saliency"]))

        def one(image, i):
            seen.append(blas())
            return _reduction.backbone.run_whole(whole, vit, image)

        _reduction._measure(vit, [image, image], whole, {("rule", 0, 1.0): one}, lambda text: None)
    assert seen == [{1}, {1}, {1}]


def test_a_toy_of_sparse_products():
    part = compress.Products(blocks=(1,), nonzeros=(2, 8), n_atoms=8, thin=1, max_iter=5, repeats=1)
    found, text = told(part)
    em, two, _ = found["rows"]
    assert two["nonzeros"] <= 2
    assert em["flops"][1] == pytest.approx(2 * em["nonzeros"] * 16 * 12)
    assert "are faster than the plain product in" in text


@pytest.mark.slow
def test_a_toy_of_stored_tokens():
    part = compress.Tokens(
        "block.1.output", n_crops=4, thin=1, n_atoms=8, max_iter=5, n_seeds=2, methods=("PCA",)
    )
    found, text = told(part)
    own = found["entries"][0]
    codes = own["n_bytes_supports"] + own["n_bytes_values"]
    assert f"| {own['n_bytes']:,.0f} | {codes:,.0f} | this package | {own['n_atoms']} |" in text
    share = own["n_bytes_supports"] / own["n_bytes"]
    assert f"{share:.0%} on which atoms a token uses" in text
    # in half precision a row of ours takes more bytes than the last for less error
    front = _tokens._front([row for row in found["entries"] if row["method"].startswith("this")])
    for one, two in pairwise(front):
        assert (one["n_bytes_half"] < two["n_bytes_half"], one["rmse"] > two["rmse"]) == (True, True)
    assert len(found["seeds"]["active"]) == 2
    assert found["tokens"] == [256, 256]
