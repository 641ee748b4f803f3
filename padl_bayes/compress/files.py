"""Compressed weights in a file, and weights out of safetensors and ONNX files.

A file is the magic ``PADW``, a version, the length of a JSON header and the header, the bytes of `.packing` of one
layer after another, and a CRC-32 of all of it. It holds the layers named and nothing else of the network.
"""

import fnmatch
import json
import struct
from pathlib import Path

import numpy as np

from padl_bayes._files import CHECKSUM_SIZE, with_checksum, without_checksum, write_whole
from padl_bayes.compress._extra import optional
from padl_bayes.compress.packing import decode, dense, encode

FORMAT_VERSION = 1
MAGIC = b"PADW"
LISTED = 12
_HEAD = struct.Struct("<4sBI")
SUFFIXES = (".safetensors", ".onnx")


def save_weights(options, path, *, turned=(), overwrite=False):
    """Write what `compress_weights` returns.

    Parameters
    ----------
    options : dict of str to Option
    path : str or os.PathLike
    turned : collection of str
        Layers whose weights are (in, out) in the file that they come from, and that `load_weights` turns back.
    overwrite : bool

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileExistsError, FileNotFoundError
        ``path`` cannot be written.
    """
    blobs = {name: encode(option.packed) for name, option in options.items()}
    layers = [{"name": name, "size": len(blob), "turned": name in turned} for name, blob in blobs.items()]
    header = json.dumps({"layers": layers}).encode()
    body = b"".join([_HEAD.pack(MAGIC, FORMAT_VERSION, len(header)), header, *blobs.values()])
    return write_whole(path, lambda file: file.write_bytes(with_checksum(body)), overwrite=overwrite)


def load_weights(path):
    """Read a file of `save_weights`.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    dict of str to ndarray
        Weights in float32, in the shapes that they had in the file that they come from.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is something else, damaged or of a newer version; the message names it.
    ImportError
        constriction is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path {str(path)!r} is no file")
    data = path.read_bytes()
    if len(data) < _HEAD.size + CHECKSUM_SIZE or not data.startswith(MAGIC):
        raise ValueError(f"path {str(path)!r} holds no compressed weights")
    try:
        body = without_checksum(data)
    except ValueError as error:
        raise ValueError(f"path {str(path)!r} cannot be read: {error}") from None
    _, version, length = _HEAD.unpack_from(body)
    if version > FORMAT_VERSION:
        raise ValueError(
            f"path {str(path)!r} has format version {version}, expected at most {FORMAT_VERSION}; update padl_bayes"
        )
    start = _HEAD.size + length
    found = {}
    for layer in json.loads(body[_HEAD.size : start])["layers"]:
        weight = dense(decode(body[start : start + layer["size"]]))
        found[layer["name"]] = np.ascontiguousarray(weight.T) if layer["turned"] else weight
        start += layer["size"]
    return found


def read_layers(path, patterns):
    """Weights of linear layers of a safetensors or ONNX file, which is only read.

    Parameters
    ----------
    path : str or os.PathLike
    patterns : sequence of str
        Names, with ``*`` and ``?`` for any characters.

    Returns
    -------
    dict of str to ndarray, shape (out, in)
    set of str
        Names of those that are (in, out) in the file: the second factor of ONNX's MatMul, or of a Gemm that does not
        turn it.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Another kind of file, an unreadable one, or a pattern that no matrix in it matches.
    ImportError
        safetensors or onnx is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"file {str(path)!r} does not exist")
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"file {str(path)!r} must end in {' or '.join(SUFFIXES)}")
    names, read, turned = (_safetensors if path.suffix.lower() == SUFFIXES[0] else _onnx)(path)
    chosen: dict = {}
    for pattern in patterns:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            listed = ", ".join(names[:LISTED]) + (
                f" and {len(names) - LISTED} more" if names[LISTED:] else ""
            )
            raise ValueError(
                f"layers {pattern!r} is no matrix in {path.name}; there are {listed or 'no matrices at all'}"
            )
        chosen |= dict.fromkeys(matching)
    weights = {name: read(name) for name in chosen}
    return {name: w.T if name in turned else w for name, w in weights.items()}, turned & set(weights)


def _safetensors(path):
    safetensors = optional("safetensors", f"reading {path.name}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            names = [
                name
                for name, part in slices.items()
                if len(part.get_shape()) == 2 and part.get_dtype() in ("F16", "F32", "F64")
            ]
    except safetensors.SafetensorError as error:
        raise ValueError(f"file {str(path)!r} is no readable safetensors file: {error}") from error

    def read(name):
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)

    return names, read, set()


def _onnx(path):
    onnx = optional("onnx", f"reading {path.name}")
    try:
        graph = onnx.load(path).graph
    except Exception as error:
        raise ValueError(f"file {str(path)!r} is no readable onnx file: {error}") from error
    real = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    tensors = {t.name: t for t in graph.initializer if len(t.dims) == 2 and t.data_type in real}
    turned = set()
    for node in graph.node:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not transposed):
            turned |= {name for name in node.input[1:2] if name in tensors}
    return list(tensors), lambda name: onnx.numpy_helper.to_array(tensors[name]), turned
