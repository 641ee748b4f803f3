"""A budget of bytes shared over parts by marginal benefit."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from padl_bayes._validation import check_scalar


class Curve(NamedTuple):
    """What a part can be had for."""

    size: np.ndarray
    """(n_options,) bytes."""
    loss: np.ndarray
    """(n_options,)"""


def lower_hull(curve):
    """Options on the lower convex hull of loss over size, smallest first, as far as the loss falls."""
    kept: list[int] = []
    for i in np.lexsort((curve.loss, curve.size)):
        if kept and curve.loss[i] >= curve.loss[kept[-1]]:
            continue
        while len(kept) > 1 and _slope(curve, kept[-2], kept[-1]) >= _slope(curve, kept[-1], i):
            kept.pop()
        kept.append(int(i))
    return kept


def _slope(curve, i, j):
    """Change of the loss per byte: negative."""
    return (curve.loss[j] - curve.loss[i]) / max(curve.size[j] - curve.size[i], np.finfo(float).tiny)


def allocate(curves, budget):
    """Choose an option of each part so that the sum of losses is small and that of sizes at most the budget.

    Every part starts at its smallest option and goes along its lower hull; the step that brings most for a byte is
    taken next (Shoham, Gersho, IEEE TASSP 36, 1988). Then single options are exchanged for better ones while some fit.
    Where a step uses the budget up exactly, no choice is better; otherwise the loss is above the least by less than the
    first step that did not fit would bring.

    Parameters
    ----------
    curves : dict of str to Curve
    budget : float
        In bytes.

    Returns
    -------
    dict of str to int
        Option by part.

    Raises
    ------
    ValueError
        The smallest options take more than the budget, or a curve is empty or holds something that is not finite.
    """
    budget = check_scalar(budget, "budget", strict=True)
    for name, curve in curves.items():
        if not len(curve.size) or len(curve.size) != len(curve.loss) or not np.isfinite([curve]).all():
            raise ValueError(f"curves must hold finite sizes and losses, as many of both, found {name!r}")
    hulls = {name: lower_hull(curve) for name, curve in curves.items()}
    chosen: dict[str, int] = {name: hull[0] for name, hull in hulls.items()}
    left = budget - sum(curves[name].size[i] for name, i in chosen.items())
    if left < 0:
        raise ValueError(f"budget must be at least {budget - left:.0f} bytes, found {budget:.0f}")
    steps = [(_slope(curves[name], i, j), name, j) for name, hull in hulls.items() for i, j in pairwise(hull)]
    stopped = set()
    for _, name, j in sorted(steps):
        cost = curves[name].size[j] - curves[name].size[chosen[name]]
        if cost > left or name in stopped:
            stopped.add(name)
            continue
        chosen[name], left = j, left - cost
    return _exchanged(curves, chosen, left)


def _exchanged(curves, chosen, left):
    """Exchange single options for those that lower the loss most and still fit, until none does."""
    while True:
        best = None
        for name, i in chosen.items():
            curve = curves[name]
            fits = np.flatnonzero((curve.size - curve.size[i] <= left) & (curve.loss < curve.loss[i]))
            for j in fits.tolist():
                if best is None or curve.loss[i] - curve.loss[j] > best[0]:
                    best = curve.loss[i] - curve.loss[j], name, j
        if best is None:
            return chosen
        _, name, j = best
        left -= curves[name].size[j] - curves[name].size[chosen[name]]
        chosen[name] = j
