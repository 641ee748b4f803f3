"""Files and folders that commands read."""

import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from padl_bayes.reading import read_matrix, read_patches
from tests.cli.commands import check_refused, run, save_image


def write(path, X):
    header = ",".join(f"pixel {i}" for i in range(X.shape[1]))
    if path.name == "plain.csv":
        np.savetxt(path, X, delimiter=",", fmt="%.17g")
    elif path.suffix == ".csv":
        np.savetxt(path, X, delimiter=",", fmt="%.17g", header=header, comments="\ufeff", encoding="utf-8")
    elif path.name == "one.npz":
        np.savez(path, images=X)
    elif path.suffix == ".npz":
        np.savez(path, images=X, labels=np.arange(3))
    elif path.suffix == ".parquet":
        pd.DataFrame(X, columns=[f"pixel {i}" for i in range(X.shape[1])]).to_parquet(path)
    else:
        np.save(path, X)


@pytest.mark.parametrize("name", ["a.npy", "plain.csv", "header.csv", "one.npz", "two.npz", "a.parquet"])
def test_every_kind_of_file_is_read(name, tmp_path, X):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    write(tmp_path / name, X)
    key = "images" if name == "two.npz" else None
    np.testing.assert_array_equal(read_matrix(tmp_path / name, key), X)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"no")
    if sys.modules.get("pyarrow", True):
        check_refused(run("fit", tmp_path / "a.parquet", "--out", tmp_path / "out"), "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("fit", tmp_path / "a.parquet", "--out", tmp_path / "out")
    check_refused(done, "needs pandas and pyarrow: pip install 'padl-bayes[parquet]'")


def test_patches_are_all_there_are_where_few_are(pictures):
    X = read_patches(pictures, (5, 7), 1000)
    expected = []
    for name in ("a.png", "b.PNG"):
        pixels = np.asarray(Image.open(pictures / name)) / 255
        for i in range(pixels.shape[0] - 4):
            for j in range(pixels.shape[1] - 6):
                patch = pixels[i : i + 5, j : j + 7].ravel()
                expected.append(patch - patch.mean())
    assert len(X) == len(expected) == 36 + 32
    np.testing.assert_allclose(sorted(map(tuple, X)), sorted(map(tuple, expected)), rtol=0, atol=1e-15)
    fewer = read_patches(pictures, (5, 7), 10, seed=3)
    np.testing.assert_array_equal(fewer, read_patches(pictures, (5, 7), 10, seed=3))
    assert {tuple(row) for row in fewer} <= {tuple(row) for row in X}
    assert len({tuple(row) for row in fewer}) <= 10
    assert not np.array_equal(fewer, read_patches(pictures, (5, 7), 10, seed=4))


def test_deep_and_coloured_images_become_grey(tmp_path):
    deep = (np.arange(16, dtype=np.uint16) * 4000).reshape(4, 4)
    save_image(tmp_path / "deep.png", deep)
    whole = deep.ravel() / deep.max()
    np.testing.assert_allclose(read_patches(tmp_path, (4, 4)), (whole - whole.mean())[None], atol=1e-15)
    (tmp_path / "deep.png").unlink()
    red = np.zeros((4, 4, 3), np.uint8)
    red[0, :, 0] = 255
    save_image(tmp_path / "red.png", red)
    grey = np.where(np.arange(16) < 4, 76 / 255, 0)  # 0.299 of 255
    np.testing.assert_allclose(read_patches(tmp_path, (4, 4)), (grey - grey.mean())[None], atol=1e-3)


def test_folders_without_usable_images_are_refused(pictures, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    check_refused(run("fit", tmp_path / "empty", "--out", out), "empty", "has no images", ".png")
    check_refused(run("fit", pictures, "--out", out, "--patch-shape", "11x3"), "a.png", "10x12", "11x3")
    check_refused(run("fit", pictures, "--out", out, "--key", "X"), "only applies to .npz")
    (pictures / "c.jpg").write_bytes(b"no")
    check_refused(run("fit", pictures, "--out", out), "c.jpg", "no readable image")
    np.save(tmp_path / "X.npy", np.eye(4))
    check_refused(
        run("fit", tmp_path / "X.npy", "--out", out, "--patch-shape", "2x2"), "patch_shape", "folder"
    )
    assert not out.exists()


def test_unreadable_files_are_refused_in_one_line(tmp_path, X):
    out = tmp_path / "out"

    def refused(name, *words, options=()):
        check_refused(run("fit", tmp_path / name, "--out", out, "--quiet", *options), *words)
        assert not out.exists()

    refused("missing.npy", "missing.npy", "does not exist")
    (tmp_path / "data.txt").write_text("1,2\n", encoding="utf-8")
    refused("data.txt", ".npy, .npz, .csv, .parquet")
    np.save(tmp_path / "whole.npy", X)
    (tmp_path / "half.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:700])
    refused("half.npy", "half.npy", "no readable npy file")
    np.savez(tmp_path / "whole.npz", X=X)
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:700])
    refused("half.npz", "half.npz", "no readable npz file")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    refused("objects.npy", "objects.npy", "no readable npy file", "save numbers, as X.astype(float)")
    (tmp_path / "names.csv").write_text(",a,b\nfirst,1,2\n", encoding="utf-8")
    refused("names.csv", "names.csv", "'first'", "leave out names of rows")
    (tmp_path / "ragged.csv").write_text("1,2\n3\n", encoding="utf-8")
    refused("ragged.csv", "ragged.csv", "no readable csv file")
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    refused("empty.csv", "empty.csv", "no readable csv file")
    np.savez(tmp_path / "two.npz", a=X, b=X)
    refused("two.npz", "holds a, b", "--key")
    refused("two.npz", "holds a, b, not 'c'", options=["--key", "c"])
    refused("whole.npy", "only applies to .npz", options=["--key", "c"])
