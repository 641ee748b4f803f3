"""The instruments of the benchmarks of posteriors, on laws whose answer is known."""

import importlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from benchmarks import coverage
from benchmarks.__main__ import present
from benchmarks._posterior import convergence, stopwatch


@pytest.mark.parametrize("name", present())
def test_every_benchmark_can_be_run_by_its_name(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"benchmarks.{name}").main(["--help"])
    assert "--quick" in capsys.readouterr().out


def test_convergence_tells_chains_that_agree_from_chains_that_do_not():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, 1000, 3))
    draws[:, :, 1] += 3 * np.arange(4)[:, None]
    draws[:, :, 2] = 1.0
    good, bad = convergence(draws[:, :, 0]), convergence(draws[:, :, 1])
    assert good["rhat_max"] < 1.01
    assert bad["rhat_max"] > 1.5
    # The standard error of an estimated ESS of independent draws is a few percent.
    assert good["ess_min"] == pytest.approx(4000, rel=0.2)
    assert bad["ess_min"] < 10
    assert convergence(draws)["entries"] == 2
    assert convergence(draws)["mixed"] == 0.5
    assert convergence(draws[:, :, 2]) is None


def test_coverage_of_draws_from_the_law_of_the_truth_is_the_level():
    rng = np.random.default_rng(1)
    n_samples, n_draws = 4000, 1000
    scale = rng.uniform(0.5, 2.0, n_samples)
    truth = scale * rng.normal(size=n_samples)
    draws = scale * rng.normal(size=(n_draws, n_samples))
    found = coverage.score(draws[:, :, None], np.eye(1), truth[:, None])
    levels = np.array(coverage.LEVELS)
    error = np.sqrt(levels * (1 - levels) / n_samples)
    # Ends taken from n draws leave out about 2 / n.
    np.testing.assert_array_less(np.abs(np.array(found["covered"]) - levels), 4 * error + 2 / n_draws)
    assert found["width"][2] == pytest.approx(2 * 1.96 * scale.mean(), rel=0.01)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(truth**2)), rel=0.01)


def test_draws_of_the_factors_of_a_single_atom_are_those_of_its_exact_posterior():
    noise, usage, rate = 0.5, 0.3, 1.5
    seen = np.array([-1.2, 0.1, 0.9])

    def integral(x, power):
        def weight(r):
            return r**power * rate / 2 * np.exp(-rate * abs(r) - (x - r) ** 2 / (2 * noise**2))

        return quad(weight, -8, 0)[0] + quad(weight, 0, 8)[0]

    spike = (1 - usage) * np.exp(-(seen**2) / (2 * noise**2))
    slab = usage * np.array([[integral(x, power) for power in range(3)] for x in seen])
    probability = slab[:, 0] / (spike + slab[:, 0])
    mean, square = (slab[:, 1:] / (spike + slab[:, 0])[:, None]).T
    fit = SimpleNamespace(
        dictionary=np.eye(2)[:1], codes=mean[:, None], coding_noise_scale=noise, rate=np.array([rate]),
        probability=probability[:, None], slab="bernoulli_laplace", nonnegative=False,
    )  # fmt: skip
    X = np.column_stack([seen, np.full(3, 7.0)])
    with jax.enable_x64(True):
        codes, _ = coverage.em(X, fit, SimpleNamespace(draws=500), 0)
    error = np.sqrt((square - mean**2) / len(codes))
    np.testing.assert_array_less(np.abs(codes[:, :, 0].mean(0) - mean), 4 * error)
    np.testing.assert_array_less(
        np.abs((codes[:, :, 0] != 0).mean(0) - probability), 4 * np.sqrt(0.25 / len(codes))
    )
    spread = np.square(codes[:, :, 0]).std(0) / np.sqrt(len(codes))
    np.testing.assert_array_less(np.abs(np.square(codes[:, :, 0]).mean(0) - square), 4 * spread)


def test_a_stopwatch_tells_compilation_from_the_rest():
    def first(x):
        return jnp.sin(x) @ jnp.cos(x).T + 0.123

    call = jax.jit(first)
    x = jnp.ones((3, 3))
    with stopwatch() as cold:
        call(x).block_until_ready()
    with stopwatch() as warm:
        call(x).block_until_ready()
    assert 0 < cold.compilation < cold.total
    assert warm.compilation == 0
    assert cold.running == cold.total - cold.compilation
