"""What the figures show is what they were given; pyplot knows nothing of them."""

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.stats import norm

from padl_bayes import plots
from padl_bayes.plots import _style

K, P = 7, 12
SHAPE = (3, 4)


def rng():
    return np.random.default_rng(0)


def atoms(n=K, p=P):
    D = rng().normal(size=(n, p))
    return D / np.linalg.norm(D, axis=1, keepdims=True)


def png(drawn):
    buffer = io.BytesIO()
    drawn.figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


def every_plot():
    draws = rng().uniform(size=(2, 50, K))
    x = rng().normal(size=P)
    stages = np.repeat(["anneal", "delete", "settle"], 20)
    record = {
        "elbo": np.arange(60.0),
        "noise_scale": np.ones(60),
        "n_active": np.full(60, 3),
        "stage": stages,
    }
    return {
        "gallery": lambda: plots.gallery(atoms(), image_shape=SHAPE, labels=np.arange(K)),
        "gallery of lines": lambda: plots.gallery(atoms(), title="atoms", max_atoms=3),
        "log odds": lambda: plots.activation_log_odds(np.linspace(-40, 1e5, K)),
        "log odds, draws": lambda: plots.activation_log_odds(draws=draws),
        "probability": lambda: plots.activation_probability(draws=draws),
        "usage": lambda: plots.usage(draws=draws),
        "atoms per sample": lambda: plots.atoms_per_sample([0, 2, 2, 3]),
        "reconstruction": lambda: plots.reconstruction(x, x, sd=np.ones(P)),
        "reconstructions": lambda: plots.reconstruction_gallery(atoms(2), atoms(2), np.zeros((2, P)), SHAPE),
        "codes": lambda: plots.code_intervals(draws=draws, probability=np.linspace(0, 1, K)),
        "trace": lambda: plots.trace(rng().normal(size=(4, 50))),
        "history": lambda: plots.history(record, title="run"),
        "objective": lambda: plots.history({"objective": [3.0, 2.0, 1.0]}),
        "comparison": lambda: plots.comparison(["a", "b"], [[1.0, 2.0], [3.0, 4.0]]),
    }  # fmt: skip


@pytest.mark.parametrize("name", every_plot())
def test_every_plot_renders(name):
    assert png(every_plot()[name]()).startswith(b"\x89PNG")


def test_pyplot_is_not_even_imported():
    code = (
        "import sys, numpy as np; from padl_bayes import plots; "
        "plots.usage(np.ones(3)).figure.savefig(sys.stdout.buffer); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plots.activation_log_odds(np.ones(K), ax=ax),
        lambda ax: plots.activation_probability(np.ones(K), ax=ax),
        lambda ax: plots.usage(np.ones(K), ax=ax),
        lambda ax: plots.atoms_per_sample(np.ones(4), ax=ax),
        lambda ax: plots.reconstruction(np.ones(P), np.ones(P), ax=ax),
        lambda ax: plots.code_intervals(np.ones(K), ax=ax),
        lambda ax: plots.trace(np.ones(4), ax=ax),
        lambda ax: plots.comparison(["a"], [[1.0]], ax=ax),
    ],
)
def test_given_axes_are_drawn_into_and_returned(draw):
    ax = Figure().add_subplot()
    assert draw(ax) is ax
    with pytest.raises(TypeError, match="ax must be"):
        draw(np.zeros(3))


@pytest.mark.parametrize(
    "draw",
    [
        lambda fig: plots.gallery(atoms(), fig=fig),
        lambda fig: plots.history({"objective": [2.0, 1.0]}, fig=fig),
        lambda fig: plots.reconstruction_gallery(np.ones((1, P)), np.ones((1, P)), np.ones((1, P)), SHAPE, fig=fig),
    ],
)  # fmt: skip
def test_given_figures_are_drawn_into_and_returned(draw):
    fig = Figure()
    assert draw(fig) is fig
    with pytest.raises(TypeError, match="fig must be"):
        draw("fig")


