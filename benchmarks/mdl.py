"""The operating point of least description length on real data: ``python -m benchmarks.mdl [PART ...] [--quick]``.

Weights are chosen by `padl_bayes.tradeoff.operating_point` from one fit of variational EM, and compared with a grid of
refits of PADL (`padl_bayes.inference.fit_map`), all of which start at that fit; the refit at the chosen weights starts
at the atoms chosen, as `padl_bayes.PADL` has it. Compared are the lengths of samples
that no fit has seen. Parts that are not run again are kept.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

import padl_bayes as pb
from benchmarks._posterior import Page, run_page
from padl_bayes.inference.envelope import codes_in_envelope
from padl_bayes.tradeoff.storage import (
    best_precision,
    description_length,
    refit_on_support,
    statistics_of,
    storage_bits,
)

FRACTIONS = (0.0, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 1e-1, 3e-1)
HEAD = """# Weights of the shortest description, chosen and searched for

`python -m benchmarks.mdl`. Lengths are of held-out samples, in bits a sample at the resolution of the data: dictionary,
supports, values and residual by the code of `pb.tradeoff.storage`, each at its best step, codes found within the
envelopes of the training samples. Excess is relative to the shortest of all refits, in brackets relative to what that
one saves over storing noise alone. Seconds are of the processor, as others may share it; the choice was compiled
before, of the refits the first compiles.
"""


class Part(NamedTuple):
    """Data, and the sizes of fit and grid."""

    load: Callable
    """``() -> (training samples, held-out samples, resolution)``."""
    n_atoms: int
    passes: int
    """Of EM, at most."""
    most: float = 16.0
    """Largest alpha1 of the grid in noise scales; the least is 2."""
    n_alpha1: int = 10
    fractions: tuple = FRACTIONS
    iterations: int = 30
    """Of a refit, at most."""


def held_out_length(X, dictionary, envelope, alpha1, noise_scale):
    """Bits of samples (N, P) and of the dictionary, less what depends on the resolution only; and nonzeros."""
    codes, _ = codes_in_envelope(X, dictionary, envelope.astype(X.dtype), alpha1, tol=1e-4)
    found = statistics_of(X, refit_on_support(X, codes, dictionary), dictionary)
    step = best_precision(found, *X.shape, noise_scale)
    storage = storage_bits(found, *X.shape, noise_scale, precision=float(step))
    return float(description_length(storage, found.residual, *X.shape)), float(
        np.mean(np.sum(codes != 0, axis=1))
    )


def _refit(train, held_out, fit, alpha, iterations, atoms=slice(None)):
    """Length and seconds of MAP at these weights, started at the fit's atoms or some of them."""
    started = time.process_time()
    start = fit.dictionary[atoms]
    found = pb.inference.fit_map(
        train,
        len(start),
        alpha=alpha,
        dictionary_init=start,
        max_iter=iterations,
        gap_tol=1e-4,
    )
    seconds = time.process_time() - started
    envelope = np.abs(found.codes).max(axis=0, initial=0)
    length, nonzeros = held_out_length(held_out, found.dictionary, envelope, alpha[0], fit.noise_scale)
    return {
        "alpha": list(alpha), "length": length, "nonzeros": nonzeros, "active": len(found.dictionary),
        "seconds": seconds,
    }  # fmt: skip


def _chosen(train, held_out, fit, point):
    """Length with the fit's own atoms, coded at the point's weights."""
    atoms = fit.dictionary[point.atoms].astype(train.dtype)
    codes = pb.sparse_code(train, atoms, *point.alpha, tol=1e-4).codes
    envelope = np.abs(codes).max(axis=0, initial=0)
    length, nonzeros = held_out_length(held_out, atoms, envelope, point.alpha[0], fit.noise_scale)
    return {"alpha": list(point.alpha), "length": length, "nonzeros": nonzeros, "active": point.active}


def run(part, options, say):
    """The choice, the grid, and how long each took."""
    train, held_out, resolution = part.load()
    started = time.process_time()
    fit = pb.inference.fit_em(train, part.n_atoms, max_iter=part.passes)
    em_seconds = time.process_time() - started
    say(f"EM: {len(fit.dictionary)} atoms, noise {fit.noise_scale:.4g}, {em_seconds:.0f} s, {fit.status}")
    # what is to be described are as many samples as are held out
    options = {"X": train, "n_samples": len(held_out)}
    pb.tradeoff.operating_point(fit, "mdl", **options)
    started = time.process_time()
    point = pb.tradeoff.operating_point(fit, "mdl", **options)
    seconds = time.process_time() - started
    of_train = point.alpha[0], point.alpha[1] * len(train) / len(held_out)
    point = point._replace(alpha=of_train)
    say(f"choice: alpha1 {point.alpha[0] / fit.noise_scale:.2f} noise scales, {seconds:.2f} s")
    grid = []
    for alpha1 in fit.noise_scale * np.geomspace(2, part.most, part.n_alpha1):
        top = pb.objective.alpha2_max(train, fit.dictionary, alpha1)
        for share in part.fractions:
            alpha = float(alpha1), float(share * top)
            grid.append(_refit(train, held_out, fit, alpha, part.iterations) | {"share": share})
        row = grid[-len(part.fractions) :]
        best = min(r["length"] for r in row) / len(held_out)
        say(f"alpha1 {alpha1:.4g}: {sum(r['seconds'] for r in row):.0f} s, shortest {best:.1f}")
    nothing = held_out.size / 2 * np.log2(2 * np.pi * np.e * np.mean(np.square(held_out, dtype=np.float64)))
    return {
        "samples": [len(train), len(held_out)], "atoms": len(fit.dictionary), "noise": fit.noise_scale,
        "status": fit.status, "em_seconds": em_seconds, "choice_seconds": seconds,
        "nothing": float(nothing), "constant": -held_out.size * float(np.log2(resolution)),
        "chosen": _chosen(train, held_out, fit, point),
        "refitted": _refit(train, held_out, fit, point.alpha, part.iterations, point.atoms), "grid": grid,
    }  # fmt: skip


