"""Figures of comparisons and of posteriors show the numbers that they were given."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.stats import norm

from padl_bayes import plots
from padl_bayes.plots._style import CYCLE

K, P = 5, 12


def png(drawn):
    buffer = io.BytesIO()
    drawn.figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


def labelled(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def some_draws(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 40, K, P))


EVERY = {
    "activation": lambda: plots.activation_by_fit({"a": np.linspace(0, 1, K)}, mcse={"a": np.full(K, 0.02)}),
    "activation, none": lambda: plots.activation_by_fit({"a": np.full(K, np.nan)}),
    "num_active": lambda: plots.num_active({"EM": [[4]], "Gibbs": [[3, 4], [4, 5]]}, truth=4),
    "num_active, one": lambda: plots.num_active([[3, 4, 4]]),
    "num_active, points": lambda: plots.num_active({"a": [[4]], "b": [[5]]}),
    "coverage": lambda: plots.coverage({"a": np.linspace(0, 1, 50)}, title="t"),
    "bands": lambda: plots.atom_bands(some_draws(), truth=np.ones((2, P)), title="t"),
    "bands of images": lambda: plots.atom_bands(some_draws(), image_shape=(3, 4), max_atoms=3),
    "bands of nothing": lambda: plots.atom_bands(some_draws(), active=np.zeros((2, 40, K))),
    "rank": lambda: plots.rank(np.random.default_rng(0).normal(size=(3, 50))),
    "energy": lambda: plots.energy(np.random.default_rng(0).normal(size=(3, 50))),
    "constant energy": lambda: plots.energy(np.ones((2, 5))),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_plot_renders(name):
    assert png(EVERY[name]()).startswith(b"\x89PNG")


def test_activation_is_in_the_order_of_the_surest():
    table = {"a": [0.1, 0.9, np.nan], "none": [np.nan] * 3, "b": [0.2, 0.3, 0.95]}
    ax = plots.activation_by_fit(table, mcse={"a": [0.05, 0.1, np.nan]})
    lines = labelled(ax)
    assert set(lines) == {"a", "b"}
    np.testing.assert_allclose(lines["a"].get_ydata(), [np.nan, 0.9, 0.1])
    np.testing.assert_allclose(lines["b"].get_ydata(), [0.95, 0.3, 0.2])
    np.testing.assert_array_equal(np.round(lines["a"].get_xdata()), [1, 2, 3])
    # colours go by the place in the comparison, drawn or not
    assert to_hex(lines["b"].get_color()) == to_hex(CYCLE[2])
    ends = [segment[:, 1] for segment in ax.collections[0].get_segments() if segment.size]
    np.testing.assert_allclose(ends, [[0.7, 1.0], [0.0, 0.2]], atol=1e-12)


def test_bars_are_shares_of_the_draws():
    draws = np.array([[3, 4, 4, 4], [4, 4, 5, 5]])
    ax = plots.num_active({"Gibbs": draws, "EM": [[7]]})
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], [1 / 8, 5 / 8, 2 / 8])
    np.testing.assert_allclose([bar.get_x() + bar.get_width() / 2 for bar in ax.patches], [3, 4, 5])
    chains = [line.get_ydata() for line in ax.lines if line.get_marker() == "_"]
    np.testing.assert_allclose(chains, [[0.25, 0.75, 0], [0, 0.5, 0.5]])
    assert set(labelled(ax)["EM"].get_xdata()) == {7}


def test_coverage_is_the_share_within_central_intervals():
    z = np.random.default_rng(0).normal(size=3000)
    pit = norm.cdf(2 * z)
    ax = plots.coverage({"narrow": pit}, levels=[0.5, 0.95])
    inside = [np.mean(np.abs(2 * z) <= norm.ppf((1 + level) / 2)) for level in (0.5, 0.95)]
    np.testing.assert_allclose(labelled(ax)["narrow"].get_ydata(), inside)
    assert inside[1] < 0.7


def test_bands_are_quantiles_of_the_draws_that_have_the_atom():
    draws = some_draws()
    active = np.random.default_rng(1).random((2, 40, K)) < [0.2, 1.0, 0.0, 0.5, 0.7]
    fig = plots.atom_bands(draws, active=active, level=0.8)
    heads = [ax.get_title(loc="left").split(":")[0] for ax in fig.axes if ax.lines]
    assert heads == ["2", "5", "4", "1"]
    wanted = np.quantile(draws[..., 4, :][active[..., 4]], [0.1, 0.5, 0.9], axis=0)
    band, line = fig.axes[1].collections[0], fig.axes[1].lines[1]
    np.testing.assert_allclose(line.get_ydata(), wanted[1])
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(wanted[0].min())
    assert heights.max() == pytest.approx(wanted[2].max())


def test_ranks_of_a_chain_that_lies_above():
    draws = np.arange(40.0).reshape(2, 20)
    ax = plots.rank(draws, bins=4)
    heights = np.array([bar.get_height() for bar in ax.patches]).reshape(2, 4) / 0.45
    np.testing.assert_allclose(heights, [[2, 2, 0, 0], [0, 0, 2, 2]])


def test_energy_tells_the_missing_information():
    values = np.random.default_rng(0).normal(size=(2, 500))
    slow = np.cumsum(values, axis=1)
    centred = slow - slow.mean(axis=1, keepdims=True)
    wanted = np.min(np.sum(np.diff(slow) ** 2, axis=1) / np.sum(centred**2, axis=1))
    assert plots.energy(slow).texts[0].get_text() == f"E-BFMI {wanted:.2f}"
    assert wanted < 0.3


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.coverage([0.5, 1.5]), r"pit of '' must lie in \[0, 1\], found 0.5 to 1.5"),
        (lambda: plots.coverage({}), "pit is empty"),
        (lambda: plots.num_active([1, 2]), r"draws must have shape \(chain, draw\)"),
        (lambda: plots.activation_by_fit({"a": [0.1], "b": [0.1, 0.2]}), r"probability must hold \(K,\)"),
        (lambda: plots.activation_by_fit({"a": [0.1, 1.2]}), r"probability must lie in \[0, 1\]"),
        (lambda: plots.atom_bands(some_draws(), image_shape=(3, 5)), "holds 15 pixels, found 12"),
        (lambda: plots.atom_bands(some_draws(), active=np.ones(3)), "active must have shape"),
        (lambda: plots.energy([[1.0], [2.0]]), "at least 2 draws a chain"),
        (lambda: plots.rank(np.ones(3)), r"draws must have shape \(chain, draw\)"),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
