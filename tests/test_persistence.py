"""Files give back what was saved to the bit, are never half written, execute nothing, and say so when damaged."""

import io
import json
import os
import time
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import padl_bayes as pb
from padl_bayes import _files, posterior
from padl_bayes._files import SEAL_SIZE, UNFINISHED, seal, write_whole
from padl_bayes.persistence import archive
from padl_bayes.persistence.kinds import ESTIMATORS, RECORDS
from tests.golden import objects
from tests.oracles.planted_posterior import group_names
from tests.same import assert_same

GOLDEN = sorted(objects.FOLDER.glob("v*/*.padl"))
RECORD_OF_ALL_SORTS = objects.records()["SviFit"]


def saved(obj, tmp_path, name="file.padl"):
    return pb.load(pb.save(obj, tmp_path / name, overwrite=True))


def same_posterior(found, wanted):
    assert group_names(found) == group_names(wanted)
    for group in group_names(wanted):
        one, other = found[group], wanted[group]
        if hasattr(one, "to_dataset"):
            one, other = one.to_dataset(), other.to_dataset()
        assert one.identical(other)


@pytest.mark.parametrize("kind", sorted(RECORDS | ESTIMATORS))
def test_every_kind_comes_back_to_the_bit(kind, tmp_path):
    obj = objects.records()[kind]
    assert_same(saved(obj, tmp_path), obj)
    assert os.listdir(tmp_path) == ["file.padl"]


def test_a_posterior_comes_back_as_arviz_has_it(tmp_path):
    data = objects.posterior()
    same_posterior(saved(data, tmp_path), data)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_files_of_every_version_still_load(path):
    found = pb.load(path)
    if path.stem == "posterior":
        same_posterior(found, objects.posterior())
    elif path.stem.startswith("stored"):
        wanted = objects.stored(path.stem.endswith("nonnegative"))
        assert_same(found.codes, wanted.codes)
        assert_same(found.dictionary, wanted.dictionary)
        assert (found.step, found.nonnegative) == (wanted.step, wanted.nonnegative)
        np.testing.assert_allclose(found.storage, wanted.storage, rtol=1e-12)
    else:
        assert_same(found, objects.records()[path.stem])


def test_there_is_a_golden_file_for_every_kind_of_this_version():
    here = {path.stem for path in GOLDEN if path.parent.name == f"v{archive.FORMAT_VERSION}"}
    assert here >= set(RECORDS | ESTIMATORS) | {"stored", "stored_nonnegative", "posterior"}


def em_estimator():
    """As `PADL.fit` leaves it that was given a table."""
    made = objects.estimator()
    made._X = pd.DataFrame(made._X, columns=made.feature_names_in_)
    return made


def map_estimator(dtype=np.float64):
    arrays = {name: v.astype(dtype) for name, v in objects.map_fit()._asdict().items() if hasattr(v, "shape")}
    made = pb.PADL(3, method="map", alpha=(0.125, 0.0))
    made._adopt(objects.map_fit()._replace(**arrays))
    made._X, made._mask = objects.numbers(objects.N, objects.P, dtype=dtype), None
    made.operating_point_ = objects.records()["Point"]
    return made


@pytest.mark.parametrize(
    "make",
    [em_estimator, map_estimator, lambda: map_estimator(np.float32)],
    ids=["em", "map", "map in float32"],
)
def test_an_estimator_goes_on_with_the_same_numbers(make, tmp_path, monkeypatch):
    fitted = make()
    X = objects.numbers(30, objects.P)
    if hasattr(fitted, "feature_names_in_"):
        X = pd.DataFrame(X, columns=fitted.feature_names_in_)
    found = saved(fitted, tmp_path)
    assert found.get_params() == fitted.get_params()
    assert set(vars(found)) == set(vars(fitted))
    for attribute in set(vars(fitted)) - {"_X"}:
        assert_same(getattr(found, attribute), getattr(fitted, attribute), attribute)
    assert found.components_ is found.fit_.dictionary
    codes = fitted.transform(X)
    assert codes.any()
    assert_same(found.transform(X), codes)
    assert_same(found.inverse_transform(codes), fitted.inverse_transform(codes))
    assert found.score(X) == fitted.score(X)
    requests = []
    monkeypatch.setattr(posterior, "sample", lambda method, request: requests.append(request))
    fitted.sample_posterior()
    found.sample_posterior()
    assert_same(requests[1], requests[0])


def test_an_estimator_without_a_fit_keeps_its_parameters(tmp_path):
    est = pb.PADL(7, method="map", alpha=("rmse", np.float32(0.5)), devices="all")
    found = saved(est, tmp_path)
    assert_same(found.get_params(), est.get_params())
    with pytest.raises(pb.NotFittedError):
        found.transform(np.ones((2, 2)))


