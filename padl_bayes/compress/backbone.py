"""A vision transformer run with fewer tokens from a block on, and how near it stays to the whole."""

import time
from typing import Any, NamedTuple

import numpy as np

from padl_bayes._validation import check_choice, check_count
from padl_bayes.compress._extra import optional
from padl_bayes.compress.reduction import scatter
from padl_bayes.compress.vit import check_images, cut, session

SIZES = "log_sizes"


class Halves(NamedTuple):
    """The network in three pieces: up to a block, the other blocks with any number of tokens, and what follows."""

    vit: Any
    block: int
    first: Any
    rest: Any
    head: Any


class Seen(NamedTuple):
    """What the network makes of one image."""

    cls: np.ndarray
    """(P,) CLS token after the last norm."""
    saliency: np.ndarray
    """(H, W)"""
    n_tokens: int
    """In the later blocks, CLS included."""
    seconds: float


class Fidelity(NamedTuple):
    """Compressed against original, over images."""

    cls_cosine: float
    """Mean cosine of CLS tokens."""
    cls_cosine_least: float
    saliency_correlation: float
    """Mean over images of the correlation of saliency maps, those of constant originals left out."""
    saliency_error: float
    """Mean absolute difference of saliency maps, in [0, 1]."""
    neighbours: float
    """Share of images whose nearest other image by CLS cosine is the same."""


def proportional(model):
    """Add the input ``log_sizes`` (1, 1, 1, n) to the logits of attention: a token counts for as many as it stands for.

    The model is changed in place: pass a piece of `cut`.
    """
    onnx = optional("onnx", "cutting a network")
    declared = onnx.helper.make_tensor_value_info(SIZES, onnx.TensorProto.FLOAT, [1, 1, 1, "tokens"])
    model.graph.input.append(declared)
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Softmax":
            weighed = f"{node.name}/sizes"
            nodes.append(onnx.helper.make_node("Add", [node.input[0], SIZES], [weighed], name=weighed))
            node.input[0] = weighed
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def split_at(vit, block, *, n_threads=1):
    """Cut the network behind a block.

    Parameters
    ----------
    vit : Vit
    block : int
        Later blocks see the reduced tokens.
    n_threads : int

    Returns
    -------
    Halves
    """
    block = check_count(block, "block", minimum=0)
    check_choice(block, "block", range(vit.n_blocks - 1))
    here, last = f"block.{block}.output", f"block.{vit.n_blocks - 1}.output"
    pieces = (
        cut(vit, ["image"], [here, f"block.{block}.attention.key"]),
        proportional(cut(vit, [here], [last])),
        cut(vit, [last, "image"], ["norm", "saliency"]),
    )
    return Halves(vit, block, *(session(piece, n_threads=n_threads) for piece in pieces))


def mean_over_heads(keys, n_heads):
    """Keys (n, P) averaged over heads, (n, P / n_heads)."""
    return keys.reshape(len(keys), n_heads, -1).mean(axis=1)


def run_whole(running, vit, image):
    """The whole network on one image (3, H, W), by a session of ``cut(vit, ["image"], ["norm", "saliency"])``."""
    image = check_images(image[None], vit)
    started = time.perf_counter()
    norm, saliency = running.run(None, {vit.model.graph.input[0].name: image})
    return Seen(norm[0, 0], saliency[0, 0], norm.shape[1], time.perf_counter() - started)


def run_reduced(halves, image, rule):
    """The network on one image with tokens reduced behind a block.

    Parameters
    ----------
    halves : Halves
    image : ndarray, shape (3, H, W)
    rule : callable
        ``(tokens, keys) -> Merged`` of the patch tokens (n, P) behind the block and the keys of its attention, their
        mean over heads (n, P / n_heads).

    Returns
    -------
    Seen
        ``seconds`` is all of it: pieces, rule, merging and scattering.
    """
    vit = halves.vit
    image = check_images(image[None], vit)
    started = time.perf_counter()
    given = {vit.model.graph.input[0].name: image}
    tokens, keys = halves.first.run(None, given)
    merged = rule(tokens[0, 1:], mean_over_heads(keys[0, 1:], vit.n_heads))
    fewer = np.concatenate([tokens[0, :1], merged.tokens])[None]
    sizes = np.log(np.concatenate([[1], merged.sizes]), dtype=np.float32)
    here, last = (vit.tensor(f"block.{i}.output") for i in (halves.block, vit.n_blocks - 1))
    (through,) = halves.rest.run(None, {here: fewer, SIZES: sizes[None, None, None]})
    whole = np.concatenate([through[0, :1], scatter(through[0, 1:], merged, tokens[0, 1:])])[None]
    norm, saliency = halves.head.run(None, {last: whole} | given)
    return Seen(norm[0, 0], saliency[0, 0], fewer.shape[1], time.perf_counter() - started)


def fidelity(original, compressed):
    """Compare what the network makes of images with and without compression.

    Parameters
    ----------
    original, compressed : sequence of Seen
        Of the same images.

    Returns
    -------
    Fidelity
    """
    if len(original) != len(compressed) or len(original) < 2:
        raise ValueError(
            "original and compressed must be of the same two images or more, "
            f"found {len(original)} and {len(compressed)}"
        )
    cosines = [_cosine(a.cls, b.cls) for a, b in zip(original, compressed, strict=True)]
    maps = [(a.saliency.ravel(), b.saliency.ravel()) for a, b in zip(original, compressed, strict=True)]
    related = [np.corrcoef(a, b)[0, 1] for a, b in maps if np.ptp(a) > 0 and np.ptp(b) > 0]
    return Fidelity(
        float(np.mean(cosines)),
        float(np.min(cosines)),
        float(np.mean(related)) if related else float("nan"),
        float(np.mean([np.abs(a - b).mean() for a, b in maps])),
        float(np.mean(nearest(original) == nearest(compressed))),
    )


def nearest(seen):
    """Number of the nearest other image of each, by cosine of CLS tokens."""
    rows = np.stack([one.cls for one in seen]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    return cosines.argmax(axis=1)


def _cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
