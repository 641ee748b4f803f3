"""A run that is stopped and started again is the run that was not stopped, to the bit."""

import json

import numpy as np
import pytest

from padl_bayes.datasets import synthetic_a
from padl_bayes.inference import sample_gibbs
from padl_bayes.inference.gibbs import checkpoint as module
from padl_bayes.inference.gibbs.checkpoint import Checkpoint

DATA = synthetic_a(0.1, n_samples=20, n_features=5, n_atoms=3, usage=0.5, seed=0)
X = DATA.X.astype(np.float32)
RUN = dict(n_atoms=4, num_chains=2, num_warmup=60, num_samples=120, random_state=3)


class Stopped(BaseException):
    """As Ctrl-C or a kill would: nothing after it runs."""


@pytest.fixture(scope="module")
def whole():
    return sample_gibbs(X, **RUN)


def stop_at(monkeypatch, count):
    """Stop when the ``count``-th file is about to take its name."""
    seen = []
    replace = module.Path.replace

    def stop(path, target):
        seen.append(path)
        if len(seen) == count:
            raise Stopped
        return replace(path, target)

    monkeypatch.setattr(module.Path, "replace", stop)


def check_same(drawn, whole):
    for found, wanted in ((drawn.samples, whole.samples), (drawn.codes_moments, whole.codes_moments)):
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    np.testing.assert_array_equal(drawn.alignment.permutation, whole.alignment.permutation)
    np.testing.assert_array_equal(drawn.alignment.dictionary, whole.alignment.dictionary)


# settings, two states of the warm-up, the reference, then a part and a state for each 50 draws
@pytest.mark.parametrize("count", [1, 3, 4, 5, 6, 7, 8])
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_bit(count, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, count)
        with pytest.raises(Stopped):
            sample_gibbs(X, checkpoint=tmp_path / "run", **RUN)
    check_same(sample_gibbs(X, checkpoint=tmp_path / "run", **RUN), whole)


def test_a_finished_run_is_read_and_can_be_made_longer(whole, tmp_path):
    sample_gibbs(X, checkpoint=tmp_path, **RUN | {"num_samples": 50})
    check_same(sample_gibbs(X, checkpoint=tmp_path, **RUN), whole)
    check_same(sample_gibbs(X, checkpoint=tmp_path, **RUN), whole)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    sample_gibbs(X, checkpoint=folder, **RUN | {"num_samples": 50})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["settings.json", "state.npz", "part-0000.npz"])
def test_a_damaged_file_is_named(name, saved, tmp_path):
    for other, content in saved.items():
        (tmp_path / other).write_bytes(content[:50] if other == name else content)
    with pytest.raises(ValueError, match=rf"{name}.* is damaged"):
        sample_gibbs(X, checkpoint=tmp_path, **RUN)


def test_another_run_is_not_gone_on_with(saved, tmp_path):
    for name, content in saved.items():
        (tmp_path / name).write_bytes(content)
    for change, what in (({"random_state": 4}, "random_state = 3"), ({"num_warmup": 61}, "num_warmup = 60")):
        with pytest.raises(ValueError, match=what):
            sample_gibbs(X, checkpoint=tmp_path, **RUN | change)
    with pytest.raises(ValueError, match="data = "):
        sample_gibbs(X + 1, checkpoint=tmp_path, **RUN)
    settings = json.loads(saved["settings.json"]) | {"format": 99}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="format 99, newer than 1"):
        sample_gibbs(X, checkpoint=tmp_path, **RUN)
    assert {path.name for path in tmp_path.iterdir()} == saved.keys()


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=r"no settings\.json"):
        Checkpoint(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
