"""Photographs and crops."""

import numpy as np
import pytest

from padl_bayes.compress import images


def test_no_photograph_is_in_both_halves_and_crops_are_fixed():
    train, held_out = images.crops("training", 2, size=28), images.crops("held out", 2, size=28)
    assert train.images.shape[1:] == (3, 28, 28)
    assert train.images.dtype == np.float32
    assert not set(train.names) & set(held_out.names)
    assert set(train.names) | set(held_out.names) == set(images.photographs())
    assert set(held_out.names) <= set(images.HELD_OUT)
    assert len(train.names) == len(train.images) == 2 * len(set(train.names))
    again = images.crops("held out", 2, size=28)
    assert np.array_equal(again.images, held_out.images)
    assert not np.array_equal(held_out.images[0], held_out.images[1])
    assert not np.array_equal(images.crops("held out", 2, size=28, random_state=1).images, again.images)


def test_grey_levels_become_what_the_network_takes():
    levels = np.zeros((1, 2, 3, 3))
    levels[0, 1, 2] = [255, 51, 102]
    found = images.prepared(levels)
    assert found.shape == (1, 3, 2, 3)
    np.testing.assert_allclose(
        found[0, :, 1, 2] * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406], [1, 0.2, 0.4], rtol=1e-6
    )
    np.testing.assert_allclose(found[0, 0, 0, 0], -0.485 / 0.229, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: images.crops("both", 1), "part must be one of"),
        (lambda: images.crops("training", 0), "n_crops must be at least 1"),
        (lambda: images.prepared(np.zeros((2, 2, 3))), "images must have shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
