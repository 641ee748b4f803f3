"""Files keep a posterior whole, are never half written, and say so when they cannot be read."""

import os
import subprocess
import sys

import numpy as np
import pytest

from padl_bayes import _arviz
from padl_bayes.arviz_io import from_netcdf, load_arviz, to_arviz, to_netcdf
from tests.oracles.planted_posterior import P, group_names, planted, values

az = load_arviz()


@pytest.fixture(scope="module")
def example():
    scrambled, extras, _, truth = planted()
    attrs = {"seed": 7, "hyperparameters": {"a": 1.0, "b": [1, 2]}, "wall_time": 1.5}
    return to_arviz(scrambled, **extras, reference=truth, keep_raw=True, attrs=attrs)


def test_file_gives_back_every_value_dimension_label_and_attribute(tmp_path):
    scrambled, extras, _, truth = planted()
    attrs = {
        "seed": np.uint32(3),
        "flag": True,
        "nothing": None,
        "grid": np.arange(3),
        "text": "a b",
        "nested": {},
    }
    attrs |= {"big": 2**70, "real": np.float32(0.5), "table": {"x": np.float32(1.0), "y": np.arange(2)}}
    labels = {"feature": [f"channel {i}" for i in range(P)]}
    data = to_arviz(scrambled, **extras, reference=truth, keep_raw=True, attrs=attrs, coords=labels)
    path = to_netcdf(data, tmp_path / "posterior.nc")
    assert os.listdir(tmp_path) == ["posterior.nc"]
    back = from_netcdf(path)
    path.write_bytes(b"gone")
    assert type(back) is type(data)
    assert group_names(back) == group_names(data)
    for group in group_names(data):
        assert set(back[group].data_vars) == set(data[group].data_vars)
        for name in data[group].data_vars:
            before, after = data[group][name], back[group][name]
            assert before.dims == after.dims
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(before.values, after.values)
            for dim in before.dims:
                assert list(before[dim].values) == list(after[dim].values)
    assert dict(back.attrs) == dict(data.attrs)
    assert (back.attrs["seed"], back.attrs["flag"], back.attrs["nothing"]) == (3, "true", "null")
    assert (back.attrs["grid"], back.attrs["text"], back.attrs["real"]) == ("[0, 1, 2]", "a b", 0.5)
    assert (back.attrs["big"], back.attrs["table"]) == (str(2**70), '{"x": 1.0, "y": [0, 1]}')


def test_arviz_itself_opens_the_file(example, tmp_path):
    path = to_netcdf(example, tmp_path / "posterior.nc")
    opened = az.from_netcdf(str(path))
    np.testing.assert_array_equal(
        values(opened, "posterior", "dictionary"), values(example, "posterior", "dictionary")
    )
    opened.close()


def test_files_that_exist_are_kept_unless_told(example, tmp_path):
    path = tmp_path / "posterior.nc"
    path.write_text("mine")
    with pytest.raises(
        FileExistsError, match=r"posterior\.nc' exists already; pass another one or overwrite=True"
    ):
        to_netcdf(example, path)
    assert path.read_text() == "mine"
    to_netcdf(example, path, overwrite=True)
    assert "posterior" in group_names(from_netcdf(path))
    with pytest.raises(FileNotFoundError, match="lies in a folder that does not exist; create it first"):
        to_netcdf(example, tmp_path / "nowhere" / "posterior.nc")
    with pytest.raises(TypeError, match="data must be what to_arviz returns, found dict"):
        to_netcdf({}, tmp_path / "other.nc")


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(example, tmp_path, monkeypatch):
    path = tmp_path / "posterior.nc"
    path.write_text("old")

    def interrupted(data, unfinished):
        unfinished.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(_arviz, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        to_netcdf(example, path, overwrite=True)
    assert os.listdir(tmp_path) == ["posterior.nc"]
    assert path.read_text() == "old"


def test_files_that_cannot_be_read_are_described(example, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"nothing\.nc' is no file"):
        from_netcdf(tmp_path / "nothing.nc")
    path = tmp_path / "posterior.nc"
    path.write_text("not netCDF")
    with pytest.raises(
        ValueError, match=r"posterior\.nc' is no readable netCDF file, expected one of to_netcdf"
    ):
        from_netcdf(path)
    to_netcdf(example, path, overwrite=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"posterior\.nc' is no readable netCDF file"):
        from_netcdf(path)
    path.write_bytes(whole)
    monkeypatch.setattr(_arviz, "FORMAT_VERSION", 0)
    with pytest.raises(ValueError, match="has format version 1, expected at most 0: update padl_bayes"):
        from_netcdf(path)


def test_loading_arviz_is_quiet_on_a_machine_that_never_saw_it(tmp_path):
    code = "from padl_bayes.arviz_io import load_arviz; print(load_arviz().__version__)"
    shown = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert shown.stdout.strip() == az.__version__
    assert shown.stderr == ""
