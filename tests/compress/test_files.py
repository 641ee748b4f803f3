"""Weights of networks in files: what is read, what comes back, what is refused."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

import padl_bayes as pb
from padl_bayes.cli import main
from padl_bayes.compress import compress_weights, load_weights, read_layers, save_weights
from padl_bayes.compress import weights as compression
from padl_bayes.compress.calibration import root_of, second_moment, weighted_error
from padl_bayes.compress.packing import dense
from padl_bayes.compress.weights import METHODS
from padl_bayes.runs.compress import compress_tokens_run, with_mean

pytest.importorskip("constriction")
safetensors = pytest.importorskip("safetensors.numpy")
NAMES = ("block.0.in.weight", "block.1.in.weight", "block.0.out.weight")


@pytest.fixture(scope="module")
def weights():
    """Rows that are sparse in a dictionary, and a transposed one."""
    rng, found = np.random.default_rng(0), {}
    for name in NAMES:
        codes = np.where(rng.random((120, 10)) < 0.2, rng.laplace(size=(120, 10)), 0)
        W = (codes @ rng.standard_normal((10, 16)) + 0.02 * rng.standard_normal((120, 16))).astype(np.float32)
        found[name] = W.T.copy() if "out" in name else W
    return found


@pytest.fixture(scope="module")
def given(weights):
    rng = np.random.default_rng(1)
    return {
        name: (rng.standard_normal((400, W.shape[1])) * np.geomspace(0.2, 3, W.shape[1])).astype(np.float32)
        for name, W in weights.items()
    }


@pytest.fixture
def network(tmp_path, weights):
    path = tmp_path / "model.safetensors"
    safetensors.save_file(
        weights | {"block.0.in.bias": np.ones(120, np.float32), "ids": np.ones((2, 3), np.int64)}, path
    )
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["compress", *map(str, arguments)])


def refused(done, *words):
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_keeps_to_the_bytes_and_comes_back_bit_for_bit(method, weights, given, tmp_path):
    found = compress_weights(weights, 0.2, activations=given, methods=[method])
    size = sum(option.size for option in found.values())
    total = sum(W.nbytes for W in weights.values())
    assert size <= 0.2 * total
    path = save_weights(found, tmp_path / "w", turned=[NAMES[0]])
    assert path.stat().st_size < size + 400
    again = load_weights(path)
    for name, W in weights.items():
        back = again[name].T if name == NAMES[0] else again[name]
        assert back.tobytes() == dense(found[name].packed).tobytes()
        root = root_of(second_moment(given[name]))
        whole = weighted_error(W, 0 * W, root)
        assert found[name].loss == pytest.approx(weighted_error(W, back, root) / whole)
        # 6.4 bits an entry: every method is near
        assert found[name].loss < 0.02


def test_sparse_weights_take_fewer_bytes_as_codes_than_rounded(weights, given):
    total = {
        method: sum(
            o.loss for o in compress_weights(weights, 0.1, activations=given, methods=[method]).values()
        )
        for method in ("padl", "rounding")
    }
    assert total["padl"] < 0.7 * total["rounding"]
    best = compress_weights(weights, 0.1, activations=given)
    assert sum(o.loss for o in best.values()) <= 1.0001 * min(total.values())


def test_importance_moves_bytes_to_what_matters(weights, given):
    first = NAMES[0]
    even = compress_weights(weights, 0.1, activations=given, methods=["rounding"])
    other = compress_weights(
        weights,
        0.1,
        activations=given,
        methods=["rounding"],
        importance={first: 100.0, NAMES[1]: 1.0, NAMES[2]: 1.0},
    )
    assert other[first].loss < even[first].loss
    assert other[NAMES[1]].loss > even[NAMES[1]].loss


def test_the_bytes_are_kept_to_where_coding_takes_more_than_counted(weights, monkeypatch):
    usual, total = compression.encode, sum(W.nbytes for W in weights.values())
    monkeypatch.setattr(compression, "encode", lambda packed: usual(packed) + bytes(200))
    for share in np.linspace(0.1, 0.3, 6):
        found = compress_weights(weights, share, methods=["rounding"])
        assert sum(o.size for o in found.values()) <= share * total


def test_moments_stand_for_activations(weights, given):
    moments = {name: second_moment(X) for name, X in given.items()}
    one = compress_weights(weights, 0.1, activations=given, methods=["rounding"])
    two = compress_weights(weights, 0.1, moments=moments, methods=["rounding"])
    assert [o.size for o in one.values()] == [o.size for o in two.values()]


def test_bad_input_is_refused(weights, given):
    name = NAMES[0]
    W = weights[name]
    with pytest.raises(ValueError, match="share must be"):
        compress_weights(weights, 1.5)
    with pytest.raises(ValueError, match="budget must be at least"):
        compress_weights(weights, 0.001, activations=given, methods=["rounding"])
    with pytest.raises(ValueError, match="at least one each"):
        compress_weights({}, 0.5)
    with pytest.raises(ValueError, match="methods must be one of"):
        compress_weights(weights, 0.5, methods=["zip"])
    with pytest.raises(ValueError, match=r"activations.* must have 16 columns.* found 7"):
        compress_weights({name: W}, 0.5, activations={name: np.ones((9, 7))})
    with pytest.raises(ValueError, match=r"activations must be of layers to compress.* found 'other'"):
        compress_weights({name: W}, 0.5, activations={"other": np.ones((9, 16))})
    with pytest.raises(ValueError, match="NaN"):
        compress_weights({name: W}, 0.5, activations={name: np.full((9, 16), np.nan)})
    with pytest.raises(ValueError, match=r"weights\['a'\].*NaN"):
        compress_weights({"a": np.where(np.eye(4), np.nan, 1.0)}, 0.5)


def test_damaged_files_and_others_are_refused(weights, tmp_path):
    found = compress_weights({NAMES[0]: weights[NAMES[0]]}, 0.2, methods=["plain rounding"])
    path = save_weights(found, tmp_path / "w")
    data = path.read_bytes()
    with pytest.raises(FileExistsError):
        save_weights(found, path)
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "none")
    for i in (5, 30, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        with pytest.raises(ValueError, match=r"'.*w' (cannot be read: it is damaged|has format)"):
            load_weights(path)
    path.write_bytes(b"something else altogether")
    with pytest.raises(ValueError, match="holds no compressed weights"):
        load_weights(path)


def test_onnx_weights_are_turned_where_the_graph_has_them_turned(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 6), (3, 6)))
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["y"]),
        helper.make_node("Gemm", ["y", "second"], ["z"], transB=1),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, n])]
        for name, n in (("x", 4), ("z", 3))
    )
    tensors = [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, tensors)), path)
    found, turned = read_layers(path, ["*"])
    np.testing.assert_array_equal(found["first"], first.T)
    np.testing.assert_array_equal(found["second"], second)
    assert turned == {"first"}
    out = tmp_path / "out"
    done = run(path, "--out", out, "--layers", "*", "--bytes", "0.95", "--method", "rounding")
    refused(done, "bytes must be above")  # two layers this small are less than what names them
    save_weights(compress_weights(found, 0.9, methods=["rounding"]), out, turned=turned)
    again = load_weights(out)
    assert again["first"].shape == (4, 6)
    np.testing.assert_allclose(again["first"], first, atol=0.5)
    (tmp_path / "broken.onnx").write_bytes(b"no")
    refused(run(tmp_path / "broken.onnx", "--out", tmp_path / "o", "--layers", "*"), "no readable onnx file")


def test_the_command_compresses_layers_and_leaves_the_network_alone(network, tmp_path, weights, given):
    before = hashlib.sha256(network.read_bytes()).hexdigest()
    np.savez(tmp_path / "acts.npz", **given)
    out = tmp_path / "small.padlw"
    options = [
        "--layers",
        "block.*.in.weight",
        "--calibration",
        tmp_path / "acts.npz",
        "--bytes",
        "0.2",
        "--json",
    ]
    done = run(network, "--out", out, *options)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["bytes"] == out.stat().st_size <= 0.2 * 2 * weights[NAMES[0]].nbytes
    assert said["share"] <= 0.2
    again = load_weights(out)
    assert list(again) == [layer["name"] for layer in said["layers"]] == list(NAMES[:2])
    for layer in said["layers"]:
        W, X = weights[layer["name"]].astype(float), given[layer["name"]].astype(float)
        error = np.sum((X @ (W - again[layer["name"]]).T) ** 2) / np.sum((X @ W.T) ** 2)
        assert layer["error"] == pytest.approx(error, rel=0.05)  # but for the ridge
    for share in np.linspace(0.1, 0.3, 12):
        tight = ["--layers", "block.*.in.weight", "--method", "rounding", "--bytes", share, "--overwrite"]
        assert run(network, "--out", out, *tight).exit_code == 0
        assert out.stat().st_size <= share * 2 * weights[NAMES[0]].nbytes
    refused(run(network, "--out", out, *options), "exists already")
    assert run(network, "--out", out, "--overwrite", *options).exit_code == 0
    refused(run(network, "--out", network, "--overwrite", *options), "another file")
    assert hashlib.sha256(network.read_bytes()).hexdigest() == before


def test_the_command_says_what_is_wrong(network, tmp_path, given):
    out = tmp_path / "out"
    layer = ["--layers", NAMES[0]]
    refused(run(network, "--out", out), "--layers")
    refused(run(network, "--out", out, "--layers", "block.7.*"), "'block.7.*'", *NAMES)
    refused(run(network, "--out", out, *layer, "--bytes", "0"), "bytes must be above")
    refused(run(network, "--out", out, *layer, "--n-atoms", "4"), "n_atoms only applies to tokens")
    refused(run(tmp_path / "none.safetensors", "--out", out, *layer), "does not exist")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    refused(run(tmp_path / "broken.safetensors", "--out", out, *layer), "no readable safetensors file")
    (tmp_path / "model.bin").write_bytes(b"no")
    refused(run(tmp_path / "model.bin", "--out", out), ".npy, .safetensors or .onnx")
    for name, X, words in (
        ("wide", given[NAMES[0]][:, :7], ("16 columns", "7")),
        ("nan", np.where(np.eye(400, 16), np.nan, 1.0), ("NaN",)),
    ):
        np.savez(tmp_path / f"{name}.npz", **{NAMES[0]: X})
        refused(
            run(network, "--out", out, *layer, "--calibration", tmp_path / f"{name}.npz"), NAMES[0], *words
        )
    np.savez(tmp_path / "others.npz", **{NAMES[1]: given[NAMES[1]]})
    refused(
        run(network, "--out", out, *layer, "--calibration", tmp_path / "others.npz"),
        "an array for each layer", NAMES[1], NAMES[0],
    )  # fmt: skip
    refused(run(network, "--out", tmp_path / "no" / "out", *layer), "does not exist")
    assert not out.exists()


def test_tokens_far_from_zero_are_stored_as_those_about_it(tmp_path):
    X = pb.datasets.bars(n_samples=60, seed=0).X.astype(np.float64)
    shift = np.linspace(-30, 50, X.shape[1])
    said = []
    for name, tokens in (("near", X), ("far", X + shift)):
        out = tmp_path / name
        said.append(compress_tokens_run(pb.PADL(20, random_state=0), tokens, "tokens", out))
        stored = pb.load(out)
        again = stored.codes @ stored.dictionary
        assert said[-1]["rmse"] == pytest.approx(np.sqrt(np.mean((tokens - again) ** 2)), rel=1e-9)
        # what is lost has the mean of the tokens' codes less that of their rounded ones, not that of the tokens
        assert np.abs((tokens - again).mean()) < stored.step / 10
    near, far = said
    # the mean is rounded to a multiple of a step over the root of 60: a 720th of its square a feature
    assert far["rmse"] == pytest.approx(near["rmse"], rel=0.02)
    assert (far["atoms"], far["nonzeros"]) == (near["atoms"], near["nonzeros"])
    assert far["bytes"] - near["bytes"] < 3 * X.shape[1]
    with pytest.raises(ValueError, match="subtract it first"):
        with_mean(stored, shift * 1e9)


def test_the_command_compresses_tokens(tmp_path):
    X = pb.datasets.bars(n_samples=60, seed=0).X.astype(np.float32)
    np.save(tmp_path / "tokens.npy", X)
    before = (tmp_path / "tokens.npy").read_bytes()
    out = tmp_path / "tokens.padl"
    done = run(tmp_path / "tokens.npy", "--out", out, "--n-atoms", "8", "--max-iter", "60", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    stored = pb.load(out)
    assert said["bytes"] == out.stat().st_size < 0.2 * X.nbytes
    error = X - stored.codes @ stored.dictionary
    assert said["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert said["explained"] == pytest.approx(1 - np.sum(error**2) / np.sum(X.var(axis=0) * len(X)), rel=1e-4)
    # the first atom is the mean, the same half a step of it in every token
    assert (stored.codes[:, 0] == stored.step / 2).all()
    rounding = 0.5001 * stored.step / np.sqrt(len(X))
    np.testing.assert_allclose(
        stored.codes[0, 0] * stored.dictionary[0], X.mean(axis=0), rtol=0, atol=rounding
    )
    assert said["nonzeros"] == np.mean((stored.codes[:, 1:] != 0).sum(axis=1))
    assert (tmp_path / "tokens.npy").read_bytes() == before
    refused(run(tmp_path / "tokens.npy", "--out", out), "exists already")
    refused(
        run(tmp_path / "tokens.npy", "--out", tmp_path / "o", "--bytes", "0.5"),
        "bytes only applies to a network",
    )
    np.save(tmp_path / "nan.npy", np.where(np.eye(*X.shape), np.nan, X))
    refused(run(tmp_path / "nan.npy", "--out", tmp_path / "o"), "NaN", "[0, 0]")
