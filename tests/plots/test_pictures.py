"""Every public plot looks as it did: pictures against baselines.

A picture is meant to change: look at ``python -m tests.plots.pictures FOLDER``, then ``make baselines``.
"""

import inspect

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images

from padl_bayes import plots
from tests.plots.pictures import BASELINES, PICTURES, atoms, draw, drawn_atoms, passes

# Root of the mean squared difference, of 255: the drawing of lines may differ a little between versions of Matplotlib.
TOLERANCE = 1.0
PUBLIC = [name for name, one in vars(plots).items() if inspect.isfunction(one)]


def test_every_public_plot_has_a_picture():
    assert set(PUBLIC) == {name.removesuffix("_lines").removesuffix("_images") for name in PICTURES}
    assert {f"{name}.png" for name in PICTURES} == {path.name for path in BASELINES.iterdir()}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_they_were(name, tmp_path):
    draw(name, tmp_path / f"{name}.png")
    difference = compare_images(BASELINES / f"{name}.png", tmp_path / f"{name}.png", TOLERANCE)
    assert difference is None, difference


@pytest.mark.parametrize("name", PUBLIC)
def test_every_plot_takes_axes_or_a_figure(name):
    taken = set(inspect.signature(getattr(plots, name)).parameters)
    assert "ax" in taken or taken >= {"fig", "axes"}


PANELS = {
    "history": (3, lambda axes: plots.history(passes(), axes=axes)),
    "reconstructions": (
        3, lambda axes: plots.reconstruction_gallery(atoms(), atoms(), atoms() ** 2, (4, 6), axes=axes),
    ),
    "bands": (8, lambda axes: plots.atom_bands(drawn_atoms(), max_atoms=8, axes=axes)),
    "bands of images": (8, lambda axes: plots.atom_bands(drawn_atoms(), image_shape=(4, 6), max_atoms=4, axes=axes)),
}  # fmt: skip


@pytest.mark.parametrize("name", PANELS)
def test_given_panels_are_drawn_into_and_returned(name):
    number, draw_into = PANELS[name]
    figure = Figure()
    axes = figure.subplots(1, number + 1).tolist()
    last = axes.pop()
    assert draw_into(axes) is axes
    assert all(ax.has_data() for ax in axes[: -1 if name == "bands" else None])
    assert not last.has_data()
    assert figure.get_suptitle() == ""
    with pytest.raises(ValueError, match=r"axes must be \d x \d for these panels, found shape"):
        draw_into([*axes, last])
    with pytest.raises(TypeError, match="axes must be matplotlib Axes"):
        draw_into(["a"])


def test_a_gallery_is_drawn_into_given_axes_or_a_part_of_a_figure():
    left, right = Figure().subfigures(1, 2)
    ax = left.add_subplot()
    assert plots.gallery(atoms(), ax=ax) is ax
    assert ax.has_data()
    assert plots.gallery(atoms(), fig=right) is right
    assert plots.gallery(np.zeros((0, 3)), ax=ax) is ax
    assert (
        plots.history({"objective": [2.0, 1.0]}, fig=left.add_subfigure(ax.get_subplotspec())).get_suptitle()
        == ""
    )
    with pytest.raises(TypeError, match="fig or ax must be None, found both"):
        plots.gallery(atoms(), fig=right, ax=ax)
    with pytest.raises(TypeError, match="ax must be matplotlib Axes"):
        plots.gallery(atoms(), ax=3)
