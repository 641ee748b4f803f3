"""The command line: files in, a folder out, one line and exit code 2 for what cannot be done."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

import padl_bayes
from padl_bayes import PADL, datasets, demo, tradeoff
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
    kept = padl_bayes.load(tmp_path / "out" / "fit.padl")
    np.testing.assert_array_equal(kept.transform(X), read["codes"])
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
    assert "Exit codes: 0 done; 1 an error" in done.output
    assert "130 interrupted" in done.output
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


def test_an_interrupt_is_a_line_and_exit_code_130(data, tmp_path, monkeypatch):
    def fit_run(X, folder, *more, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("padl_bayes.runs.fit_run", fit_run)
    done = run("fit", data, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 130
    assert done.stderr == "Interrupted: nothing was written\n"
    assert json.loads(done.stdout) == {"error": "interrupted: nothing was written"}


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


@pytest.fixture(scope="module")
def fits(tmp_path_factory, X):
    """A folder with fits in fit.padl (em) and map.padl."""
    folder = tmp_path_factory.mktemp("run")
    with patch("padl_bayes.estimator.warn_of_fit"):
        for name, method, more in (("fit", "em", {}), ("map", "map", {"alpha": (1.0, 20.0)})):
            estimator = PADL(6, method, nonnegative=True, max_iter=20, **more).fit(X)
            padl_bayes.save(estimator, folder / f"{name}.padl")
    return folder


def test_transform_writes_the_codes_of_the_fit(fits, tmp_path, X):
    np.save(tmp_path / "new.npy", X[:7])
    out = tmp_path / "codes.npy"
    for fit, rule in ((fits, "sparse"), (fits / "fit.padl", "mean"), (fits / "map.padl", "sparse")):
        done = run(
            "transform", fit, tmp_path / "new.npy", "--out", out, "--rule", rule, "--json", "--overwrite"
        )
        assert done.exit_code == 0, done.output
        found = padl_bayes.load(fits / "fit.padl" if fit == fits else fit)
        np.testing.assert_array_equal(np.load(out), found.transform(X[:7], rule=rule))
        said = json.loads(done.stdout)
        assert (said["codes"], said["shape"]) == (str(out), [7, found.n_active_])
    assert sorted(os.listdir(tmp_path)) == ["codes.npy", "new.npy"]


def test_transform_refuses_and_leaves_what_there_was(fits, tmp_path, X, monkeypatch):
    data, out = tmp_path / "new.npy", tmp_path / "codes.npy"
    np.save(data, X[:7])
    out.write_bytes(b"old")
    check_refused(run("transform", fits, data, "--out", out), str(out), "exists already")
    np.save(tmp_path / "narrow.npy", X[:7, :24])
    done = run("transform", fits, tmp_path / "narrow.npy", "--out", out, "--overwrite")
    check_refused(done, "X has 24 features", "expecting 25")
    check_refused(run("transform", fits, data, "--out", tmp_path / "codes.csv"), "must end in .npy")
    check_refused(run("transform", tmp_path, data, "--out", tmp_path / "c.npy"), "holds no fit.padl")
    check_refused(
        run("transform", data, data, "--out", tmp_path / "c.npy"), "new.npy", "no file of padl_bayes"
    )
    padl_bayes.save(padl_bayes.load(fits / "fit.padl").fit_, tmp_path / "engine.padl")
    check_refused(run("transform", tmp_path / "engine.padl", data, "--out", out), "hold a PADL, found EmFit")

    def full(file, codes, **options):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    check_refused(run("transform", fits, data, "--out", out, "--overwrite"), "no space left")
    assert out.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["codes.npy", "engine.padl", "narrow.npy", "new.npy"]


class Watch:
    """Stand-in for the progress of the sampler that counts sweeps and interrupts after so many calls."""

    def __init__(self, calls=None):
        self.calls, self.stages = calls, []

    def __call__(self, enabled, total):
        return self

    def __enter__(self):
        return self.advance

    def __exit__(self, *error):
        return None

    def advance(self, sweeps, stage, state):
        if len(self.stages) == self.calls:
            raise KeyboardInterrupt
        self.stages.append((stage, sweeps))


def test_sampling_goes_on_where_it_was_interrupted(data, tmp_path, X, monkeypatch):
    for module in ("run", "chains"):
        monkeypatch.setattr(f"padl_bayes.inference.gibbs.{module}.CHUNK", 4)

    def sample(calls, *more):
        watch = Watch(calls)
        monkeypatch.setattr("padl_bayes.inference.gibbs.run.draw_progress", watch)
        sizes = [
            "--n-atoms",
            "6",
            "--nonnegative",
            "--num-warmup",
            "8",
            "--num-samples",
            "8",
            "--num-chains",
            "2",
        ]
        return run("sample", data, "--out", tmp_path / "out", *sizes, "--quiet", *more), watch.stages

    check_refused(sample(None, "--resume")[0], "out.checkpoint", "nothing to resume")
    done, stages = sample(3)
    assert done.exit_code == 130, done.output
    # the third part was drawn and not yet saved
    assert stages == [("warm-up", 4), ("warm-up", 4), ("sampling", 4)]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Interrupted: checkpoint ")
    assert "out.checkpoint' holds 12 sweeps" in last
    assert not (tmp_path / "out").exists()
    check_refused(sample(None)[0], "out.checkpoint", "resume it, or overwrite it")
    check_refused(sample(None, "--resume", "--seed", "1")[0], "other data or settings of the fit")
    check_refused(sample(None, "--resume", "--keep-codes", "draws")[0], "keep_codes = 'moments'")
    np.save(data, X[::-1])
    check_refused(sample(None, "--resume")[0], "other data")
    np.save(data, X)
    done, stages = sample(None, "--resume")
    assert done.exit_code == 0, done.output
    assert stages == [("resumed", 12), ("sampling", 4)]
    assert sorted(os.listdir(tmp_path)) == ["data.npy", "out"]

    kept = padl_bayes.load(tmp_path / "out" / "fit.padl")
    with patch("padl_bayes.posterior.warn_of_chains"):
        whole = kept.sample_posterior(num_warmup=8, num_samples=8, num_chains=2)
    resumed = from_netcdf(tmp_path / "out" / "posterior.nc")
    assert set(resumed["posterior"]) == set(whole["posterior"])
    for name, drawn in whole["posterior"].items():
        np.testing.assert_array_equal(resumed["posterior"][name].values, drawn.values)


def test_sample_asks_the_library_for_what_it_was_asked(fits, tmp_path, monkeypatch):
    asked = {}

    def sample_posterior(self, **options):
        asked.update(options, fit=self)
        return planted_posterior(None, 0, None, None)[2]

    monkeypatch.setattr(PADL, "sample_posterior", sample_posterior)
    options = [
        "--method",
        "nuts",
        "--num-warmup",
        "3",
        "--num-samples",
        "5",
        "--num-chains",
        "2",
        "--seed",
        "7",
    ]
    done = run(
        "sample", fits, "--out", tmp_path / "out", *options, "--keep-codes", "draws", "--json", "--quiet"
    )
    assert done.exit_code == 0, done.output
    fit = asked.pop("fit")
    np.testing.assert_array_equal(fit.components_, padl_bayes.load(fits / "fit.padl").components_)
    assert not fit.progress
    assert asked == {
        "method": "nuts", "num_warmup": 3, "num_samples": 5, "num_chains": 2, "keep_codes": "draws",
        "start": "scattered", "random_state": 7, "checkpoint": None,
    }  # fmt: skip
    said = json.loads(done.stdout)
    assert said["posterior"] == str(tmp_path / "out" / "posterior.nc")
    assert Path(said["posterior"]).is_file()


def test_sample_refuses(fits, data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    check_refused(run("sample", fits, "--out", out, "--n-atoms", "8"), "n_atoms only applies to data")
    check_refused(run("sample", fits, "--out", out, "--key", "X"), "key only applies to data")
    check_refused(run("sample", fits, "--out", out, "--method", "svi", "--resume"), "resume", "method='svi'")
    check_refused(run("sample", fits, "--out", out, "--image-shape", "5x4"), "image_shape")
    check_refused(run("sample", tmp_path / "none.padl", "--out", out), "none.padl")
    with pytest.raises(ValueError, match="checkpoint goes with method='gibbs', found method='nuts'"):
        padl_bayes.load(fits / "fit.padl").sample_posterior(method="nuts", checkpoint=out)

    def sample_posterior(self, **options):
        raise ValueError("does not fit in memory")

    monkeypatch.setattr(PADL, "sample_posterior", sample_posterior)
    check_refused(run("sample", fits, "--out", out), "does not fit in memory")
    (tmp_path / "out.checkpoint").mkdir()
    (tmp_path / "out.checkpoint" / "thesis.txt").write_text("mine", encoding="utf-8")
    check_refused(run("sample", fits, "--out", out, "--overwrite"), "is no checkpoint")
    assert sorted(os.listdir(tmp_path)) == ["data.npy", "out.checkpoint"]


@pytest.mark.parametrize(("target", "kind"), [("mdl", "csv"), ("nonzeros=1", "json")])
def test_tradeoff_writes_the_points_and_the_one_chosen(fits, tmp_path, X, target, kind):
    out = tmp_path / "out"
    done = run("tradeoff", fits, "--out", out, "--target", target, "--format", kind, "--json", "--quiet")
    assert done.exit_code == 0, done.output
    fit = padl_bayes.load(fits / "fit.padl")
    point = tradeoff.operating_point(fit, target if target == "mdl" else ("nonzeros", 1.0), X=X)
    chosen = json.loads((out / "point.json").read_text("utf-8"))
    assert json.loads(done.stdout)["point"] == chosen
    assert chosen["alpha"] == list(point.alpha)
    assert chosen["bytes"] == point.bits / 8
    assert chosen["atoms"] == point.atoms.tolist()
    if kind == "json":
        rows = json.loads((out / "frontier.json").read_text("utf-8"))
    else:
        with open(out / "frontier.csv", encoding="utf-8", newline="") as file:
            rows = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    by_weights = {(row["alpha1"], row["alpha2"]): row for row in rows}
    found = tradeoff.frontier(fit, X=X)
    for i in range(0, len(found.alpha), 9):
        row = by_weights[tuple(found.alpha[i].tolist())]
        assert row["bytes"] == found.bits[i] / 8
        assert row["stored_rmse"] == found.stored_rmse[i]
    assert by_weights[point.alpha]["description_length"] == point.description_length
    best = [row for row in rows if row["pareto"]]
    for row in rows:
        beaten = any(o["bytes"] <= row["bytes"] and o["stored_rmse"] < row["stored_rmse"] for o in rows)
        assert not (row in best and beaten)
        assert row in best or beaten or any(o["stored_rmse"] == row["stored_rmse"] for o in best)
    assert (out / "tradeoff-frontier.png").is_file()
    assert "Tradeoff" in (out / "report.html").read_text("utf-8")


def test_tradeoff_fits_data_first_and_refuses(fits, data, tmp_path):
    out = tmp_path / "out"
    check_refused(run("tradeoff", fits / "map.padl", "--out", out), "fitted by method='em'")
    check_refused(run("tradeoff", fits, "--out", out, "--target", "rmse=1e-9"), "out of reach")
    for target in ("best", "rmse=-1", "rmse=x", "speed=2"):
        done = run("tradeoff", fits, "--out", out, "--target", target)
        assert done.exit_code == 2
        assert "is not like mdl|rmse=E|bytes=B|nonzeros=S|active=K" in done.stderr
    done = run(
        "tradeoff", data, "--out", out, "--n-atoms", "6", "--nonnegative", "--target", "active=2", "--quiet"
    )
    assert done.exit_code == 0, done.output
    assert json.loads((out / "point.json").read_text("utf-8"))["active"] <= 2
    check_refused(run("tradeoff", data, "--out", out), "exists already")


def test_bench_runs_the_checkout_or_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["padl_bayes.cli.bench"], "ROOT", tmp_path)
    check_refused(run("bench"), "not with the installed package", "clone the repository")
    (tmp_path / "benchmarks").mkdir()
    for name in ("pyproject.toml", "benchmarks/__init__.py"):
        (tmp_path / name).touch()
    lines = (
        "import sys, pathlib",
        "pathlib.Path('ran').write_text(' '.join(sys.argv[1:]))",
        "sys.exit('bad' in sys.argv)",
    )
    (tmp_path / "benchmarks" / "__main__.py").write_text("\n".join(lines), encoding="utf-8")
    done = run("bench", "synthetic", "--quick", "--json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "ran").read_text("utf-8") == "synthetic --quick"
    assert json.loads(done.stdout)["folder"] == str(tmp_path / "benchmarks" / "results")
    assert run("bench", "bad").exit_code == 1


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
