"""``padl report``."""

import numpy as np

from padl_bayes.arviz_io import from_netcdf, to_arviz, to_netcdf
from tests.cli.commands import check_refused, run


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
    again = run("report", tmp_path / "out", "--out", tmp_path / "of a folder")
    assert again.exit_code == 0, again.output
    check_refused(run("report", tmp_path, "--out", tmp_path / "new"), "posterior.nc")
    (tmp_path / "broken.nc").write_bytes(b"no")
    check_refused(run("report", tmp_path / "broken.nc", "--out", tmp_path / "new"), "broken.nc")
    check_refused(run("report", tmp_path / "none.nc", "--out", tmp_path / "new"), "none.nc")
