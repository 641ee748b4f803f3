"""Floating-point operations of a vision transformer: two for a multiplication and an addition, products only."""

import numpy as np


def block_flops(vit, n_tokens, n_later=None):
    """Of one block: four products of attention's own, two with all pairs of tokens, two of the perceptron.

    Parameters
    ----------
    vit : Vit
    n_tokens : int
    n_later : int, optional
        Tokens in the perceptron, the same by default.

    Returns
    -------
    int
    """
    n_later = n_tokens if n_later is None else n_later
    attention = 8 * n_tokens * vit.width**2 + 4 * n_tokens**2 * vit.width
    return attention + 4 * n_later * vit.width * vit.hidden


def head_flops(vit, size):
    """Of the convolutions behind the last norm, and of the one that makes patches, for an image of this size."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in vit.model.graph.initializer}
    pixels = (size // vit.patch) ** 2
    total = 0
    for node in vit.model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            total += 2 * pixels * int(np.prod(shapes[node.input[1]]))
        if node.op_type == "ConvTranspose":
            strides = next(list(a.ints) for a in node.attribute if a.name == "strides")
            pixels *= int(np.prod(strides))
    return total


def merging_flops(vit, size, n_merged):
    """Of one square image with ``n_merged`` tokens merged in every block, matching included.

    Parameters
    ----------
    vit : Vit
    size : int
    n_merged : int

    Returns
    -------
    float
    """
    n, total = vit.tokens_of(size), head_flops(vit, size)
    for _ in range(vit.n_blocks):
        patches = n - 1
        later = 1 + max(patches - n_merged, -(-patches // 2))
        # each token at an even place with each at an odd one
        total += block_flops(vit, n, later) + patches**2 / 2 * vit.width / vit.n_heads
        n = later
    return total


def network_flops(vit, size, *, block=None, n_tokens=None, rule=0):
    """Of one square image, whole or with fewer tokens behind a block.

    Parameters
    ----------
    vit : Vit
    size : int
        Height and width of the image.
    block : int, optional
        The last block that sees all tokens; all do by default.
    n_tokens : int, optional
        Tokens of the later blocks, CLS included.
    rule : int
        Of choosing and merging.

    Returns
    -------
    int
    """
    every = vit.tokens_of(size)
    early = vit.n_blocks if block is None else block + 1
    later = (vit.n_blocks - early) * block_flops(vit, n_tokens) if early < vit.n_blocks else 0
    return early * block_flops(vit, every) + later + head_flops(vit, size) + rule
