"""What `sample_gibbs` promises beside the right law: resuming, moments, and clear refusals."""

import numpy as np
import pytest

from padl_bayes.datasets import synthetic_a
from padl_bayes.inference import sample_gibbs

DATA = synthetic_a(0.1, n_samples=20, n_features=5, n_atoms=3, usage=0.5, seed=0)
X = DATA.X.astype(np.float32)
RUN = dict(fixed={"dictionary": DATA.dictionary}, num_chains=2, keep_codes="draws")


def test_a_run_that_is_resumed_is_one_longer_run_to_the_bit():
    whole = sample_gibbs(X, num_warmup=5, num_samples=60, **RUN)
    first = sample_gibbs(X, num_warmup=5, num_samples=20, **RUN)
    rest = sample_gibbs(X, num_samples=40, resume=first, **RUN)
    assert whole.samples["codes"].shape == (2, 60, 20, 3)
    for name, draws in whole.samples.items():
        np.testing.assert_array_equal(np.concatenate([first.samples[name], rest.samples[name]], axis=1), draws)
    assert not np.array_equal(whole.samples["codes"][0], whole.samples["codes"][1])
    codes = whole.samples["codes"].reshape(-1, 20, 3)
    np.testing.assert_allclose(whole.codes_moments["mean"], codes.mean(0), atol=1e-5)
    np.testing.assert_allclose(whole.codes_moments["sd"], codes.std(0), atol=1e-3)
    np.testing.assert_allclose(whole.codes_moments["p_used"], (codes != 0).mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(), ValueError, "n_atoms must be given"),
        (dict(n_atoms=0), ValueError, "n_atoms must be at least 1"),
        (dict(n_atoms=2, slab="laplace"), ValueError, "slab must be one of"),
        (dict(n_atoms=2, fixed={"weight": 1.0}), ValueError, "fixed must be one of"),
        (dict(n_atoms=2, fixed={"noise_scale": -1.0}), ValueError, "noise_scale"),
        (dict(n_atoms=2, num_samples=10, thinning=20), ValueError, "thinning must be at most num_samples"),
        (dict(n_atoms=2, keep_codes="all"), ValueError, "keep_codes must be one of"),
        (dict(n_atoms=64, num_samples=10**8), ValueError, r"GiB.*keep moments"),
        (dict(n_atoms=2, fixed={"dictionary": DATA.dictionary}), ValueError, "n_atoms must agree"),
    ],
)
def test_bad_input(settings, error, message):
    with pytest.raises(error, match=message):
        sample_gibbs(X, **settings)
