"""MAP, sparse coding and Gibbs, whose rows of codes go over all samples, on several devices and in processes."""

import jax
import numpy as np
import pytest

import padl_bayes as pb
from padl_bayes.inference import sample_gibbs
from tests.inference import on_devices

# Places for atoms squared; chains, places and features. Far below the samples of one of eight devices.
ALLOWED = {name: 256 for name in ("sparse", "lasso", "sparse_float32", "maximum", "fixed_map")}
ALLOWED |= {name: 100 for name in ("gibbs", "gibbs_masked", "gibbs_enveloped")}


def slow(*settings):
    return pytest.param(*settings, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "devices", "processes"),
    [
        ("sparse", 4, 1),
        slow("sparse", 2, 2),
        slow("lasso", 8, 1),
        slow("sparse_float32", 8, 1),
        slow("maximum", 8, 1),
        slow("maximum", 2, 2),
        slow("fixed_map", 8, 1),
        slow("gibbs", 8, 1),
        slow("gibbs", 1, 2),
        slow("gibbs_masked", 4, 1),
        slow("gibbs_enveloped", 8, 1),
    ],
)
def test_devices_change_nothing_but_rounding_and_exchange_what_is_sized_by_atoms(
    name, devices, processes, tmp_path, figure
):
    on_devices.check(figure, tmp_path, name, devices, processes, ALLOWED[name])


@pytest.mark.slow
def test_a_checkpoint_goes_on_on_other_devices(tmp_path):
    X = pb.datasets.synthetic_a(0.1, n_samples=53, n_features=4, n_atoms=2, usage=0.5, seed=0).X
    options = dict(num_chains=2, num_warmup=6)
    whole = sample_gibbs(X, 2, num_samples=6, **options)
    sample_gibbs(X, 2, num_samples=3, checkpoint=tmp_path / "run", devices=1, **options)
    resumed = sample_gibbs(X, 2, num_samples=6, checkpoint=tmp_path / "run", **options)
    for name, values in whole.samples.items():
        np.testing.assert_allclose(resumed.samples[name], values, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(resumed.codes_moments["mean"], whole.codes_moments["mean"], rtol=1e-9)


def test_several_processes_get_one_clear_error_for_what_they_cannot_do(monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    X = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="checkpoint needs one process, found 2"):
        sample_gibbs(X, 2, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"devices must hold some of every process, found none of \[1\]"):
        pb.sparse_code(X, np.eye(3), 0.1, 0.1, devices=1)
