"""The tradeoff as predicted and as refitted: ``python -m benchmarks.tradeoff [PART ...] [--quick]``.

A refit is `padl_bayes.sparse_code` with the fitted dictionary, a convex problem with a certificate; some refits let the
dictionary move too (`padl_bayes.inference.fit_map` from it). Parts that are not run again are kept.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

import padl_bayes as pb
from benchmarks._posterior import Page, run_page
from padl_bayes import plots
from padl_bayes.calibration import climb
from padl_bayes.tradeoff.prediction import METHODS

MEASURES = ("nonzeros", "active", "rmse")
WITHIN = 0.1
STRONG_STARTS = 200

HEAD = """# Sparsity, storage, accuracy: predicted and refitted

`python -m benchmarks.tradeoff`. Errors are of `pb.tradeoff.frontier` relative to refits with the fitted dictionary
(`sparse_code`, gap below 1e-5), over the useful range: pairs of weights whose refit explains at least half of the
signal's energy. "sampled" codes part of the samples, the other two methods are integrals under the fitted law of the
codes.
"""


class Surface(NamedTuple):
    """Data, the bound on the atoms of EM, how many samples "sampled" may code, and how fine the grid is."""

    draw: Callable
    n_atoms: int
    most_samples: int
    n_alpha1: int = 6
    fractions: tuple = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)
    truth: int = 0
    max_iter: int = 5000


class Null(NamedTuple):
    """Shapes of pure noise, fits of each, and simulations of the calibration."""

    shapes: tuple
    draws: int
    simulations: int
    delta: float = 0.05


class Curve(NamedTuple):
    """Training samples, weights of the l_inf part a sample, repetitions."""

    n_train: tuple
    alpha2: tuple
    repetitions: int
    n_held_out: int


def _relative(predicted, refitted):
    return np.abs(np.asarray(predicted, float) / np.maximum(refitted, 1e-12) - 1)


def _refits(X, dictionary, alpha):
    started = time.perf_counter()
    order = np.lexsort((-alpha[:, 1], -alpha[:, 0]))
    rows = np.empty((len(alpha), 3))
    for i, found in zip(order, pb.sparse_code_path(X, dictionary, alpha[order], tol=1e-5), strict=True):
        used = found.codes != 0
        rows[i] = (
            used.sum(axis=1).mean(),
            used.any(axis=0).sum(),
            np.sqrt(np.mean((X - found.codes @ dictionary) ** 2)),
        )
    return rows, time.perf_counter() - started


def _grid(X, fit, part):
    pairs = []
    for alpha1 in fit.noise_scale * np.geomspace(0.5, 6, part.n_alpha1):
        top = pb.objective.alpha2_max(X, fit.dictionary, alpha1)
        pairs += [(alpha1, share * top) for share in part.fractions]
    return np.array(pairs)


def _free(X, fit, alpha, refits, useful):
    """Refits whose dictionary may move, of every third useful pair: errors against those with it fixed."""
    rows = []
    for i in np.flatnonzero(useful)[::3]:
        found = pb.inference.fit_map(
            X,
            len(fit.dictionary),
            alpha=tuple(alpha[i]),
            dictionary_init=fit.dictionary,
            max_iter=50,
            gap_tol=1e-4,
        )
        codes, moved = found.codes, np.abs(found.dictionary @ fit.dictionary.T).max(axis=1)
        figures = (
            (codes != 0).sum(axis=1).mean(),
            len(found.dictionary),
            np.sqrt(np.mean((X - codes @ found.dictionary) ** 2)),
        )
        rows.append([*_relative(refits[i], figures), float(np.mean(moved > 0.9))])
    rows = np.array(rows)
    kept = rows[:, 3] > 0.95
    return {
        "pairs": len(rows),
        "kept": int(kept.sum()),
        "errors": rows[kept, :3].max(axis=0).tolist() if kept.any() else None,
    }


def run_surface(part, say):
    """Errors of all methods over the useful range, and the operating point of least description length."""
    X = part.draw()
    fit = pb.inference.fit_em(X, part.n_atoms, max_iter=part.max_iter)
    alpha = _grid(X, fit, part)
    refits, seconds = _refits(X, fit.dictionary, alpha)
    signal = np.mean(X**2) - fit.noise_scale**2
    useful = (refits[:, 2] ** 2 <= fit.noise_scale**2 + 0.5 * signal) & (refits[:, 1] > 0)
    methods = {}
    for method in METHODS:
        started = time.perf_counter()
        found = pb.tradeoff.frontier(fit, X=X, alpha=alpha, method=method, most_samples=part.most_samples)
        took = time.perf_counter() - started
        predicted = np.stack([getattr(found, name) for name in MEASURES], axis=1)
        errors = _relative(predicted, refits)[useful]
        methods[method] = {
            "predicted": predicted.tolist(),
            "median": np.median(errors, axis=0).tolist(),
            "worst": errors.max(axis=0).tolist(),
            "within": (errors <= WITHIN).mean(axis=0).tolist(),
            "seconds": took,
        }
        say(f"{method}: largest errors {np.round(methods[method]['worst'], 3)}")
    point = pb.tradeoff.operating_point(fit, "mdl", X=X, most_samples=part.most_samples)
    return {
        "samples": len(X), "coded": min(len(X), part.most_samples), "atoms": len(fit.dictionary), "truth": part.truth,
        "alpha": alpha.tolist(), "refits": refits.tolist(), "refit_seconds": seconds, "useful": useful.tolist(),
        "methods": methods, "free": _free(X, fit, alpha, refits, useful),
        "mdl": {"active": point.active, "nonzeros": point.nonzeros, "rmse": point.rmse, "bits": point.bits,
                "alpha1_over_noise": point.alpha[0] / fit.noise_scale},
    }  # fmt: skip


_climb = jax.jit(climb, static_argnums=3)


def _strong_level(E, alpha1, rng):
    """Level of the best of many random directions, each climbed."""
    starts = rng.standard_normal((STRONG_STARTS, E.shape[1]))
    starts /= np.linalg.norm(starts, axis=1, keepdims=True)
    return float(_climb(E.astype(np.float32), starts.astype(np.float32), np.float32(alpha1), 60)[1].max())


def run_null(part, say):
    """How often any atom wakes in pure noise at calibrated weights, and how many true atoms wake in synthetic A."""
    rates = []
    for shape in part.shapes:
        found = pb.calibrate_alpha(
            shape=shape, noise_scale=1.0, delta=part.delta, n_simulations=part.simulations, random_state=1
        )
        rng = np.random.default_rng(0)
        woken = strong = 0
        for _ in range(part.draws):
            E = rng.standard_normal(shape).astype(np.float32)
            fit = pb.inference.fit_map(E, 5, alpha=found[:2], max_iter=20, gap_tol=1e-3)
            woken += len(fit.dictionary) > 0
            strong += _strong_level(E, found.alpha1, rng) > found.alpha2
        rates.append({"shape": list(shape), "woken": woken, "strong": strong, "draws": part.draws})
        say(f"{shape}: {woken} and {strong} of {part.draws}")
    power = []
    for noise in (0.1, 0.3):
        data = pb.datasets.synthetic_a(noise, n_samples=500, seed=0)
        weights = pb.calibrate_alpha(data.X, n_simulations=99)
        own = np.maximum(np.abs(data.X @ data.dictionary.T) - weights.alpha1, 0).sum(axis=0)
        fit = pb.inference.fit_map(data.X, 40, alpha=weights[:2], max_iter=60, gap_tol=1e-4)
        recovered = pb.recovered(fit.dictionary, data.dictionary, 0.9) if len(fit.dictionary) else 0
        power.append({
            "noise": noise, "above": int((own > weights.alpha2).sum()), "active": len(fit.dictionary),
            "recovered": int(recovered),
        })  # fmt: skip
    return {"delta": part.delta, "simulations": part.simulations, "rates": rates, "power": power}


def run_curve(part, say):
    """Gaps between held-out and training loss of 4 x 4 patches, and their bounds."""
    total = max(part.n_train) * part.repetitions + part.n_held_out
    patches = pb.datasets.natural_patches(total, 4, scale="grey", seed=0).X
    held_out, pool = patches[: part.n_held_out], patches[part.n_held_out :]
    # a patch of grey levels in [0, 1] less its mean is no longer than half the root of its pixels
    n_atoms, alpha1, norm_bound = 12, 0.02, 0.5 * np.sqrt(16)
    rows = []
    for n in part.n_train:
        for share in part.alpha2:
            for r in range(part.repetitions):
                X = pool[r * n : (r + 1) * n]
                fit = pb.inference.fit_map(X, n_atoms, alpha=(alpha1, share * n), max_iter=60, random_state=r)
                t = np.abs(fit.codes).max(axis=0, initial=0)
                losses, other = (
                    pb.tradeoff.sample_losses(Y, fit.dictionary, t, alpha1) for Y in (X, held_out)
                )
                active = max(len(fit.dictionary), 1)
                bound = pb.tradeoff.generalisation_bound(
                    active,
                    16,
                    n,
                    alpha1,
                    norm_bound=norm_bound,
                    n_atoms=n_atoms,
                    loss_sd=float(losses.std(ddof=1)),
                )
                rows.append({
                    "n": n, "alpha2": share, "active": len(fit.dictionary), "gap": float(other.mean() - losses.mean()),
                    "loss": float(losses.mean()), "bound": bound.gap, "trivial": bound.trivial,
                })  # fmt: skip
        say(f"{n} samples: gaps up to {max(row['gap'] for row in rows if row['n'] == n):.2g}")
    return {"norm_bound": float(norm_bound), "alpha1": alpha1, "rows": rows}


def _section_surface(name, result):
    lines = [
        f"## {name}", "",
        f"{result['samples']} samples, {result['atoms']} atoms by EM"
        + (f" ({result['truth']} true)" if result["truth"] else "")
        + f", {sum(result['useful'])} useful pairs of {len(result['useful'])}; "
        f"\"sampled\" codes {result['coded']}.", "",
        "| method | nonzeros: median, worst | active | RMSE | within 10%: nonzeros, active, RMSE | seconds |",
        "|---|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for method, row in result["methods"].items():
        cells = " | ".join(f"{m:.1%}, {w:.1%}" for m, w in zip(row["median"], row["worst"], strict=True))
        shares = ", ".join(f"{share:.0%}" for share in row["within"])
        lines.append(f"| {method} | {cells} | {shares} | {row['seconds']:.1f} |")
    free, mdl = result["free"], result["mdl"]
    lines += ["", f"All refits took {result['refit_seconds']:.1f} s."]
    worst = (
        "" if free["errors"] is None
        else ", where refits with it fixed are within " + ", ".join(f"{error:.1%}" for error in free["errors"])
    )  # fmt: skip
    lines += [
        f"With the dictionary free to move, {free['kept']} of {free['pairs']} pairs keep 95% of the atoms "
        f"(cosine above 0.9){worst} (nonzeros, active, RMSE).",
        f"Shortest description: {mdl['active']} atoms, {mdl['nonzeros']:.2f} nonzeros a sample, "
        f"RMSE {mdl['rmse']:.4f}, {mdl['bits'] / 8192:.1f} kB, alpha1 {mdl['alpha1_over_noise']:.2f} noise scales.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _rate_error(result, row):
    """Standard error of a rate, of the draws and of the calibration: a level is as random as the rate above it."""
    delta = result["delta"]
    return np.sqrt(delta * (1 - delta) * (1 / row["draws"] + 1 / (result["simulations"] + 2)))


def _section_null(name, result):
    lines = [
        f"## {name}", "",
        f"Calibrated at a rate of {result['delta']:.0%} with {result['simulations']} simulations. \"Fitted\" is MAP "
        f"with 5 atoms, \"climbed\" the best of {STRONG_STARTS} random directions.", "",
        "| samples x features | fitted | climbed | draws | two standard errors |", "|---|--:|--:|--:|--:|",
    ]  # fmt: skip
    for row in result["rates"]:
        error = 2 * _rate_error(result, row)
        rates = [row[key] / row["draws"] for key in ("woken", "strong")]
        shape = f"{row['shape'][0]} x {row['shape'][1]}"
        lines.append(f"| {shape} | {rates[0]:.1%} | {rates[1]:.1%} | {row['draws']} | {error:.1%} |")
    lines += ["", "Power on 500 samples of synthetic A (20 atoms):", ""]
    lines += [
        f"- noise {row['noise']}: {row['above']} true atoms alone pass alpha2; MAP keeps {row['active']}, of which "
        f"{row['recovered']} true (cosine above 0.9)." for row in result["power"]
    ]  # fmt: skip
    return "\n".join([*lines, ""])


def _section_curve(name, result):
    rows = result["rows"]
    above = sum(row["bound"] >= row["gap"] for row in rows)
    trivial = sum(row["trivial"] for row in rows)
    lines = [
        f"## {name}", "",
        f"4 x 4 patches of grey levels less their mean, norms at most {result['norm_bound']:g}, "
        f"alpha1 {result['alpha1']}. The bound is at or above the gap in {above} of {len(rows)} runs; "
        f"in {trivial} it says nothing.", "",
        "| training samples | alpha2 / N | active | training loss | gap, largest | bound |",
        "|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for n, share in dict.fromkeys((row["n"], row["alpha2"]) for row in rows):
        some = [row for row in rows if (row["n"], row["alpha2"]) == (n, share)]
        mean = {key: np.mean([row[key] for row in some]) for key in ("active", "loss", "bound")}
        lines.append(
            f"| {n} | {share:g} | {mean['active']:.1f} | {mean['loss']:.4f} | {max(row['gap'] for row in some):.5f} "
            f"| {mean['bound']:.3f} |"
        )
    return "\n".join([*lines, ""])


KINDS = {
    Surface: (run_surface, _section_surface), Null: (run_null, _section_null), Curve: (run_curve, _section_curve),
}  # fmt: skip


def run(part, options, say):
    """One part, of whichever kind."""
    return {"kind": type(part).__name__} | KINDS[type(part)][0](part, say)


def section(name, result):
    """Markdown of one part."""
    return {kind.__name__: show for kind, (_, show) in KINDS.items()}[result["kind"]](name, result)


def draw(name, result):
    """Predicted against refitted, or the learning curve; rates have no figure but a bar each."""
    fig = Figure(figsize=(10, 4), layout="constrained")
    if result["kind"] == "Surface":
        useful, refits = np.array(result["useful"]), np.array(result["refits"])
        for ax, (k, measure) in zip(fig.subplots(1, 3), enumerate(MEASURES), strict=True):
            predicted = {m: np.array(row["predicted"])[useful, k] for m, row in result["methods"].items()}
            plots.predicted_refitted(
                predicted, dict.fromkeys(predicted, refits[useful, k]), title=measure, ax=ax
            )
    elif result["kind"] == "Curve":
        rows = result["rows"]
        least, most = min(row["alpha2"] for row in rows), max(row["n"] for row in rows)
        one, other = fig.subplots(1, 2)
        _curve(one, [row for row in rows if row["alpha2"] == least], "n", "training samples")
        _curve(other, [row for row in rows if row["n"] == most], "active", "atoms in use")
    else:
        ax = fig.subplots()
        names = ["{} x {}".format(*row["shape"]) for row in result["rates"]]
        ax.bar(names, [row["woken"] / row["draws"] for row in result["rates"]])
        ax.axhline(result["delta"])
    return fig


def _curve(ax, rows, key, label):
    values = sorted({row[key] for row in rows if row[key] > 0})
    gaps = [np.mean([row["gap"] for row in rows if row[key] == value]) for value in values]
    bounds = [np.mean([row["bound"] for row in rows if row[key] == value]) for value in values]
    plots.learning_curve(np.array(values, float), gaps, bounds, xlabel=label, ax=ax)


def _a(noise, amplitude="laplace", **more):
    def draw():
        return pb.datasets.synthetic_a(noise, amplitude, seed=0).X

    return Surface(draw, 80, 500, truth=20, **more)


def _patches(n):
    return lambda: pb.datasets.natural_patches(n, 8, seed=0).X.astype(np.float32)


PARTS = {
    "A 0.1": _a(0.1),
    "A 0.3": _a(0.3),
    "A gaussian 0.1": _a(0.1, "gaussian"),
    "B 20 dB": Surface(lambda: pb.datasets.synthetic_b(20, seed=0).X, 100, 500, truth=50),
    "patches": Surface(_patches(8000), 64, 2000, max_iter=300),
    "null rates": Null(((20, 20), (200, 32), (1000, 16), (5000, 64)), 200, 1999),
    "learning curve": Curve((250, 1000, 4000, 16000), (0.0, 0.03, 0.04, 0.05), 3, 20_000),
}
QUICK = Surface(
    lambda: pb.datasets.synthetic_a(0.1, n_samples=400, n_features=16, n_atoms=6, seed=0).X, 12, 200,
    n_alpha1=3, fractions=(0.0, 0.03), truth=6,
)  # fmt: skip
PAGE = Page("tradeoff", HEAD, PARTS, QUICK, run, section, draw)


def main(arguments=None):
    """Run the parts named."""
    return run_page(PAGE, arguments, __doc__)


if __name__ == "__main__":
    main()
