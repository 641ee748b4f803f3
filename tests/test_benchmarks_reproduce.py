"""What the papers claim, and images restored, at toy size."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

import padl_bayes as pb
from benchmarks import _asked, _claims, _images, reproduce


def quiet(text):
    pass


def test_a_page_of_a_toy(tmp_path):
    r = reproduce.main(["--quick", "--out", str(tmp_path)])["toy"]
    page = (tmp_path / "reproduce.md").read_text(encoding="utf-8")
    (row,) = r["rows"]
    assert f"| 25 | {row['found']:.2f} | {row['noisy']:.2f} | {row['this package']:.2f} |" in page
    # A crop of sky: all take most of the noise out.
    assert min(row["this package"], *row["scikit-learn, OMP"], row["non-local means"]) > row["noisy"] + 10
    assert (tmp_path / "reproduce_toy.png").stat().st_size > 1000


def test_psnr_is_that_of_scikit_image():
    clean = _images.load("camera", 32)
    found = clean + np.random.default_rng(0).normal(0, 9, clean.shape)
    expected = peak_signal_noise_ratio(clean.astype(np.float64), np.clip(found, 0, 255), data_range=255)
    assert _images.psnr(found, clean) == pytest.approx(expected, rel=1e-12)


def test_a_toy_of_inpainting():
    part = reproduce.Spoilt("inpainting", "camera", (0.5,), 400, n_atoms=8, side=32)
    r = reproduce.run(part, None, quiet) | {"machine": "a machine"}
    (row,) = r["rows"]
    assert row["this package"] > 30
    line = f"| 50% | {row['this package']:.2f} | {row['biharmonic']:.2f} |"
    assert line in reproduce.section("inpainting", r)
    assert reproduce.draw("inpainting", r).axes[0].get_xlabel() == "missing"


@pytest.mark.slow
def test_a_toy_of_claims():
    part = reproduce.Claims(lambda: pb.datasets.bars(80, seed=0).X, 16, max_iter=100, spams_iter=5, n_grid=3)
    r = reproduce.run(part, None, quiet) | {"machine": "a machine"}
    ours = r["scores"][0]
    assert ours["method"] == "PADL EM"
    assert ours["n_atoms"] == r["active"]["PADL EM"] <= 16
    assert r["grid"]["pairs"] == 9
    assert r["grid"]["best"] <= r["grid"]["at point"]
    text = reproduce.section("digits", r)
    best = min(s["rmse_held_out"] for s in r["scores"] if not s["method"].startswith("PADL"))
    change = ours["rmse_held_out"] / best - 1
    verdict = "holds" if change <= -0.2 else "does not hold"
    assert f"codes of any kind: {change:+.0%}, {verdict}." in text
    assert reproduce.draw("digits", r).axes[0].get_xlabel() == "RMSE, held-out"


def test_verdicts_follow_the_figures():
    score = {"coding": "lasso", "n_atoms": 5, "nonzeros_held_out": 2.0, "rmse_held_out": 1.0}
    rows = [score | {"method": "PADL EM", "rmse_held_out": 0.7}, score | {"method": "other"}]
    result = {
        "scores": rows, "grid": None, "allowed": 64, "active": {"PADL EM": 5, "PADL MAP, mdl": 7}, "features": 3,
        "samples": [2, 1], "status": "s", "machine": "m",
    }  # fmt: skip
    text = _claims.section_claims("x", result)
    assert "with lasso codes: -30%, holds." in text
    assert "PADL EM: 5 of 64, holds." in text
    assert "PADL MAP, mdl: 7 of 64, does not hold." in text
    assert _asked.error_over_lasso(result) == (0.7, None, None)
    assert _asked.share_of_atoms(result) == (5 / 64, None, None)


def test_decibels_are_above_the_best_of_a_rival():
    rows = [{"this package": 30.0, "other": [27.0, 29.0]}, {"this package": 28.0, "other": [28.5, 24.0]}]
    assert _asked.decibels_above("other")({"rows": rows}) == (-0.5, -0.5, 1.0)
    rows[1]["other"] = None
    assert _asked.decibels_above("other")({"rows": rows}) is None