def test_arrays_open_with_numpy_alone_and_keep_their_order(tmp_path):
    fit = objects.em()._replace(dictionary=np.asfortranarray(objects.numbers(3, 5)))
    path = pb.save(fit, tmp_path / "fit.npz")
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["dictionary"], fit.dictionary)
        assert json.loads(file["header.json"])["kind"] == "EmFit"
    assert pb.load(path).dictionary.flags.f_contiguous


ARRAYS = st.sampled_from(["f2", "f4", "f8", ">f8", "i1", "i8", "u4", "?", "U3"]).flatmap(
    lambda dtype: hnp.arrays(
        np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    )
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**80), 2**80), st.floats(), st.text(), ARRAYS,
    st.floats(width=32).map(np.float32), st.booleans().map(np.bool_), st.integers(0, 2**64 - 1).map(np.uint64),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tree=TREES)
@example(tree=(np.uint64(2**63 + 1), -0.0, float("-inf"), 2**70))
@example(tree={"a b": np.ones(1), "a_b": np.zeros(2)})
def test_whatever_is_in_a_result_comes_back(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    wanted = RECORD_OF_ALL_SORTS._replace(settings=tree)
    assert_same(saved(wanted, folder), wanted)


def test_arrays_of_jax_come_back_as_numpy(tmp_path):
    state = objects.gibbs().state._replace(i=jnp.arange(3, dtype=jnp.int32))
    found = saved(state, tmp_path)
    assert_same(found.i, np.arange(3, dtype=np.int32))
    assert jax.random.uniform(found.rng_key[0]) == jax.random.uniform(state.rng_key[0])


class Other(tuple):
    """Nothing of ours."""


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"a": 1}, "obj must be a posterior of ArviZ, Stored or one of Alignment, .* found dict"),
        (Other(), "found Other"),
        (objects.em()._replace(history={"x": Other()}), r"obj\.history\.x is of type Other"),
        (objects.em()._replace(history={1: 2}), r"obj\.history is of type dict"),
        (objects.em()._replace(codes=np.array([None])), r"obj\.codes is an array of dtype object"),
        (objects.em()._replace(elbo=1j), r"obj\.elbo is of type complex"),
        (pb.PADL(devices=[jax.devices()[0]]), r"obj\.devices\.0 is of type .*Device"),
    ],
)
def test_what_files_do_not_hold_is_refused_before_there_is_a_file(obj, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        pb.save(obj, tmp_path / "file.padl")
    assert os.listdir(tmp_path) == []


def test_a_subclass_under_our_name_is_refused(tmp_path):
    with pytest.raises(TypeError, match="found PADL"):
        pb.save(type("PADL", (pb.PADL,), {})(), tmp_path / "file.padl")


def test_files_that_exist_are_kept_unless_told(tmp_path):
    path = tmp_path / "file.padl"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"file\.padl' exists already; pass another one or overwrite"):
        pb.save(objects.em(), path)
    assert path.read_text() == "mine"
    pb.save(objects.em(), path, overwrite=True)
    assert_same(pb.load(str(path)), objects.em())
    with pytest.raises(FileExistsError, match="is a folder"):
        pb.save(objects.em(), tmp_path, overwrite=True)
    with pytest.raises(FileNotFoundError, match="lies in a folder that does not exist"):
        pb.save(objects.em(), tmp_path / "nowhere" / "file.padl")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_write_that_stops_in_the_middle_leaves_the_old_file_and_nothing_else(error, tmp_path, monkeypatch):
    path = pb.save(objects.map_fit(), tmp_path / "file.padl")
    written = np.lib.format.write_array

    def stops(file, array, **options):
        if array.dtype.kind == "U":
            raise error("the disk is full")
        written(file, array, **options)

    monkeypatch.setattr(np.lib.format, "write_array", stops)
    with pytest.raises(error):
        pb.save(objects.em(), path, overwrite=True)
    assert os.listdir(tmp_path) == ["file.padl"]
    assert_same(pb.load(path), objects.map_fit())


def test_a_file_gets_its_name_when_all_of_it_is_on_disk(tmp_path, monkeypatch):
    steps, replaced = [], os.replace
    monkeypatch.setattr(_files.os, "fsync", lambda descriptor: steps.append(os.fstat(descriptor).st_size))

    def replace(source, target):
        steps.append(os.path.getsize(source))
        assert Path(source).parent == Path(target).parent
        assert_same(pb.load(source), objects.em())
        replaced(source, target)

    monkeypatch.setattr(_files.os, "replace", replace)
    path = pb.save(objects.em(), tmp_path / "file.padl")
    assert steps == [path.stat().st_size] * 2


def damage(data, draw):
    """One byte changed, or an end cut off."""
    position = draw(st.integers(0, len(data) - 1))
    if draw(st.booleans()):
        return data[:position]
    changed = bytearray(data)
    changed[position] ^= draw(st.integers(1, 255))
    return bytes(changed)


