"""Products from codes, weights of low rank, and how near the network stays."""

import numpy as np
import pytest
from scipy import sparse

from padl_bayes.compress import backbone, linear
from padl_bayes.compress.vit import cut, session, tokens

from .tiny import HIDDEN, N_BLOCKS, SIZE, WIDTH

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((3, 3, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_codes_times_the_table_is_the_product(dtype, kind):
    dictionary, weight = RNG.standard_normal((5, 7)).astype(dtype), RNG.standard_normal((7, 3)).astype(dtype)
    mean, bias = RNG.standard_normal(7).astype(dtype), RNG.standard_normal(3).astype(dtype)
    codes = (RNG.standard_normal((11, 5)) * (RNG.random((11, 5)) < 0.4)).astype(dtype)
    layer = linear.sparse_linear(dictionary, mean, weight, bias)
    plain = (mean + codes @ dictionary) @ weight + bias
    np.testing.assert_allclose(
        layer(kind(codes)), plain, rtol=100 * np.finfo(dtype).eps, atol=100 * np.finfo(dtype).eps
    )


def test_widths_must_agree():
    with pytest.raises(ValueError, match=r"weight must have shape \(7, H\)"):
        linear.sparse_linear(np.eye(7), np.zeros(7), np.zeros((6, 3)), np.zeros(3))
    with pytest.raises(ValueError, match=r"bias must have shape \(3\)"):
        linear.sparse_linear(np.eye(7), np.zeros(7), np.zeros((7, 3)), np.zeros(4))


def test_weights_are_those_that_the_network_multiplies_by(vit):
    weight, bias = linear.weights_of(vit, "block.1.mlp.fc1")
    assert weight.shape == (WIDTH, HIDDEN)
    found = tokens(vit, IMAGES, ["block.1.norm2", "block.1.mlp.fc1"])
    np.testing.assert_allclose(found["block.1.norm2"] @ weight + bias, found["block.1.mlp.fc1"], atol=1e-5)
    for layer in ("block.1.output", "norm", "saliency"):
        with pytest.raises(ValueError, match="layer must be a linear layer"):
            linear.weights_of(vit, layer)


def test_the_network_with_a_product_in_place_of_a_layer(vit):
    weight, bias = linear.weights_of(vit, "block.1.mlp.fc1")
    path = linear.sparse_path(vit, 1)
    exact = tokens(vit, IMAGES, ["norm", "saliency"])
    for i, image in enumerate(IMAGES):
        norm, saliency = linear.run_sparse(path, image, lambda inputs: inputs @ weight + bias)
        np.testing.assert_allclose(norm, exact["norm"][i], atol=1e-5)
        np.testing.assert_allclose(saliency, exact["saliency"][i, 0], atol=1e-5)
        other, _ = linear.run_sparse(path, image, lambda inputs: 0 * inputs @ weight + bias)
        assert np.abs(other - norm).max() > 1e-3


def test_low_rank_weights_are_the_nearest_of_their_rank(vit):
    layers = [f"block.{i}.{part}" for i in range(N_BLOCKS) for part in ("mlp.fc1", "attention.query")]
    exact = tokens(vit, IMAGES, ["block.0.norm2", "block.0.mlp.fc1", "norm"])
    full = tokens(linear.low_rank(vit, layers, WIDTH), IMAGES, ["norm"])
    np.testing.assert_allclose(full["norm"], exact["norm"], atol=1e-5)
    cut_down = tokens(linear.low_rank(vit, ["block.0.mlp.fc1"], 3), IMAGES, ["block.0.mlp.fc1"])
    weight, bias = linear.weights_of(vit, "block.0.mlp.fc1")
    energy, directions = np.linalg.eigh(weight.astype(np.float64) @ weight.T)
    best = directions[:, -3:] @ directions[:, -3:].T @ weight
    assert energy[-4] > 1e-3
    np.testing.assert_allclose(cut_down["block.0.mlp.fc1"], exact["block.0.norm2"] @ best + bias, atol=1e-5)


def seen(cls, saliency):
    return backbone.Seen(np.asarray(cls, np.float32), np.asarray(saliency, np.float32), 5, 0.0)


def test_fidelity_by_hand():
    original = [
        seen([1, 0], [[0, 1]]),
        seen([0.9, 0.1], [[1, 0]]),
        seen([0, 1], [[0, 0.5]]),
        seen([0.1, 0.9], [[1, 1]]),
    ]
    assert backbone.fidelity(original, original)[::4] == (pytest.approx(1), 1)
    turned = [*original[:2], seen([1, -0.1], [[0.5, 0]]), original[3]]
    found = backbone.fidelity(original, turned)
    assert found.cls_cosine == pytest.approx((3 - 0.1 / 1.01**0.5) / 4)
    assert found.cls_cosine_least == pytest.approx(-0.1 / 1.01**0.5)
    # the constant map has no correlation
    assert found.saliency_correlation == pytest.approx((1 + 1 - 1) / 3)
    assert found.saliency_error == pytest.approx(0.5 / 4)
    # only the second keeps its neighbour: the third has come between it and none but the first
    assert found.neighbours == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match="same two images or more"):
        backbone.fidelity(original, turned[:3])


def test_reading_shapes_needs_the_images_only_where_they_matter(vit):
    head = session(cut(vit, ["norm", "image"], ["saliency"]))
    found = tokens(vit, IMAGES, ["norm", "saliency"])
    (saliency,) = head.run(None, {vit.tensor("norm"): found["norm"], "image": IMAGES})
    np.testing.assert_allclose(saliency, found["saliency"], atol=1e-6)
