"""``padl demo``."""

import os

import pytest

from padl_bayes import datasets, demo
from padl_bayes.arviz_io import from_netcdf
from tests.cli.commands import planted_posterior, run

PARTS = ("em-dictionary", "em-log-odds", "em-activation", "em-usage", "em-atoms-per-sample", "em-reconstructions",
         "em-band", "em-codes", "em-history", "map-dictionary", "map-usage", "map-objective", "comparison")  # fmt: skip


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
