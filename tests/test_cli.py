"""The command line: files in, a folder out, one line and exit code 2 for what cannot be done."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

import padl_bayes
from padl_bayes import PADL, datasets, demo
from padl_bayes.arviz_io import from_netcdf, to_arviz, to_netcdf
from padl_bayes.cli import main
from padl_bayes.exceptions import AtomBoundWarning, warn
from padl_bayes.reading import read_matrix, read_patches

PARTS = ("em-dictionary", "em-log-odds", "em-activation", "em-usage", "em-atoms-per-sample", "em-reconstructions",
         "em-band", "em-codes", "em-history", "map-dictionary", "map-usage", "map-objective", "comparison")  # fmt: skip
SETTINGS = ["--quiet", "--n-atoms", "8", "--method", "map", "--alpha", "1.0", "20.0", "--max-iter", "20"]


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def X():
    return datasets.bars(n_samples=60, seed=0).X


@pytest.fixture
def data(tmp_path, X):
    np.save(tmp_path / "data.npy", X)
    return tmp_path / "data.npy"


def check_refused(done, *words):
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]


def test_fit_writes_what_the_estimator_finds(data, tmp_path, X):
    done = run("fit", data, "--out", tmp_path / "out", *SETTINGS, "--held-out", "0.2", "--image-shape", "5x5")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "out" / "report.html")
    train = datasets.split(X, 0.2, seed=0).train
    expected = PADL(8, "map", alpha=(1.0, 20.0), max_iter=20).fit
    with pytest.warns(padl_bayes.ConvergenceWarning):
        estimator = expected(train)
    assert estimator.status_ in done.stderr
    read = {name: np.load(tmp_path / "out" / f"{name}.npy") for name in ("components", "codes", "usage")}
    np.testing.assert_array_equal(read["components"], estimator.components_)
    np.testing.assert_array_equal(read["codes"], estimator.transform(X))
    np.testing.assert_array_equal(read["usage"], estimator.usage_)
    assert (tmp_path / "out" / "fit-dictionary.png").is_file()


def test_fit_by_em_writes_log_odds(data, tmp_path):
    options = ["--quiet", "--n-atoms", "16", "--nonnegative", "--max-iter", "100", "--held-out", "0"]
    done = run("fit", data, "--out", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    odds = np.load(tmp_path / "out" / "activation_log_odds.npy")
    assert odds.shape == (len(np.load(tmp_path / "out" / "components.npy")),)


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


def save_image(path, pixels):
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pictures(tmp_path):
    """Two pictures whose pixels are all different, a note beside them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    save_image(folder / "a.png", np.arange(120, dtype=np.uint8).reshape(10, 12))
    save_image(folder / "b.PNG", np.arange(120, 240, dtype=np.uint8).reshape(12, 10))
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


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


