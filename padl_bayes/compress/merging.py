"""Token Merging as its paper has it: in every block some tokens are merged, between attention and perceptron.

Bolya et al., Token Merging: Your ViT But Faster, ICLR 2023, section 3: bipartite matching by the cosine of keys
averaged over heads, means weighted by size, attention in proportion to size. `backbone.run_reduced` is for any rule
behind one block.
"""

import time
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from padl_bayes._validation import check_count
from padl_bayes.compress.backbone import SIZES, Seen, mean_over_heads, proportional
from padl_bayes.compress.reduction import by_similarity, merge, scatter
from padl_bayes.compress.vit import check_images, cut, session


class Chain(NamedTuple):
    """The network in pieces that end between a block's attention and its perceptron."""

    vit: Any
    pieces: tuple
    """One a block: the perceptron of the block before, and its own attention."""
    last: Any
    """The last perceptron."""
    head: Any


def chain_of(vit, *, n_threads=1):
    """Cut the network in every block.

    Parameters
    ----------
    vit : Vit
    n_threads : int

    Returns
    -------
    Chain
    """
    middle = [f"block.{i}.middle" for i in range(vit.n_blocks)]
    last = f"block.{vit.n_blocks - 1}.output"
    pieces = [
        cut(vit, [start], [middle[i], f"block.{i}.attention.key"])
        for i, start in enumerate(["image", *middle[:-1]])
    ]
    models = (
        *pieces[:1], *map(proportional, pieces[1:]), cut(vit, middle[-1:], [last]),
        cut(vit, [last, "image"], ["norm", "saliency"]),
    )  # fmt: skip
    *pieces, last, head = (session(model, n_threads=n_threads) for model in models)
    return Chain(vit, tuple(pieces), last, head)


def run_merging(chain, image, n_merged):
    """The network on one image with tokens merged in every block.

    Parameters
    ----------
    chain : Chain
    image : ndarray, shape (3, H, W)
    n_merged : int
        By how many each block makes the patch tokens fewer; of fewer than twice as many, half go.

    Returns
    -------
    Seen
        ``n_tokens`` is those that are left.
    """
    vit, n_merged = chain.vit, check_count(n_merged, "n_merged", minimum=0)
    image = check_images(image[None], vit)
    started = time.perf_counter()
    given = {vit.model.graph.input[0].name: image}
    ways, sizes, inputs = [], None, given
    for i, piece in enumerate(chain.pieces):
        tokens, keys = (found[0] for found in piece.run(None, inputs))
        n = len(tokens) - 1
        keys = mean_over_heads(keys[1:], vit.n_heads)
        merged = merge(tokens[1:], by_similarity(keys, max(n - n_merged, -(-n // 2))), sizes)
        ways.append((merged, tokens[1:]))
        sizes, fewer = merged.sizes, np.concatenate([tokens[:1], merged.tokens])[None]
        counts = np.log(np.concatenate([[1], sizes]), dtype=np.float32)[None, None, None]
        inputs = {vit.tensor(f"block.{i}.middle"): fewer, SIZES: counts}
    (through,) = chain.last.run(None, {vit.tensor(f"block.{vit.n_blocks - 1}.middle"): fewer})
    patches = reduce(lambda found, way: scatter(found, *way), reversed(ways), through[0, 1:])
    whole = np.concatenate([through[0, :1], patches])[None]
    norm, saliency = chain.head.run(None, {vit.tensor(f"block.{vit.n_blocks - 1}.output"): whole} | given)
    return Seen(norm[0, 0], saliency[0, 0], fewer.shape[1], time.perf_counter() - started)
