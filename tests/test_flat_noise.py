"""The noise level of flat patches, on images whose noise is known."""

import numpy as np
import pytest

from padl_bayes import datasets
from padl_bayes.flat_noise import flat_noise_scale
from padl_bayes.imaging import windows, zero_mean_basis

SIGMA = 7.0
SIDE = 192
# Three standard errors of the pixels of half an image, and what leaving out the largest and the smallest takes away.
TOLERANCE = 3 / np.sqrt(SIDE**2) + 0.006


def coefficients(image, patch=8):
    return windows(image, patch).reshape(-1, patch**2) @ zero_mean_basis(patch).T


def noise(seed=0):
    return SIGMA * np.random.default_rng(seed).standard_normal((SIDE, SIDE))


def texture(size, seed=1):
    """Rough in every direction, in the horizontal one the most."""
    rough = np.random.default_rng(seed).standard_normal((SIDE, SIDE + 1))
    return size * (rough[:, 1:] + 0.7 * rough[:, :-1])


def left_half():
    return np.arange(SIDE) < SIDE // 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_noise_alone_is_found(dtype):
    found = flat_noise_scale(coefficients(noise()).astype(dtype))
    assert found == pytest.approx(SIGMA, rel=TOLERANCE)


@pytest.mark.parametrize("size", [SIGMA, 5 * SIGMA])
def test_texture_on_half_of_the_image_does_not_count(size):
    X = coefficients(noise(2) + left_half() * texture(size))
    assert flat_noise_scale(X) == pytest.approx(SIGMA, rel=TOLERANCE)
    assert np.sqrt(np.median(np.linalg.eigvalsh(X.T @ X / len(X)))) > 1.1 * SIGMA


def test_a_clipped_half_does_not_count():
    image = np.where(left_half(), 0.1, noise(3))
    # seven columns of patches see half of their noise on average
    straddling = 7 / (SIDE / 2) / 4
    assert flat_noise_scale(coefficients(image)) == pytest.approx(SIGMA, rel=TOLERANCE + straddling)


def test_shades_and_a_few_faint_edges_hardly_count():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    image = 100 + rows / 4 + 2 * SIGMA * (columns % 48 < 24)
    assert flat_noise_scale(coefficients(noise(4) + image)) == pytest.approx(SIGMA, rel=TOLERANCE + 0.01)


@pytest.mark.parametrize(
    "image",
    [noise()[:86, :86], 1e-4 * noise() + texture(9.0) * left_half(), np.zeros((SIDE, SIDE))],
    ids=["small", "next to no noise", "constant"],
)
def test_what_cannot_be_said_is_not(image):
    assert flat_noise_scale(coefficients(image)) is None


def test_texture_all_over_is_not_noise():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = sum(
        40 * np.sin(a * rows + b * columns) for a, b in np.random.default_rng(6).uniform(0, 2, (9, 2))
    )
    assert flat_noise_scale(coefficients(noise(5) + waves)) is None


@pytest.mark.parametrize("name", datasets.images.PHOTOGRAPHS + datasets.images.TEXTURES)
def test_photographs_with_flat_parts_tell_their_noise(name):
    clean = 255 * datasets.photograph(name)[:400, :400]
    for sigma in (15.0, 25.0, 50.0):
        X = coefficients(clean + sigma * np.random.default_rng(7).standard_normal(clean.shape))
        found = flat_noise_scale(X)
        if found is None:
            assert name in datasets.images.TEXTURES
        else:
            assert found == pytest.approx(sigma, rel=0.015)
