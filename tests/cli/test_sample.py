"""``padl sample``, interrupted and resumed."""

import json
import os
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import padl_bayes
from padl_bayes import PADL
from padl_bayes.arviz_io import from_netcdf
from tests.cli.commands import Watch, check_refused, planted_posterior, run


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
    check_refused(sample(None)[0], "out.checkpoint", "--resume", "--overwrite")
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
