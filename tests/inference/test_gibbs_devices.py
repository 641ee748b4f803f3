"""A chain is the same whatever the number of devices."""

import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
import jax, numpy as np
from padl_bayes.datasets import synthetic_a
from padl_bayes.inference import sample_gibbs

name, n_devices, slab, known, method = sys.argv[1:]
assert len(jax.devices()) == int(n_devices)
data = synthetic_a(0.1, n_samples=23, n_features=5, n_atoms=3, usage=0.5, seed=0)
fixed = {"dictionary": data.dictionary} if known == "known" else None
run = dict(num_chains=4, num_warmup=10, num_samples=10, keep_codes="draws", chain_method=method)
draws = sample_gibbs(data.X, 3, slab=slab, fixed=fixed, **run)
np.savez(name, **draws.samples)
"""
SLOW = [
    pytest.param(*settings, marks=pytest.mark.slow)
    for settings in (
        ("bernoulli_laplace", "known", "vectorized"),
        ("bernoulli_laplace", "unknown", "sequential"),
        ("bernoulli_gaussian", "unknown", "sequential"),
        ("l1linf", "unknown", "sequential"),
    )
]


def draws_on(n_devices, path, *settings):
    flags = f"--xla_force_host_platform_device_count={n_devices} " + os.environ.get("XLA_FLAGS", "")
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), str(n_devices), *settings]
    subprocess.run(command, env=env, check=True, timeout=600)
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize(
    ("slab", "dictionary", "method"),
    [("bernoulli_laplace", "known", "sequential"), *SLOW],
)
def test_chains_do_not_depend_on_the_number_of_devices(slab, dictionary, method, tmp_path):
    one, many = (draws_on(n, tmp_path / f"{n}.npz", slab, dictionary, method) for n in (1, 4))
    assert one.keys() == many.keys()
    assert len(np.unique(one["noise_scale"])) == 40
    for name, values in one.items():
        if method == "sequential":
            np.testing.assert_array_equal(many[name], values, err_msg=name)
        else:
            # rounding grows from sweep to sweep, twenty in all
            np.testing.assert_allclose(many[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