def test_a_folder_of_images_is_fitted_and_said_in_json(pictures, tmp_path):
    options = ["--patch-shape", "3x5", "--n-patches", "60", "--held-out", "0", "--json", *SETTINGS[:-1], "2"]
    done = run("fit", pictures, "--out", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["report"] == str(tmp_path / "out" / "report.html")
    assert (said["command"], said["version"]) == ("fit", padl_bayes.__version__)
    assert said["status"] in done.stderr
    assert np.load(tmp_path / "out" / "components.npy").shape[1] == 15
    assert np.load(tmp_path / "out" / "codes.npy").shape[0] == 60


def test_refusals_in_json(tmp_path):
    done = run("fit", tmp_path / "none.npy", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 2
    assert "none.npy" in json.loads(done.stdout)["error"]
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_shows_an_example_that_is_understood(command):
    done = run(command, "--help")
    assert done.exit_code == 0
    examples = [line.split() for line in done.output.splitlines() if line.startswith("    padl ")]
    assert examples
    for _, name, *arguments in examples:
        assert name == command
        main.commands[name].make_context(name, arguments)


def test_help_tells_exit_codes_and_completion_works():
    done = run("--help")
    assert "Exit codes: 0 done; 1 interrupted" in done.output
    for shell in ("bash", "zsh", "fish"):
        assert f"_PADL_COMPLETE={shell}_source padl" in done.output
        environment = {"_PADL_COMPLETE": f"{shell}_source"}
        script = CliRunner().invoke(main, [], prog_name="padl", env=environment)
        # bash is asked for its version, and need not be there
        assert script.exit_code == 0 or shell == "bash"
        assert shell == "bash" or "padl" in script.output
    words = {"COMP_WORDS": "padl f", "COMP_CWORD": "1", "_PADL_COMPLETE": "bash_complete"}
    assert CliRunner().invoke(main, [], prog_name="padl", env=words).output.strip() == "plain,fit"


def test_warnings_of_the_package_are_lines(data, tmp_path, monkeypatch):
    def fit_run(X, folder, *more, **options):
        warn("raise n_atoms", AtomBoundWarning)
        return Path(folder) / "report.html", "converged"

    monkeypatch.setattr("padl_bayes.runs.fit_run", fit_run)
    done = run("fit", data, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == ["Warning: raise n_atoms", "converged"]


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
    refused("objects.npy", "objects.npy", "no readable npy file")
    (tmp_path / "ragged.csv").write_text("1,2\n3\n", encoding="utf-8")
    refused("ragged.csv", "ragged.csv", "no readable csv file")
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    refused("empty.csv", "empty.csv", "no readable csv file")
    np.savez(tmp_path / "two.npz", a=X, b=X)
    refused("two.npz", "holds a, b", "--key")
    refused("two.npz", "holds a, b, not 'c'", options=["--key", "c"])
    refused("whole.npy", "only applies to .npz", options=["--key", "c"])


def test_unusable_data_and_settings_are_refused_in_one_line(data, tmp_path, X):
    out = tmp_path / "out"
    np.save(tmp_path / "nan.npy", np.where(np.eye(*X.shape), np.nan, X))
    np.save(tmp_path / "flat.npy", np.ones((4, 4)))
    np.save(tmp_path / "line.npy", np.ones(4))
    for name, words in {"nan": ("NaN", "[0, 0]"), "flat": ("constant",), "line": ("2 dimensions",)}.items():
        check_refused(run("fit", tmp_path / f"{name}.npy", "--out", out), *words)
    check_refused(run("fit", data, "--out", out, "--image-shape", "5x4"), "image_shape", "20", "25")
    check_refused(run("fit", data, "--out", out, "--alpha", "1", "2", "--quiet"), "alpha must be None")
    check_refused(run("fit", data, "--out", out, "--held-out", "1.5"), "held_out")
    check_refused(run("fit", data, "--out", tmp_path / "no" / "out"), "does not exist")
    assert not out.exists()
    out.mkdir()
    check_refused(run("fit", data, "--out", out), str(out), "exists already")
    check_refused(run("demo", "--out", out), str(out), "exists already")
    assert os.listdir(out) == []
    with pytest.raises(FileExistsError):
        CliRunner().invoke(main, ["demo", "--out", str(out), "--debug"], catch_exceptions=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit"],
        ["fit", "x.npy", "--out", "o", "--image-shape", "8"],
        ["fit", "x.npy", "--out", "o", "--seed", "-1"],
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Error: " in done.stderr.splitlines()[-1]


def test_report_on_a_posterior(tmp_path):
    rng = np.random.default_rng(0)
    D = rng.normal(size=(2, 30, 3, 25))
    samples = {
        "dictionary": D / np.linalg.norm(D, axis=3, keepdims=True),
        "noise_scale": rng.uniform(size=(2, 30)),
    }
    drawn = to_arviz(samples, X=rng.normal(size=(6, 25)))
    to_netcdf(drawn, tmp_path / "draws.nc")
    done = run("report", tmp_path / "draws.nc", "--out", tmp_path / "out", "--image-shape", "5x5")
    assert done.exit_code == 0, done.output
    copied = from_netcdf(tmp_path / "out" / "posterior.nc")
    np.testing.assert_array_equal(copied["posterior"]["noise_scale"].values, samples["noise_scale"])
    assert "2 chains of 30 draws" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    (tmp_path / "broken.nc").write_bytes(b"no")
    check_refused(run("report", tmp_path / "broken.nc", "--out", tmp_path / "new"), "broken.nc")
    check_refused(run("report", tmp_path / "none.nc", "--out", tmp_path / "new"), "none.nc")


def planted_posterior(size, seed, console, progress):
    rng = np.random.default_rng(seed)
    D = rng.normal(size=(2, 30, 3, 64))
    samples = {
        "dictionary": D / np.linalg.norm(D, axis=3, keepdims=True),
        "codes": rng.normal(size=(2, 30, 6, 3)),
    }
    posterior = to_arviz(samples, X=rng.normal(size=(6, 64)), attrs={"wall_time": 1.0})
    return np.ones((6, 64)), SimpleNamespace(n_active_=3), posterior


def test_the_demo_writes_all_that_it_promises(tmp_path, monkeypatch, X):
    """On one small data set, the sampler apart: `test_the_whole_demo` is slow."""
    job = demo.Job("Bars", "bars", datasets.split(X, seed=0), (5, 5))
    monkeypatch.setattr(demo, "jobs", lambda size, seed: [job])
    monkeypatch.setattr(demo, "_sample", planted_posterior)
    monkeypatch.setattr(
        demo, "QUICK", demo.QUICK._replace(n_atoms=8, tol=1e-2, map_iterations=5, spams_iterations=2)
    )
    done = run("demo", "--out", tmp_path / "out", "--quick", "--quiet")
    assert done.exit_code == 0, done.output
    written = set(os.listdir(tmp_path / "out"))
    assert {f"bars-{part}.png" for part in PARTS} <= written
    assert {"posterior-dictionary.png", "posterior-band.png", "posterior-codes.png"} <= written
    posterior = from_netcdf(tmp_path / "out" / "posterior.nc")["posterior"]
    assert posterior["dictionary"].shape == (2, 30, 3, 64)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "48 + 12 bars" in page
    for method in ("PADL EM", "PADL MAP", "scikit-learn MiniBatchDictionaryLearning", "SPAMS trainDL"):
        assert method in page
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.slow
def test_the_whole_demo(tmp_path):
    done = run("demo", "--out", tmp_path / "out", "--quick", "--quiet")
    assert done.exit_code == 0, done.output
    written = set(os.listdir(tmp_path / "out"))
    assert {f"{name}-{part}.png" for name in ("patches", "digits") for part in PARTS} <= written
    posterior = from_netcdf(tmp_path / "out" / "posterior.nc")["posterior"]
    assert posterior["dictionary"].shape[:2] == (2, 20)
    assert "160 + 40 natural patches and 160 + 40 digits" in (tmp_path / "out" / "report.html").read_text(
        "utf-8"
    )


def test_python_m_padl_bayes_is_the_command():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "padl_bayes", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"padl, version {padl_bayes.__version__}\n", "")
