"""Tokens merged in every block, against the network written out with groups as lists of patches."""

import numpy as np
import pytest
from onnx import numpy_helper

from padl_bayes.compress import backbone, flops, merging
from padl_bayes.compress.vit import cut, session

from .tiny import HIDDEN, N_BLOCKS, N_HEADS, PATCH, SIDE, SIZE, WIDTH

IMAGES = np.random.default_rng(4).standard_normal((3, 3, SIZE, SIZE)).astype(np.float32)
# float32 through three blocks
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def weights(vit):
    return {t.name: numpy_helper.to_array(t).astype(np.float64) for t in vit.model.graph.initializer}


def norm(w, name, x):
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + 1e-6) + w[f"{name}.bias"]


def linear(w, name, x):
    return x @ w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(w, name, x, sizes):
    """What it adds, and its keys by head."""
    normed = norm(w, f"{name}/norm1", x)
    query, key, value = (
        linear(w, f"{name}/attention/attention/{part}", normed).reshape(len(x), N_HEADS, -1)
        for part in ("query", "key", "value")
    )
    mixed = np.zeros_like(value)
    for head in range(N_HEADS):
        # a token of size s is s tokens: s times the weight of one
        weight = np.exp(query[:, head] @ key[:, head].T) * np.array(sizes)
        mixed[:, head] = weight / weight.sum(axis=1, keepdims=True) @ value[:, head]
    return linear(w, f"{name}/attention/output/dense", mixed.reshape(len(x), -1)), key


def partners(key, n_merged):
    """Pairs of groups to merge, numbered without CLS: those at even places go to the best at odd ones."""
    mean = key[1:].mean(axis=1)
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    found = [max((unit[a] @ unit[b], a, b) for b in range(1, len(unit), 2)) for a in range(0, len(unit), 2)]
    return {a: b for _, a, b in sorted(found, reverse=True)[:n_merged]}


def reference(w, image, n_merged):
    """Normed CLS token, saliency, and number of tokens: each patch gets all that is added to its group."""
    tiles = image.astype(np.float64).reshape(3, SIDE, PATCH, SIDE, PATCH)
    patches = np.einsum("cipjq,kcpq->ijk", tiles, w["patches.weight"]).reshape(-1, WIDTH)
    x = np.concatenate([w["cls"][0], patches]) + w["positions"][0]
    patches, groups = x[1:].copy(), [[p] for p in range(SIDE**2)]
    for block in range(N_BLOCKS):
        name = f"/encoder/layer.{block}"
        added, key = attention(w, name, x, [1, *map(len, groups)])
        x = x + added
        for row, group in zip(added[1:], groups, strict=True):
            patches[group] += row
        gone = partners(key, n_merged)
        for a, b in gone.items():
            total = len(groups[a]) + len(groups[b])
            x[1 + b] = (len(groups[a]) * x[1 + a] + len(groups[b]) * x[1 + b]) / total
            groups[b] = groups[b] + groups[a]
        stay = [i for i in range(len(groups)) if i not in gone]
        x, groups = x[[0, *(1 + i for i in stay)]], [groups[i] for i in stay]
        inner = np.maximum(linear(w, f"{name}/mlp/fc1", norm(w, f"{name}/norm2", x)), 0)
        added = linear(w, f"{name}/mlp/fc2", inner)
        x = x + added
        for row, group in zip(added[1:], groups, strict=True):
            patches[group] += row
    found = norm(w, "/layernorm", np.concatenate([x[:1], patches]))
    logits = found[1:] @ w["head.weight"][0, :, 0, 0]
    return found[0], 1 / (1 + np.exp(-logits.reshape(SIDE, SIDE))), len(x)


@pytest.mark.parametrize("n_merged", [0, 1, 3, 8])
def test_it_is_the_network_written_out(vit, weights, n_merged):
    chain = merging.chain_of(vit)
    for image in IMAGES:
        seen = merging.run_merging(chain, image, n_merged)
        cls, saliency, n_tokens = reference(weights, image, n_merged)
        assert seen.n_tokens == n_tokens
        np.testing.assert_allclose(seen.cls, cls, atol=ROUNDING)
        np.testing.assert_allclose(seen.saliency, saliency, atol=ROUNDING)


def test_with_all_tokens_it_is_the_network(vit):
    whole = session(cut(vit, ["image"], ["norm", "saliency"]))
    for image in IMAGES:
        plain = backbone.run_whole(whole, vit, image)
        seen = merging.run_merging(merging.chain_of(vit), image, 0)
        assert seen.n_tokens == plain.n_tokens
        np.testing.assert_allclose(seen.cls, plain.cls, atol=ROUNDING)
        np.testing.assert_allclose(seen.saliency, plain.saliency, atol=ROUNDING)


def test_operations_are_those_counted_by_hand(vit):
    # 16 patches, then 13, 10 and 7; keys of one head's width
    total, head = flops.head_flops(vit, SIZE), WIDTH // N_HEADS
    for before, after in ((17, 14), (14, 11), (11, 8)):
        attention_of = before * 4 * WIDTH**2 + 2 * before**2 * WIDTH
        total += 2 * (attention_of + after * 2 * WIDTH * HIDDEN)
        total += 2 * ((before - 1) / 2) ** 2 * head
    assert flops.merging_flops(vit, SIZE, 3) == total
    assert flops.merging_flops(vit, SIZE, 0) > flops.network_flops(vit, SIZE)
    with pytest.raises(ValueError, match="n_merged must be at least 0"):
        merging.run_merging(merging.chain_of(vit), IMAGES[0], -1)
