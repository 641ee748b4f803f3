"""A vision transformer of random weights with the node names of PyTorch's exporter, for plumbing only."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

N_BLOCKS, N_HEADS, WIDTH, HIDDEN, PATCH, SIZE = 3, 2, 8, 12, 2, 8
SIDE = SIZE // PATCH


class Builder:
    """Nodes and weights in the order in which they are added."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def add(self, op, name, *inputs, **attributes):
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}_output_0"], name=name, **attributes))
        return f"{name}_output_0"

    def constant(self, name, values):
        tensor = numpy_helper.from_array(np.asarray(values))
        return self.add("Constant", name, value=tensor)

    def weight(self, name, shape, scale=0.5):
        values = (scale * self.rng.standard_normal(shape)).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def norm(self, name, x):
        """Layer norm without gain, in the exporter's pieces."""
        mean = self.add("ReduceMean", f"{name}/ReduceMean", x, axes=[-1])
        centred = self.add("Sub", f"{name}/Sub", x, mean)
        square = self.add("Mul", f"{name}/Mul", centred, centred)
        variance = self.add("ReduceMean", f"{name}/ReduceMean_1", square, axes=[-1])
        floor = self.constant(f"{name}/Constant", np.float32(1e-6))
        scale = self.add("Sqrt", f"{name}/Sqrt", self.add("Add", f"{name}/Add", variance, floor))
        scaled = self.add("Div", f"{name}/Div", centred, scale)
        return self.add("Add", f"{name}/Add_1", scaled, self.weight(f"{name}.bias", (WIDTH,), 0.1))

    def linear(self, name, x, n_in, n_out):
        product = self.add(
            "MatMul", f"{name}/MatMul", x, self.weight(f"{name}.weight", (n_in, n_out), n_in**-0.5)
        )
        return self.add("Add", f"{name}/Add", self.weight(f"{name}.bias", (n_out,), 0.1), product)

    def split(self, name, x, perm):
        shape = self.add("Shape", f"{name}/Shape", x)
        rows = [
            self.add("Gather", f"{name}/Gather_{i}", shape, self.constant(f"{name}/Index_{i}", [i]), axis=0)
            for i in (0, 1)
        ]
        sizes = [self.constant(f"{name}/Size_{i}", [n]) for i, n in enumerate((N_HEADS, WIDTH // N_HEADS))]
        wanted = self.add("Concat", f"{name}/Concat", *rows, *sizes, axis=0)
        return self.add(
            "Transpose", f"{name}/Transpose", self.add("Reshape", f"{name}/Reshape", x, wanted), perm=perm
        )

    def attention(self, name, x):
        key, value, query = (
            self.linear(f"{name}/attention/{part}", x, WIDTH, WIDTH) for part in ("key", "value", "query")
        )
        query = self.split(f"{name}/attention/q", query, [0, 2, 1, 3])
        key = self.split(f"{name}/attention/k", key, [0, 2, 3, 1])
        value = self.split(f"{name}/attention/v", value, [0, 2, 1, 3])
        weights = self.add(
            "Softmax", f"{name}/Softmax", self.add("MatMul", f"{name}/QK", query, key), axis=-1
        )
        mixed = self.add(
            "Transpose", f"{name}/Back", self.add("MatMul", f"{name}/AV", weights, value), perm=[0, 2, 1, 3]
        )
        joined = self.add("Reshape", f"{name}/Join", mixed, self.constant(f"{name}/Width", [0, 0, WIDTH]))
        return self.linear(f"{name}/output/dense", joined, WIDTH, WIDTH)

    def block(self, name, x):
        normed = self.norm(f"{name}/norm1", x)
        x = self.add("Add", f"{name}/Add", self.attention(f"{name}/attention", normed), x)
        inner = self.linear(f"{name}/mlp/fc1", self.norm(f"{name}/norm2", x), WIDTH, HIDDEN)
        inner = self.add("Relu", f"{name}/mlp/activation/Relu", inner)
        return self.add("Add", f"{name}/Add_1", self.linear(f"{name}/mlp/fc2", inner, HIDDEN, WIDTH), x)


def build(path, seed=0):
    """Write the network to ``path``."""
    b = Builder(seed)
    filters = b.weight("patches.weight", (WIDTH, 3, PATCH, PATCH))
    patches = b.add("Conv", "/embeddings/Conv", "image", filters, strides=[PATCH, PATCH])
    flat = b.add("Reshape", "/embeddings/Reshape", patches, b.constant("/embeddings/Flat", [0, WIDTH, -1]))
    rows = b.add("Transpose", "/embeddings/Transpose", flat, perm=[0, 2, 1])
    cls = b.weight("cls", (1, 1, WIDTH))
    x = b.add("Concat", "/embeddings/Concat", cls, rows, axis=1)
    x = b.add("Add", "/embeddings/Add", x, b.weight("positions", (1, 1 + SIDE**2, WIDTH)))
    for i in range(N_BLOCKS):
        x = b.block(f"/encoder/layer.{i}", x)
    x = b.norm("/layernorm", x)
    ends = [
        b.constant(f"/head/{name}", [value]) for name, value in (("start", 1), ("end", 2**62), ("axis", 1))
    ]
    tokens = b.add("Transpose", "/head/Transpose", b.add("Slice", "/head/Slice", x, *ends), perm=[0, 2, 1])
    grid = b.add("Reshape", "/head/Reshape", tokens, b.constant("/head/Grid", [0, WIDTH, SIDE, SIDE]))
    logits = b.add("Conv", "/head/Conv", grid, b.weight("head.weight", (1, WIDTH, 1, 1)))
    b.nodes.append(helper.make_node("Sigmoid", [logits], ["saliency_map"], name="/Sigmoid"))
    graph = helper.make_graph(
        b.nodes, "tiny", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("saliency_map", TensorProto.FLOAT, None)], b.weights,
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=7), str(path))
    return path
