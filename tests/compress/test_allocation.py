"""Sharing a budget, against all choices there are."""

import itertools

import numpy as np
import pytest

from padl_bayes.compress.allocation import Curve, allocate, lower_hull


def random_curves(rng, n_parts=4, n_options=5):
    return {
        f"part {i}": Curve(
            np.sort(rng.integers(1, 60, n_options)).astype(float), rng.exponential(size=n_options)
        )
        for i in range(n_parts)
    }


def best(curves, budget):
    """Least loss of all choices within the budget."""
    found = np.inf
    for choice in itertools.product(*(range(len(curve.size)) for curve in curves.values())):
        picked = list(zip(curves.values(), choice, strict=True))
        if sum(curve.size[i] for curve, i in picked) <= budget:
            found = min(found, sum(curve.loss[i] for curve, i in picked))
    return found


def totals(curves, chosen):
    size = sum(curves[name].size[i] for name, i in chosen.items())
    return size, sum(curves[name].loss[i] for name, i in chosen.items())


@pytest.mark.parametrize("seed", range(12))
def test_the_loss_is_within_one_step_of_the_least(seed):
    curves = random_curves(np.random.default_rng(seed))
    smallest = sum(curve.size.min() for curve in curves.values())
    largest = max(np.ptp(curves[name].loss[lower_hull(curves[name])]) for name in curves)
    steps = [-np.diff(curve.loss[lower_hull(curve)]).min(initial=0.0) for curve in curves.values()]
    for budget in (smallest + 1, smallest + 30, smallest + 80, smallest + 500):
        size, loss = totals(curves, allocate(curves, budget))
        assert size <= budget
        least = best(curves, budget)
        assert least - 1e-12 <= loss <= least + max(steps) <= least + largest
    assert loss == pytest.approx(least)


@pytest.mark.parametrize("seed", range(12))
def test_where_a_step_uses_the_budget_up_nothing_is_better(seed):
    curves = random_curves(np.random.default_rng(seed))
    hulls = {name: lower_hull(curve) for name, curve in curves.items()}
    # what the first steps take, by the slopes of all
    taken = dict.fromkeys(curves, 0)
    for _ in range(6):
        size, _ = totals(curves, {name: hulls[name][k] for name, k in taken.items()})
        assert totals(curves, allocate(curves, size))[1] == pytest.approx(best(curves, size))
        gains = {
            name: (c.loss[h[taken[name]]] - c.loss[h[taken[name] + 1]])
            / (c.size[h[taken[name] + 1]] - c.size[h[taken[name]]])
            for name, c, h in ((name, curves[name], hulls[name]) for name in curves)
            if taken[name] + 1 < len(h)
        }
        if not gains:
            break
        taken[max(gains, key=gains.get)] += 1


def test_the_hull_is_convex_and_below_all_options():
    curve = random_curves(np.random.default_rng(5), 1, 40)["part 0"]
    hull = lower_hull(curve)
    slopes = np.diff(curve.loss[hull]) / np.diff(curve.size[hull])
    assert np.all(np.diff(slopes) > 0)
    assert np.all(slopes < 0)
    inside = curve.size >= curve.size[hull[0]]
    assert np.all(
        np.interp(curve.size, curve.size[hull], curve.loss[hull])[inside] <= curve.loss[inside] + 1e-12
    )


def test_a_budget_that_is_too_small_and_bad_curves_are_refused():
    curves = random_curves(np.random.default_rng(0))
    with pytest.raises(ValueError, match="budget must be at least"):
        allocate(curves, sum(curve.size.min() for curve in curves.values()) - 1)
    with pytest.raises(ValueError, match="curves must hold finite"):
        allocate({"a": Curve(np.ones(2), np.array([1, np.nan]))}, 5)
    with pytest.raises(ValueError, match="curves must hold finite"):
        allocate({"a": Curve(np.ones(2), np.ones(3))}, 5)
