"""Figures of the tradeoff show the numbers that they were given."""

import io

import numpy as np
import pytest

from padl_bayes import plots
from padl_bayes.plots.tradeoff import KILOBYTE
from padl_bayes.tradeoff.bands import Bands
from tests.tradeoff.test_frontier import by_hand


def labelled(ax):
    return {line.get_label().split(":")[0]: line for line in ax.lines}


def some_bands(found):
    columns = {
        name: np.random.default_rng(1).uniform(size=(30, len(found.alpha))) for name in Bands._fields[1:]
    }
    return Bands(found.alpha, **columns)


EVERY = {
    "frontier": lambda f: plots.frontier(f, point=f.choose("mdl"), bands=some_bands(f), title="t"),
    "storage": lambda f: plots.storage_breakdown(f),
    "predicted": lambda f: plots.predicted_refitted({"rmse": f.rmse}, {"rmse": f.rmse}),
    "curve": lambda f: plots.learning_curve([10, 100], [[0.1, 0.2], [0.01, 0.02]], [1.0, 0.3]),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_plot_renders(name):
    buffer = io.BytesIO()
    EVERY[name](by_hand()).figure.savefig(buffer, format="png", dpi=50)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_frontier_shows_its_points_the_chosen_one_and_their_bands():
    found = by_hand()
    point, bands, best = found.choose("mdl"), some_bands(found), found.pareto()
    ax = plots.frontier(found, point=point, bands=bands, level=0.8)
    line, star = labelled(ax)["frontier"], labelled(ax)["chosen"]
    np.testing.assert_allclose(
        line.get_xydata(), np.stack([found.bits[best] / KILOBYTE, found.stored_rmse[best]], axis=1)
    )
    np.testing.assert_allclose(star.get_xydata(), [[point.bits / KILOBYTE, point.stored_rmse]])
    across, upright = (np.array(bars.get_segments()) for bars in ax.containers[0].lines[2])
    sizes, errors = (np.quantile(draws[:, best], [0.1, 0.5, 0.9], axis=0)
                     for draws in (bands.bits / KILOBYTE, bands.stored_rmse))  # fmt: skip
    np.testing.assert_allclose(across[:, :, 0], sizes[[0, 2]].T)
    np.testing.assert_allclose(across[:, :, 1], np.stack([errors[1]] * 2, axis=1))
    np.testing.assert_allclose(upright[:, :, 1], errors[[0, 2]].T)
    np.testing.assert_allclose(upright[:, :, 0], np.stack([sizes[1]] * 2, axis=1))


def test_chosen_points_keep_their_names():
    found = by_hand()
    points = {"shortest": found.choose("mdl"), "sparse": found.choose(("nonzeros", found.nonzeros.min()))}
    assert points["shortest"].bits != points["sparse"].bits
    lines = labelled(plots.frontier(found, point=points))
    for name, point in points.items():
        np.testing.assert_allclose(lines[name].get_xydata(), [[point.bits / KILOBYTE, point.stored_rmse]])
    assert len({lines[name].get_color() for name in (*points, "frontier")}) == 3


def test_bits_are_stacked():
    found = by_hand()
    best = found.pareto()
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in plots.storage_breakdown(found).collections]
    layers = np.cumsum(
        [found.dictionary_bits[best], found.support_bits[best], found.value_bits[best]], axis=0
    )
    np.testing.assert_allclose(tops, layers.max(axis=1) / KILOBYTE)


def test_predictions_lie_over_refits_and_zeros_are_left_out():
    ax = plots.predicted_refitted({"a": [1.0, 0.0, 3.0]}, {"a": [2.0, 1.0, 4.0]})
    np.testing.assert_allclose(labelled(ax)["a"].get_xydata(), [[2, 1], [4, 3]])


def test_a_learning_curve_is_the_mean_of_the_repetitions():
    ax = plots.learning_curve([10, 100], [[0.1, 0.3], [0.01, 0.03]], [1.0, 0.4])
    np.testing.assert_allclose(labelled(ax)["measured"].get_ydata(), [0.2, 0.02])
    np.testing.assert_allclose(labelled(ax)["bound"].get_ydata(), [1.0, 0.4])


@pytest.mark.parametrize(
    ("values", "shown"),
    [((0.3, 6.0), {"0.5", "1", "2", "5"}), ((1e-4, 10.0), {"0.001", "0.01", "0.1", "1"})],
)
def test_logarithmic_axes_have_few_plain_labels(values, shown):
    ax = plots.predicted_refitted({"a": values}, {"a": values})
    ax.figure.draw_without_rendering()
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        labels = [tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        assert shown <= set(labels)
        assert len(labels) <= 7
        assert not any(tick.label1.get_text() for tick in axis.get_minor_ticks())


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda f: plots.frontier(3), TypeError, "found must be a Frontier"),
        (lambda f: plots.frontier(f, point=3), TypeError, "point must be a Point"),
        (lambda f: plots.frontier(f, point={"a": 3}), TypeError, "point must be a Point"),
        (
            lambda f: plots.frontier(f, bands=some_bands(f)._replace(alpha=f.alpha + 1)),
            ValueError,
            "bands must be at",
        ),
        (lambda f: plots.predicted_refitted({"a": [1.0]}, {"b": [1.0]}), ValueError, "refitted must name"),
        (lambda f: plots.learning_curve([1, 2], [1.0], [1.0, 2.0]), ValueError, "gap must have shape"),
    ],
)
def test_bad_input_is_named(call, error, match):
    with pytest.raises(error, match=match):
        call(by_hand())