def excess(result, row):
    """Length over that of the shortest refit, less one; the same relative to what that one saves."""
    best = min(r["length"] for r in result["grid"])
    beyond = row["length"] - best
    return beyond / (best + result["constant"]), beyond / (result["nothing"] - best)


def grid_seconds(result):
    """Of all refits of the grid."""
    return sum(r["seconds"] for r in result["grid"])


def section(name, result):
    """Markdown of one part."""
    best = min(result["grid"], key=lambda r: r["length"])
    rows = {
        "shortest of the refits": best, "chosen, atoms of EM": result["chosen"],
        "chosen, refitted": result["refitted"],
    }  # fmt: skip
    train, held_out = result["samples"]
    lines = [
        f"## {name}", "",
        f"{train} training and {held_out} held-out samples, {result['atoms']} atoms by EM ({result['status']}), "
        f"{len(result['grid'])} refits; nothing stored: "
        f"{(result['nothing'] + result['constant']) / held_out:.1f} bits a sample.", "",
        "| | alpha1, noise scales | alpha2 / N | atoms | nonzeros | bits a sample | excess |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for label, row in rows.items():
        over, of_saving = excess(result, row)
        lines.append(
            f"| {label} | {row['alpha'][0] / result['noise']:.2f} | {row['alpha'][1] / train:.2g} | {row['active']} "
            f"| {row['nonzeros']:.2f} | {(row['length'] + result['constant']) / held_out:.2f} "
            f"| {over:+.2%} ({of_saving:+.1%}) |"
        )
    ratio = grid_seconds(result) / result["choice_seconds"]
    lines += [
        "",
        f"The choice took {result['choice_seconds']:.2f} s, the grid {grid_seconds(result):.0f} s, {ratio:.0f} times "
        f"as long; the fit by EM that the choice starts from, and the refits too, took {result['em_seconds']:.0f} s.",
        "",
    ]
    return "\n".join(lines)


def draw(name, result):
    """Length against alpha1, one line a share of alpha2, and the point that was chosen."""
    fig = Figure(figsize=(6, 4), layout="constrained")
    ax, n = fig.subplots(), result["samples"][1]
    for share in dict.fromkeys(r["share"] for r in result["grid"]):
        row = [r for r in result["grid"] if r["share"] == share]
        lengths = [(r["length"] + result["constant"]) / n for r in row]
        ax.semilogx([r["alpha"][0] / result["noise"] for r in row], lengths, "o-", ms=3, label=f"{share:g}")
    for label, marker in (("chosen", "*"), ("refitted", "s")):
        at = result[label]
        ax.plot(
            at["alpha"][0] / result["noise"],
            (at["length"] + result["constant"]) / n,
            marker,
            ms=11,
            label=label,
        )
    ax.set(xlabel="alpha1, noise scales", ylabel="held-out bits a sample")
    ax.legend(frameon=False, fontsize="small", title="alpha2 / largest", ncols=2)
    return fig


def _patches():
    X = pb.datasets.natural_patches(15_000, 8, scale="grey", seed=0).X.astype(np.float32)
    return X[:10_000], X[10_000:], 1 / 255


def _digits():
    rng = np.random.default_rng(0)
    X = pb.datasets.digits().X
    # whole numbers could be explained exactly, without noise: undo the rounding
    X = (X[rng.permutation(len(X))] + rng.uniform(-0.5, 0.5, X.shape)).astype(np.float32)
    return X[:1200], X[1200:], 1.0


def _toy():
    X = pb.datasets.synthetic_a(0.1, n_samples=600, n_features=16, n_atoms=6, seed=0).X
    return X[:400], X[400:], 0.01


PARTS = {
    "patches": Part(_patches, 96, 900, iterations=12),
    "digits": Part(_digits, 96, 2000, 64.0, 12),
}
QUICK = Part(_toy, 12, 200, n_alpha1=3, fractions=(0.0, 0.03), iterations=10)
PAGE = Page("mdl", HEAD, PARTS, QUICK, run, section, draw)


def main(arguments=None):
    """Run the parts named."""
    return run_page(PAGE, arguments, __doc__)


if __name__ == "__main__":
    main()