def test_gallery_is_sorted_by_energy_on_symmetric_scales():
    D, energy = atoms(), rng().permutation(K).astype(float)
    fig = plots.gallery(D, image_shape=SHAPE, energy=energy, labels=energy / 10, columns=3)
    order = np.argsort(-energy)
    images = fig.axes[0].images
    np.testing.assert_array_equal([image.get_array() for image in images], D[order].reshape(-1, *SHAPE))
    for image, atom in zip(images, D[order], strict=True):
        assert image.get_clim() == (-np.abs(atom).max(), np.abs(atom).max())
        assert to_hex(image.cmap(0.5)) == "#f7f6f6"
    assert [text.get_text() for text in fig.axes[0].texts] == [
        ".60",
        ".50",
        ".40",
        ".30",
        ".20",
        ".10",
        ".00",
    ]
    corners = np.array([image.get_extent() for image in images])
    assert (np.diff(corners[:3, 0]) > 0).all()
    assert corners[3, 0] == corners[0, 0]
    assert corners[3, 3] < corners[0, 2]


def test_gallery_keeps_the_order_given_and_says_what_it_leaves_out():
    D = atoms()
    fig = plots.gallery(D, image_shape=SHAPE, max_atoms=2)
    np.testing.assert_array_equal(fig.axes[0].images[1].get_array(), D[1].reshape(SHAPE))
    assert len(fig.axes[0].images) == 2
    assert "first 2 of 7 atoms" in fig.axes[0].get_title(loc="left")


def test_gallery_draws_lines_to_scale():
    D = atoms()
    lines = plots.gallery(D, columns=K).axes[0].collections[1].get_segments()
    for k, line in enumerate(lines):
        np.testing.assert_allclose((line[:, 1] + 0.5) / 0.47, D[k] / np.abs(D[k]).max(), atol=1e-12)


def segments(ax):
    collection = next(c for c in ax.collections if isinstance(c, LineCollection))
    return np.array([s[:, 1] for s in collection.get_segments()]).T


@pytest.mark.parametrize("draw", [plots.activation_log_odds, plots.activation_probability, plots.usage])
def test_draws_give_quantile_intervals(draw):
    draws = rng().uniform(size=(2, 50, K))
    expected = np.quantile(draws, [0.25, 0.75], axis=(0, 1))
    np.testing.assert_allclose(segments(draw(draws=draws, level=0.5)), expected)


def test_points_are_the_values():
    values = rng().normal(size=K)
    points = plots.activation_log_odds(values).lines[0].get_ydata()
    np.testing.assert_array_equal(points, values)
    points = plots.activation_probability(log_odds=values).lines[0].get_ydata()
    np.testing.assert_allclose(points, 1 / (1 + np.exp(-values)))
    draws = rng().uniform(size=(2, 50, K))
    np.testing.assert_allclose(
        plots.activation_probability(draws=draws).lines[0].get_ydata(), draws.mean(axis=(0, 1))
    )
    heights = [bar.get_height() for bar in plots.usage(draws[0, 0]).patches]
    np.testing.assert_array_equal(heights, draws[0, 0])


def test_atoms_per_sample_is_a_histogram():
    ax = plots.atoms_per_sample([0, 2, 2, 3])
    np.testing.assert_array_equal([bar.get_height() for bar in ax.patches], [0.25, 0, 0.5, 0.25])


def test_bands_are_normal_or_quantiles():
    mean, sd = rng().normal(size=P), rng().uniform(0.5, 1, size=P)
    band = plots.reconstruction(np.zeros(P), mean, sd=sd, level=0.8).collections[0].get_paths()[0].vertices
    top = [band[band[:, 0] == p, 1].max() for p in range(P)]
    bottom = [band[band[:, 0] == p, 1].min() for p in range(P)]
    np.testing.assert_allclose(top, norm.ppf(0.9, mean, sd))
    np.testing.assert_allclose(bottom, norm.ppf(0.1, mean, sd))
    draws = rng().normal(size=(2, 50, K))
    expected = np.quantile(draws, [0.05, 0.95], axis=(0, 1))
    np.testing.assert_allclose(segments(plots.code_intervals(draws=draws)), expected)


def test_code_intervals_keep_the_largest_and_hollow_the_unused():
    mean = np.array([0.1, -3.0, 2.0, 0.0, 1.0])
    ax = plots.code_intervals(mean, probability=[0, 1, 0.4, 0, 1], max_atoms=3)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["2", "3", "5"]
    used, unused = ax.lines[1:]
    np.testing.assert_array_equal(used.get_ydata(), [-3, 1])
    np.testing.assert_array_equal(unused.get_ydata(), [2])
    assert unused.get_markerfacecolor() == "white"


