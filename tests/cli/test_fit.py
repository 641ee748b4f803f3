"""``padl fit``: data in, a folder out."""

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

import padl_bayes
from padl_bayes import PADL, datasets
from padl_bayes.cli import main
from padl_bayes.cli._data import read_source
from padl_bayes.runs import image_shape_of
from tests.cli.commands import SETTINGS, check_refused, run


def test_fit_writes_what_the_estimator_finds(data, tmp_path, X):
    done = run("fit", data, "--out", tmp_path / "out", *SETTINGS, "--held-out", "0.2", "--image-shape", "5x5")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "out" / "report.html")
    train = datasets.split(X, 0.2, seed=0).train
    expected = PADL(8, "map", alpha=(1.0, 20.0), max_iter=20).fit
    with pytest.warns(padl_bayes.ConvergenceWarning):
        estimator = expected(train)
    assert f"{len(train)} samples of 25 features ({len(X) - len(train)} more held out): " in done.stderr
    assert f"{estimator.n_active_} active atoms, noise scale {estimator.noise_scale_:.4g}" in done.stderr
    assert estimator.status_ in done.stderr
    read = {name: np.load(tmp_path / "out" / f"{name}.npy") for name in ("components", "codes", "usage")}
    np.testing.assert_array_equal(read["components"], estimator.components_)
    np.testing.assert_array_equal(read["codes"], estimator.transform(X))
    np.testing.assert_array_equal(read["usage"], estimator.usage_)
    kept = padl_bayes.load(tmp_path / "out" / "fit.padl")
    np.testing.assert_array_equal(kept.transform(X), read["codes"])
    assert (tmp_path / "out" / "fit-dictionary.png").is_file()
    options = dict(reading={}, fitting={}, seed=0, progress=False)
    assert read_source(tmp_path / "out", image_shape=None, **options)[2] == (5, 5)
    assert read_source(tmp_path / "out", image_shape=(1, 25), **options)[2] == (1, 25)


def test_fit_by_em_writes_log_odds(data, tmp_path):
    options = ["--quiet", "--n-atoms", "16", "--nonnegative", "--max-iter", "100", "--held-out", "0"]
    done = run("fit", data, "--out", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert image_shape_of(tmp_path / "out") is None
    odds = np.load(tmp_path / "out" / "activation_log_odds.npy")
    assert odds.shape == (len(np.load(tmp_path / "out" / "components.npy")),)


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
    check_refused(run("fit", data, "--out", out), str(out), "exists already", "--overwrite")
    check_refused(run("demo", "--out", out), str(out), "exists already", "--overwrite")
    assert os.listdir(out) == []
    with pytest.raises(FileExistsError):
        CliRunner().invoke(main, ["demo", "--out", str(out), "--debug"], catch_exceptions=False)
