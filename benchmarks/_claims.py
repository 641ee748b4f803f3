"""What the papers claim of accuracy at equal sparsity, of the atoms in use and of weights that need no tuning."""

import time
import warnings

import numpy as np

import padl_bayes as pb
from padl_bayes import PADL, ConvergenceWarning, rivals


def _fits(X, part, say):
    options = {"EM": {"max_iter": part.max_iter}, "MAP, mdl": {"method": "map", "alpha": "mdl"}}
    fits = {}
    for name, more in options.items():
        say(f"  PADL {name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits[f"PADL {name}"] = PADL(part.n_atoms, **more).fit(X)
    return fits


def _grid_against_point(em, point, train, held_out, part):
    """Description length of held-out samples over a grid around the weights predicted from training samples."""
    shrink = len(held_out) / len(train)
    factors = np.geomspace(1 / 4, 4, part.n_grid)
    alpha1 = np.repeat(point.alpha[0] * factors, part.n_grid)
    start = point.alpha[1] or point.alpha[0] * 1e-3 * len(train)
    alpha2 = np.tile(start * shrink * factors, part.n_grid)
    alpha = np.concatenate([[(point.alpha[0], point.alpha[1] * shrink)], np.stack([alpha1, alpha2], axis=1)])
    started = time.perf_counter()
    found = pb.tradeoff.frontier(em, X=held_out, alpha=alpha, most_samples=len(held_out))
    best = int(np.argmin(found.description_length))
    size = found.description_length / held_out.size
    return {
        "seconds": time.perf_counter() - started, "pairs": len(alpha) - 1,
        "excess": float(size[0] - size[best]), "at point": float(size[0]), "best": float(size[best]),
        "factors": [float(alpha[best, 0] / alpha[0, 0]), float(alpha[best, 1] / (start * shrink))],
        "rmse": [float(found.rmse[0]), float(found.rmse[best])],
        "nonzeros": [float(found.nonzeros[0]), float(found.nonzeros[best])],
    }  # fmt: skip


def run_claims(part, say):
    """Scores of all dictionaries, the atoms in use, and the predicted weights against a grid of refits."""
    train, held_out = pb.datasets.split(part.load(), 0.2, seed=0)
    fits = _fits(train, part, say)
    em, point = fits["PADL EM"], fits["PADL MAP, mdl"].operating_point_
    scores = rivals.compare_rivals(
        fits,
        train,
        held_out,
        minibatch=True,
        spams_iter=part.spams_iter,
        callback=lambda text: say(f"  {text}"),
    )
    grid = None if point is None else _grid_against_point(em.fit_, point, train, held_out, part)
    return {
        "samples": [len(train), len(held_out)], "features": train.shape[1], "allowed": part.n_atoms,
        "active": {name: fit.n_active_ for name, fit in fits.items()}, "status": em.status_,
        "scores": [score._asdict() for score in scores], "grid": grid,
    }  # fmt: skip


def _verdict(holds):
    return "holds" if holds else "does not hold"


def section_claims(name, result):
    """Markdown of one data set."""
    scores, grid, allowed = result["scores"], result["grid"], result["allowed"]
    ours = scores[0]
    others = [s for s in scores if not s["method"].startswith("PADL")]
    lasso = [s for s in others if s["coding"] == "lasso"]
    lines = [
        f"## {name}", "",
        f"{result['samples'][0]} training and {result['samples'][1]} held-out samples of {result['features']} "
        f"features, at most {allowed} atoms. EM: {result['status']}. {result['machine']}.", "",
        "| dictionary | codes | atoms | nonzeros, held-out | RMSE, held-out | ours against |",
        "|---|---|--:|--:|--:|--:|",
    ]  # fmt: skip
    lines += [
        f"| {s['method']} | {s['coding']} | {s['n_atoms']} | {s['nonzeros_held_out']:.2f} | {s['rmse_held_out']:.4g} "
        f"| {ours['rmse_held_out'] / s['rmse_held_out'] - 1:+.0%} |"
        for s in scores
    ]
    lines.append("")
    for what, rows in (("lasso codes", lasso), ("codes of any kind", others)):
        if rows:
            change = ours["rmse_held_out"] / min(s["rmse_held_out"] for s in rows) - 1
            lines.append(
                f"- RMSE 20% lower at equal nonzeros, against the best rival with {what}: {change:+.0%}, "
                f"{_verdict(change <= -0.2)}."
            )
    for method, count in result["active"].items():
        lines.append(
            f"- Under a tenth of the atoms used, {method}: {count} of {allowed}, {_verdict(count < allowed / 10)}."
        )
    if grid:
        lines.append(
            f"- Weights without tuning: held-out samples take {grid['at point']:.4g} bits an entry at the predicted "
            f"weights, {grid['best']:.4g} at the best of {grid['pairs']} pairs ({grid['factors'][0]:.2g} and "
            f"{grid['factors'][1]:.2g} times those); RMSE {grid['rmse'][0]:.4g} and {grid['rmse'][1]:.4g}, nonzeros "
            f"{grid['nonzeros'][0]:.2f} and {grid['nonzeros'][1]:.2f}."
        )
    return "\n".join([*lines, ""])