def test_reconstruction_gallery_shows_the_three_strips():
    X, mean, sd = rng().uniform(size=(3, 2, P))
    fig = plots.reconstruction_gallery(X, mean, sd, SHAPE)
    for ax, images in zip(fig.axes, (X, mean, sd), strict=False):
        strip = np.asarray(ax.images[0].get_array().filled(np.nan))
        np.testing.assert_array_equal(strip[:, : SHAPE[1]], images[0].reshape(SHAPE))
        np.testing.assert_array_equal(strip[:, SHAPE[1] + 1 :], images[1].reshape(SHAPE))
    assert fig.axes[0].images[0].get_clim() == fig.axes[1].images[0].get_clim()


def test_traces_shade_stretches_of_one_stage():
    stages = np.array(["anneal"] * 3 + ["delete"] * 2 + ["anneal"])
    ax = plots.trace(np.arange(6.0), stages=stages)
    edges = [(span.get_x(), span.get_x() + span.get_width()) for span in ax.patches]
    assert edges == [(0.5, 3.5), (3.5, 5.5), (5.5, 6.5)]
    assert ax.patches[0].get_facecolor() == ax.patches[2].get_facecolor() != ax.patches[1].get_facecolor()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["anneal", "delete"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.arange(6))


def test_a_start_far_off_does_not_flatten_the_trace():
    values = np.concatenate([[-1e9], np.linspace(0, 1, 99)])
    low, high = plots.trace(values).get_ylim()
    assert -1 < low < 0.1
    assert high > 1
    assert plots.trace(values, robust=False).get_ylim()[0] < -1e8
    assert plots.trace([values, values]).get_ylim()[0] < -1e8


def test_comparison_draws_a_bar_for_every_number():
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    ax = plots.comparison(["a", "b", "c"], values)
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(2, 3)
    np.testing.assert_array_equal(widths, values.T)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


@pytest.mark.parametrize(
    "drawn",
    [
        lambda: plots.gallery(np.zeros((0, P)), image_shape=SHAPE, labels=np.zeros(0)),
        lambda: plots.activation_log_odds(np.zeros(0)),
        lambda: plots.activation_probability(log_odds=np.zeros(0)),
        lambda: plots.usage(np.zeros(0)),
        lambda: plots.code_intervals(np.zeros(0)),
    ],
)
def test_without_active_atoms_the_figure_says_so(drawn):
    figure = drawn().figure
    assert figure.axes[0].texts[0].get_text() == "no active atom"
    assert png(figure.axes[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.gallery(np.ones(3)), "dictionary must have shape"),
        (lambda: plots.gallery(atoms(), image_shape=(3, 3)), "image_shape"),
        (lambda: plots.gallery(atoms(), image_shape=8), "image_shape must be"),
        (lambda: plots.gallery(atoms(), energy=np.ones(2)), "energy must have shape"),
        (lambda: plots.activation_probability([0.2, 1.5]), r"probability must lie in \[0, 1\]"),
        (
            lambda: plots.activation_probability(np.ones((2, 3))),
            r"found \(2, 3\); pass posterior draws as draws=",
        ),
        (lambda: plots.usage(draws=np.ones(3)), "draws must have an axis of draws"),
        (lambda: plots.usage(draws=np.ones((2, 3)), level=0), "level must be"),
        (lambda: plots.atoms_per_sample([0.5]), "whole numbers"),
        (lambda: plots.reconstruction(np.ones(3)), "mean and sd, or draws"),
        (lambda: plots.reconstruction(np.ones(3), np.ones(4)), "one length"),
        (lambda: plots.trace([1.0, np.nan]), "NaN"),
        (lambda: plots.trace([1.0, 2.0], stages=["a"]), "stages must have shape"),
        (lambda: plots.history({"loss": [1.0]}), "record must hold one of"),
        (lambda: plots.comparison(["a"], [[1.0, 2.0, 3.0]]), "one or two columns"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_percent_of_a_level():
    assert [_style.percent(level) for level in (0.9, 0.955)] == ["90%", "95.5%"]
