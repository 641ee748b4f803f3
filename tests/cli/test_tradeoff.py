"""``padl tradeoff``."""

import csv
import json

import pytest

import padl_bayes
from padl_bayes import tradeoff
from tests.cli.commands import check_refused, run


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
    assert f"--alpha {point.alpha[0]:.6g} {point.alpha[1]:.6g}: " in done.stderr
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
