"""Linear layers at less work: sparse codes times precomputed atoms, and weights of low rank.

With tokens ``T = mean + R D``, a layer gives ``T W + b = R (D W) + (mean W + b)``: the table ``D W`` is made once, and
a token takes as many rows of it as it has nonzero codes.
"""

from typing import Any, NamedTuple

import numpy as np

from padl_bayes._validation import check_array, check_count, check_matrix
from padl_bayes.compress._extra import optional
from padl_bayes.compress.vit import cut, session


class SparseLinear(NamedTuple):
    """A layer's product with every atom."""

    table: np.ndarray
    """(K, H) ``D W``"""
    offset: np.ndarray
    """(H,) ``mean W + b``"""

    def __call__(self, codes):
        """Outputs (n, H) for codes (n, K), a SciPy sparse array or a dense one."""
        return codes @ self.table + self.offset


def sparse_linear(dictionary, mean, weight, bias):
    """Multiply a layer's weights by the atoms.

    Parameters
    ----------
    dictionary : array_like, shape (K, P)
    mean : array_like, shape (P,)
    weight : array_like, shape (P, H)
    bias : array_like, shape (H,)

    Returns
    -------
    SparseLinear

    Raises
    ------
    TypeError, ValueError
        Bad input, or widths that differ.
    """
    dictionary = check_matrix(dictionary, "dictionary")
    weight = check_array(weight, "weight", (dictionary.shape[1], "H"))
    mean = check_array(mean, "mean", (dictionary.shape[1],))
    bias = check_array(bias, "bias", (weight.shape[1],))
    return SparseLinear(dictionary @ weight, mean @ weight + bias)


def _product(vit, layer):
    """The node that multiplies by a layer's weights, the weights' name, and the bias's."""
    graph = vit.model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    target = vit.tensor(layer)
    producers = {node.output[0]: node for node in graph.node}
    add = producers.get(target)
    inputs = [] if add is None else list(add.input)
    product = next(
        (producers[i] for i in inputs if i in producers and producers[i].op_type == "MatMul"), None
    )
    bias = next((i for i in inputs if i in tensors), None)
    if product is None or bias is None or product.input[1] not in tensors:
        raise ValueError(f"layer must be a linear layer such as 'block.0.mlp.fc1', found {layer!r}")
    return product, tensors[product.input[1]], tensors[bias]


def weights_of(vit, layer):
    """Weights (P, H) and bias (H,) of a linear layer.

    Raises
    ------
    ValueError
        No such layer, or not a linear one; the message has examples.
    """
    onnx = optional("onnx", "reading weights")
    _, weight, bias = _product(vit, layer)
    return onnx.numpy_helper.to_array(weight), onnx.numpy_helper.to_array(bias)


def low_rank(vit, layers, rank):
    """A copy of the network whose layers have truncated singular value decompositions for weights, as two products.

    Parameters
    ----------
    vit : Vit
        Not changed.
    layers : sequence of str
    rank : int

    Returns
    -------
    Vit
    """
    onnx = optional("onnx", "changing weights")
    rank = check_count(rank, "rank")
    copy = onnx.ModelProto()
    copy.CopyFrom(vit.model)
    changed = vit._replace(model=copy)
    split = {}
    for layer in layers:
        product, weight, _ = _product(changed, layer)
        left, singular, right = np.linalg.svd(onnx.numpy_helper.to_array(weight), full_matrices=False)
        halves = left[:, :rank] * singular[:rank], right[:rank]
        names = f"{weight.name}/left", f"{weight.name}/right"
        copy.graph.initializer.remove(weight)
        copy.graph.initializer.extend(map(onnx.numpy_helper.from_array, halves, names))
        split[product.name] = names
    nodes = []
    for node in copy.graph.node:
        if node.name in split:
            names = split[node.name]
            inner = onnx.helper.make_node("MatMul", [node.input[0], names[0]], [f"{node.name}/inner"])
            node.input[0], node.input[1] = inner.output[0], names[1]
            nodes.append(inner)
        nodes.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return changed


class SparsePath(NamedTuple):
    """The network with a perceptron's first product taken from codes: what comes before it and after it."""

    vit: Any
    block: int
    before: Any
    after: Any


def sparse_path(vit, block, *, n_threads=1):
    """Cut the network around the first product of a block's perceptron.

    Returns
    -------
    SparsePath
    """
    names = f"block.{block}.middle", f"block.{block}.norm2"
    after = cut(vit, [f"block.{block}.mlp.fc1", names[0], "image"], ["norm", "saliency"])
    before = cut(vit, ["image"], list(names))
    return SparsePath(vit, block, *(session(piece, n_threads=n_threads) for piece in (before, after)))


def run_sparse(path, image, product):
    """The network on one image (3, H, W) with ``product(tokens)`` for the perceptron's first layer.

    Parameters
    ----------
    path : SparsePath
    image : ndarray, shape (3, H, W)
    product : callable
        Takes all tokens (n, P) behind the block's second norm, returns (n, H).

    Returns
    -------
    tuple of ndarray
        Tokens (n, P) after the last norm, saliency (H, W).
    """
    vit, block = path.vit, path.block
    given = {vit.model.graph.input[0].name: np.asarray(image, np.float32)[None]}
    middle, inputs = path.before.run(None, given)
    inner = np.asarray(product(inputs[0]), np.float32)[None]
    given |= {vit.tensor(f"block.{block}.mlp.fc1"): inner, vit.tensor(f"block.{block}.middle"): middle}
    norm, saliency = path.after.run(None, given)
    return norm[0], saliency[0, 0]
