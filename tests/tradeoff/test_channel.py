"""Closed forms of the scalar channel against quadrature in two dimensions."""

import numpy as np
import pytest

from padl_bayes.tradeoff.channel import (
    Empirical,
    SpikeSlab,
    code_moments,
    envelope,
    excess_over,
    missed_square,
)
from tests.oracles.scalar_channel import SLABS, code, expect, signal

KINDS = sorted(SLABS)
# Panels leave rounding; laws are cut where 1e-15 is left.
TOL = dict(rtol=1e-8, atol=1e-10)


def cases(kind):
    """Law of three atoms, one of each case, and its quadrature."""
    usage, rate = np.array([0.15, 0.6, 1.0]), np.array([2.0, 3.0, 1.0])
    law = SpikeSlab(usage, rate, *kind)
    return law, [signal(u, r, *kind) for u, r in zip(usage, rate, strict=True)]


THRESHOLD, SCALE, SHIFT = np.array([0.2, 0.5, 0.0]), np.array([0.1, 0.4, 1.0]), np.array([0.0, 0.03, -0.2])


@pytest.mark.parametrize("kind", KINDS)
def test_excess_against_quadrature(kind):
    law, signals = cases(kind)
    found = excess_over(law, THRESHOLD, SCALE, SHIFT)
    for k, (nodes, weights) in enumerate(signals):
        a = THRESHOLD[k]

        def over(c, a=a):
            return (c if kind[1] else np.abs(c)) - a

        functions = [
            lambda r, c: over(c) > 0,
            lambda r, c: np.maximum(over(c), 0),
            lambda r, c: np.maximum(over(c), 0) ** 2,
        ]
        wanted = expect(functions, nodes, weights, SCALE[k], SHIFT[k], (-a, a))
        np.testing.assert_allclose([part[k] for part in found], wanted, **TOL)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bounded", [True, False])
def test_moments_of_the_code_against_quadrature(kind, bounded):
    law, signals = cases(kind)
    theta = np.array([0.3, 0.2, 1.0]) if bounded else np.full(3, np.inf)
    found = code_moments(law, THRESHOLD, theta, SCALE, SHIFT)
    for k, (nodes, weights) in enumerate(signals):
        a, t = THRESHOLD[k], theta[k]

        def of(c, a=a, t=t):
            return code(c, a, t, kind[1])

        functions = {
            "nonzero": lambda r, c, of=of: of(c) != 0,
            "clipped": lambda r, c, top=t: np.abs(of(c)) >= top,
            "mean": lambda r, c, of=of: of(c),
            "size": lambda r, c: np.abs(of(c)),
            "square": lambda r, c, of=of: of(c) ** 2,
            "error": lambda r, c: (of(c) - r) ** 2,
            "refitted_size": lambda r, c: np.abs(c) * (of(c) != 0),
            "refitted_square": lambda r, c: c**2 * (of(c) != 0),
            "missed": lambda r, c, variance=SCALE[k] ** 2: (c**2 - variance) * (of(c) == 0),
        }
        kinks = (-a, a, -a - t, a + t)
        wanted = expect(list(functions.values()), nodes, weights, SCALE[k], SHIFT[k], kinks)
        for name, value in zip(functions, wanted, strict=True):
            np.testing.assert_allclose(getattr(found, name)[k], value, err_msg=name, **TOL)


@pytest.mark.parametrize("kind", KINDS)
def test_signal_below_the_threshold_against_quadrature(kind):
    law, signals = cases(kind)
    found = missed_square(law, THRESHOLD, SCALE, SHIFT)
    for k, (nodes, weights) in enumerate(signals):
        a = THRESHOLD[k]
        below = [lambda r, c, a=a: r**2 * ((c if kind[1] else np.abs(c)) <= a)]
        (wanted,) = expect(below, nodes, weights, SCALE[k], SHIFT[k], (-a, a))
        # differences over a thousandth of the scale: errors of its square in the density and its slope
        assert found[k] == pytest.approx(wanted, abs=2e-6 * SCALE[k] ** 2, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_envelope_leaves_the_excess_that_was_asked_for(kind):
    law, signals = cases(kind)
    share = np.array([[1e-6, 1e-3, 1e-2], [0.02, 0.02, 0.3], [9.0, 9.0, 9.0], [0.0, 0.0, 0.0]])
    theta = envelope(law, THRESHOLD, SCALE, share, SHIFT)
    assert theta.shape == (4, 3)
    for k, (nodes, weights) in enumerate(signals):
        for row in range(2):
            b = THRESHOLD[k] + theta[row, k]
            over = [lambda r, c, b=b: np.maximum((c if kind[1] else np.abs(c)) - b, 0)]
            (beyond,) = expect(over, nodes, weights, SCALE[k], SHIFT[k], (-b, b))
            assert theta[row, k] > 0
            assert beyond == pytest.approx(share[row, k], rel=1e-7)
    assert (theta[2] == 0).all()
    assert np.isinf(theta[3]).all()


def test_an_atom_is_off_just_above_its_level():
    law = SpikeSlab(np.array([0.2]), np.array([1.5]))
    level = excess_over(law, 0.3, 0.2).mean
    assert envelope(law, 0.3, 0.2, level * (1 + 1e-9))[0] == 0
    assert envelope(law, 0.3, 0.2, level * (1 - 1e-6))[0] > 0
    off = code_moments(law, 0.3, np.zeros(1), 0.2)
    assert off.nonzero == off.square == off.refitted_square == 0
    assert off.error == law.square


@pytest.mark.parametrize("nonnegative", [False, True])
def test_empirical_laws_against_quadrature(nonnegative):
    values = np.array([0.0, 0.0, 0.7, 1.4, 0.2]) if nonnegative else np.array([0.0, -0.9, 0.7, 1.4, 0.2])
    law = Empirical(values[:, None], nonnegative)
    found = code_moments(law, np.array([0.25]), np.array([0.6]), np.array([0.3]), np.array([0.05]))
    functions = {
        "mean": lambda r, c: code(c, 0.25, 0.6, nonnegative),
        "error": lambda r, c: (code(c, 0.25, 0.6, nonnegative) - r) ** 2,
        "clipped": lambda r, c: np.abs(code(c, 0.25, 0.6, nonnegative)) >= 0.6,
    }
    wanted = expect(list(functions.values()), values, np.full(5, 0.2), 0.3, 0.05, (-0.85, -0.25, 0.25, 0.85))
    for name, value in zip(functions, wanted, strict=True):
        np.testing.assert_allclose(getattr(found, name)[0], value, err_msg=name, **TOL)


def test_far_tails_stay_finite_and_small():
    law = SpikeSlab(np.array([0.1, 0.1]), np.array([1e-3, 1e3]))
    for level in (0.0, 1.0, 50.0, 1e4):
        found = excess_over(law, level, 0.01)
        assert all(np.isfinite(part).all() and (part >= 0).all() for part in found)
    assert excess_over(law, 1e5, 0.01).mean.max() < 1e-30