@pytest.mark.parametrize("name", ["PADL", "EmFit", "stored"])
@settings(max_examples=80, deadline=None, derandomize=True)
@given(draw=st.data())
def test_any_damage_is_seen(name, draw, tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "fit.padl"
    path.write_bytes(damage((objects.FOLDER / "v1" / f"{name}.padl").read_bytes(), draw.draw))
    with pytest.raises(ValueError, match=r"path '.*fit\.padl' "):
        pb.load(path)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(draw=st.data())
def test_damage_to_a_posterior_is_seen_or_does_no_harm(draw, tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "posterior.nc"
    data = (objects.FOLDER / "v1" / "posterior.padl").read_bytes()
    damaged = damage(data, draw.draw)
    path.write_bytes(damaged)
    body = len(data) - SEAL_SIZE
    if damaged[:body] == data[:body]:
        # of the digest behind the netCDF the first bytes say that there is one
        try:
            same_posterior(pb.load(path), objects.posterior())
        except ValueError as error:
            assert "is damaged" in str(error)  # noqa: PT017
        return
    with pytest.raises(ValueError, match=r"path '.*posterior\.nc' "):
        pb.load(path)


def sealed(path, header, **arrays):
    """A whole file with this header and these members."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("header.json", header if isinstance(header, str) else json.dumps(header))
        for name, data in arrays.items():
            file.writestr(f"{name}.npy", data)
        file.comment = bytes(SEAL_SIZE)
    seal(path)
    return path


def header(content, version=1, package="9.9"):
    return {
        "format": "padl_bayes",
        "format_version": version,
        "padl_bayes_version": package,
        "content": content,
    }


SPARSE = dict(objective=1.0, gap=0.0, n_iter=1, status="")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            header(None, 2),
            "format version 2, written by padl_bayes 9.9, expected at most 1; update padl_bayes",
        ),
        (header({"record": "Sparse", "fields": {}}), "unknown kind 'Sparse', expected one of Alignment, "),
        (header({"estimator": "SparseCode", "params": {}, "fitted": {}}), "unknown kind 'SparseCode'"),
        (header({"record": "SparseCode", "fields": SPARSE | {"codes": None, "new": 1}}), "no field 'new'"),
        (
            header({"record": "SparseCode", "fields": SPARSE}),
            "missing 1 required positional argument: 'codes'",
        ),
        (header({"estimator": "PADL", "params": {}, "fitted": {"fit": 1}}), "takes no attribute 'fit'"),
        (header({"array": "codes"}), "cannot be read: 'codes'"),
        (header({"os.system": "true"}), "cannot be read: 'os.system'"),
        (header({}), "cannot be read"),
        (header("[" * 3) | {"format": "other"}, "format 'other', expected 'padl_bayes'"),
        ("[" * 100_000, "cannot be read"),
        ("{}", "cannot be read: 'format'"),
        ("\0", "cannot be read"),
    ],
)
def test_whole_files_that_are_not_understood_say_why(text, message, tmp_path):
    path = sealed(tmp_path / "file.padl", text)
    with pytest.raises(ValueError, match=message) as caught:
        pb.load(path)
    assert str(path) in str(caught.value)


class Harm:
    """What a pickle would run."""

    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


def test_loading_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    member = io.BytesIO()
    np.lib.format.write_array(member, np.array([Harm()], dtype=object), allow_pickle=True)
    path = sealed(tmp_path / "file.padl", header({"array": "codes"}), codes=member.getvalue())
    with pytest.raises(ValueError, match=r"file\.padl' cannot be read: Object arrays"):
        pb.load(path)
    assert not (tmp_path / "harm").exists()


def test_what_is_no_file_of_ours_is_named(tmp_path):
    path = tmp_path / "file.npz"
    with pytest.raises(FileNotFoundError, match=r"file\.npz' is no file"):
        pb.load(path)
    with pytest.raises(ValueError, match="is no file but a folder"):
        pb.load(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"file\.npz' is empty"):
        pb.load(path)
    path.write_text("sample,feature\n")
    with pytest.raises(ValueError, match=r"file\.npz' is no file of padl_bayes\.save"):
        pb.load(path)
    np.savez(path, X=np.ones(3))
    with pytest.raises(ValueError, match=r"file\.npz' is no file of padl_bayes\.save"):
        pb.load(path)


def test_what_a_killed_run_left_goes_after_a_day(tmp_path):
    abandoned, begun, folder = (tmp_path / f"{UNFINISHED}{digit * 16}" for digit in "a1f")
    other = tmp_path / f"{UNFINISHED}notes"
    for path in (abandoned, begun, other):
        path.write_bytes(b"part")
    folder.mkdir()
    now = time.time()
    for path, hours in ((abandoned, 24.1), (begun, 23.9), (folder, 99), (other, 99)):
        os.utime(path, (now, now - 3600 * hours))
    write_whole(tmp_path / "whole", lambda path: path.write_bytes(b"all"))
    assert {path.name for path in tmp_path.iterdir()} == {"whole", begun.name, folder.name, other.name}
