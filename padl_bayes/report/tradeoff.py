"""The section of a report on the tradeoff of a fit."""

import numpy as np

from padl_bayes import plots
from padl_bayes.report.page import Picture, Section, Table

MOST_ROWS = 12


def tradeoff_section(title, name, found, point, target):
    """Section on a predicted frontier and the point chosen on it.

    Parameters
    ----------
    title : str
    name : str
        First part of the names of the figures.
    found : padl_bayes.tradeoff.Frontier
    point : padl_bayes.tradeoff.Point
    target : "mdl" or tuple
        What the point was chosen for.
    """
    asked = "the shortest description" if target == "mdl" else f"{target[0]} of at most {target[1]:g}"
    lead = (
        f"Of {len(found.alpha)} pairs of weights, alpha1 = {point.alpha[0]:.4g} and alpha2 = {point.alpha[1]:.4g} were "
        f"chosen for {asked}. Predicted there: {point.active} atoms, {point.nonzeros:.3g} nonzero codes a sample, "
        f"{point.bits / 8:.0f} bytes, an RMSE of {point.rmse:.4g}, {point.stored_rmse:.4g} as stored: the codes of "
        "least squares on the same supports, which are not shrunk, rounded."
    )
    caption = "RMSE of what is stored over its size, for all pairs of weights; no other pair beats those on the line."
    blocks = [
        lead,
        Picture(f"{name}-frontier", plots.frontier(found, point=point), caption, half=True),
        Picture(
            f"{name}-storage", plots.storage_breakdown(found), "What the bytes hold on that line.", half=True
        ),
        _table(found),
    ]
    return Section(title, blocks)


def _table(found):
    best = found.pareto()
    best = best[np.linspace(0, len(best) - 1, min(len(best), MOST_ROWS)).astype(int)]
    rows = [
        (*found.alpha[i].tolist(), float(found.bits[i] / 8), int(found.active[i]), float(found.nonzeros[i]),
         float(found.rmse[i]), float(found.stored_rmse[i]))
        for i in best
    ]  # fmt: skip
    header = ("alpha1", "alpha2", "bytes", "atoms", "nonzeros", "RMSE", "RMSE as stored")
    return Table(header, rows, "Pairs of weights that no other one beats in bytes and RMSE as stored.")
