"""``padl transform``."""

import json
import os

import numpy as np

import padl_bayes
from tests.cli.commands import check_refused, run


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
