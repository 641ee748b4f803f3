"""The examples in the help of the commands, run as they stand, in one folder, one after the other."""

import json
import os

import numpy as np
import pytest

import padl_bayes
from padl_bayes import datasets
from padl_bayes.arviz_io import from_netcdf
from tests.cli.commands import Watch, examples_of, planted_posterior, run, save_image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the examples read."""
    folder = tmp_path_factory.mktemp("examples")
    np.save(folder / "X.npy", datasets.bars(n_samples=40, seed=0).X)
    rng = np.random.default_rng(0)
    np.savetxt(
        folder / "digits.csv", rng.exponential(size=(30, 64)) * (rng.random((30, 64)) < 0.3), delimiter=","
    )
    (folder / "photographs").mkdir()
    save_image(folder / "photographs" / "a.png", rng.integers(0, 256, (20, 17), dtype=np.uint8))
    padl_bayes.save(planted_posterior(None, 0, None, None)[2], folder / "draws.nc")
    return folder


def check(example, folder):
    done = run(*example)
    assert done.exit_code == 0, f"{' '.join(example)}: {done.output}"
    out = folder / example[example.index("--out") + 1]
    assert out.is_file() or (out / "report.html").is_file()
    return done


def remove(path):
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def test_examples_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    first, *others = examples_of("fit")
    for example in others:
        done = check(example, folder)
        remove(folder / "run")
    assert json.loads(done.stdout.splitlines()[-1])["command"] == "fit"
    check(first, folder)
    for command in ("transform", "report", "tradeoff"):
        for example in examples_of(command):
            check(example, folder)
            if command == "tradeoff":
                remove(folder / "tradeoff")
    assert len(np.load("codes.npy")) == 40


def test_examples_of_sample_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    if not os.path.exists("run"):
        check(examples_of("fit")[0], folder)
    of_fit, of_data, resumed = examples_of("sample")
    assert resumed == [*of_data, "--resume"]
    check(of_fit, folder)
    remove(folder / "posterior")
    with monkeypatch.context() as patch:
        patch.setattr("padl_bayes.inference.gibbs.run.draw_progress", Watch(15))
        done = run(*of_data)
    assert done.exit_code == 130, done.output
    check(resumed, folder)
    assert from_netcdf("posterior/posterior.nc")["posterior"].sizes["draw"] == 2000
