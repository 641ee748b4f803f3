"""The command line: files in, a folder out, one line and exit code 2 for what cannot be done."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import padl_bayes
from padl_bayes import PADL, datasets, demo
from padl_bayes.arviz_io import from_netcdf, to_arviz, to_netcdf
from padl_bayes.cli import main, read_matrix

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
    else:
        np.save(path, X)


@pytest.mark.parametrize("name", ["a.npy", "plain.csv", "header.csv", "one.npz", "two.npz"])
def test_every_kind_of_file_is_read(name, tmp_path, X):
    write(tmp_path / name, X)
    key = "images" if name == "two.npz" else None
    np.testing.assert_array_equal(read_matrix(tmp_path / name, key), X)


def test_unreadable_files_are_refused_in_one_line(tmp_path, X):
    out = tmp_path / "out"

    def refused(name, *words, options=()):
        check_refused(run("fit", tmp_path / name, "--out", out, "--quiet", *options), *words)
        assert not out.exists()

    refused("missing.npy", "missing.npy", "does not exist")
    (tmp_path / "data.txt").write_text("1,2\n", encoding="utf-8")
    refused("data.txt", ".npy, .npz or .csv")
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
