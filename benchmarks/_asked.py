"""What the benchmarks are asked to show, and how to read it off the results of their parts."""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np


class Found(NamedTuple):
    """A figure, and the least and most that the repeats allow."""

    value: float
    least: float | None = None
    most: float | None = None


class Line(NamedTuple):
    """What is compared with what, on which parts of which page; ``figure`` takes their results.

    ``asked`` is ``("at least", bound)``, ``("at most", bound)``, ``("within 10% of", goal)`` or None.
    """

    what: str
    against: str
    page: str
    parts: tuple
    figure: Callable
    asked: tuple | None = None

    def met(self, value):
        """Whether a figure is what is asked for."""
        rule, bound = self.asked
        if rule == "within 10% of":
            return abs(value / bound - 1) <= 0.1
        return value >= bound if rule == "at least" else value <= bound


def ratio(slow, fast):
    """Median of some seconds over that of others."""
    return Found(float(np.median(slow) / np.median(fast)), min(slow) / max(fast), max(slow) / min(fast))


def _row_ratio(rows, slow, fast, seconds="seconds"):
    if rows.get(slow) is None or rows.get(fast) is None:
        return None
    return ratio(rows[slow][seconds], rows[fast][seconds])


def coding_against(rival):
    """Time of a rival over ours, to the same suboptimality."""
    return lambda r: _row_ratio(r["rows"], rival, "this package")


def fit_against(rival, target):
    """Time of a rival over ours, to the same objective."""

    def figure(r):
        times = {label: curve[target] for label, curve in r["curves"].items()}
        return _row_ratio(times, rival, "this package, fit_map")

    return figure


def gap_over_suboptimality(r):
    """How much larger what is certified is than what is true."""
    return Found(r["gap"] / r["suboptimality"])


def few_over_all(r):
    """Time with about a twentieth of the atoms active over that with all of them active."""
    seconds = {row["active"] / row["atoms"]: row["seconds"] for row in r["rows"]}
    few = min(seconds, key=lambda share: abs(share - 0.05))
    return ratio(seconds[few], seconds[1.0]) if 1.0 in seconds and abs(few - 0.05) < 0.01 else None


def slope(*parts):
    """Slope of log seconds against log size over some parts; of a size in two the later counts."""
    by = parts[0]["part"]["by"]
    rows = {row[by]: row["seconds"] for r in parts for row in r["rows"]}
    seconds = [np.median(s) for s in rows.values()]
    return Found(float(np.polyfit(np.log(list(rows)), np.log(seconds), 1)[0]))


def two_threads(r):
    """Time on one thread over that on two."""
    return ratio(r["seconds"]["1"], r["seconds"]["2"])


def kernel_over(kind, threads):
    """Time of a pass in plain JAX over that of the kernel, on as many threads."""
    return lambda r: _row_ratio(r["runs"], f"{kind} {threads}", f"kernel {threads}")


def over_arithmetic(r):
    """Time of the kernel over that of its arithmetic, on one thread."""
    run = r["runs"]["kernel 1"]
    return Found(*(float(f(run["seconds"])) * run["peak"] / r["work"] for f in (np.median, min, max)))


def one_epoch(r):
    """Seconds of scikit-learn's epoch and codes over those of our fit and codes."""
    ours, rival = r["ours"], r["sklearn"]
    return Found((rival["fit"] + rival["encode"]) / (ours["fit"] + ours["encode"]))


def error_at_equal_nonzeros(r):
    """RMSE of its codes, with as many nonzeros, over ours."""
    return Found(r["sklearn"]["train_lasso"]["rmse"] / r["ours"]["rmse"])


def effective_samples(ours, rival, which):
    """Effective samples of the median entry a second, ours aligned, without compilation."""

    def rate(row, kind):
        spent = row["seconds"] - row["compilation"] + (kind == "aligned") * row["alignment_seconds"]
        return row[kind]["ess_median"] / spent

    return lambda r: Found(rate(r["rows"][ours], "aligned") / rate(r["rows"][rival], which))


def decibels_above(rival):
    """PSNR of restored images over a rival's at the worst of the levels, and over all of them."""

    def figure(r):
        if any(row[rival] is None for row in r["rows"]):
            return None
        above = [row["this package"] - np.max(row[rival]) for row in r["rows"]]
        return Found(float(min(above)), float(min(above)), float(max(above)))

    return figure


def error_over_lasso(r):
    """Held-out RMSE of EM over the best rival's with lasso codes of as many nonzeros."""
    others = (s for s in r["scores"] if s["coding"] == "lasso" and not s["method"].startswith("PADL"))
    rivals = [s["rmse_held_out"] for s in others]
    return Found(r["scores"][0]["rmse_held_out"] / min(rivals)) if rivals else None


def share_of_atoms(r):
    """Active atoms of EM over those allowed."""
    return Found(r["active"]["PADL EM"] / r["allowed"])


COARSE, FINE = "20000 patches, alpha2 0.175 N", "20000 patches, alpha2 0.0175 N"
DECADES = tuple(f"1e{n} to 1e{n + 1} samples" for n in (4, 5))
RIVAL_CODERS = {
    "SPAMS, FISTA": 30, "numba, row descent": 3, "JAX FISTA, sorted": None, "JAX FISTA, Newton": None
}  # fmt: skip
RIVAL_LEARNERS = (
    "scikit-learn, DictionaryLearning", "scikit-learn, MiniBatchDictionaryLearning", "SPAMS, trainDL"
)  # fmt: skip
PLAIN = {"reference": "plain JAX", "definition": "plain JAX, atom by atom"}
SWEEPS = tuple(
    f"{rule}{slab}, {dtype}"
    for rule in ("", "Gibbs draws, ")
    for slab in ("laplace", "gaussian")
    for dtype in ("float64", "float32")
)


def _lines():
    active = "sparse coding against active atoms"
    for rival, bound in RIVAL_CODERS.items():
        asked = bound and ("at least", bound)
        yield Line(
            "sparse coding, 20,000 patches", rival, "sparse_coding", (COARSE,), coding_against(rival), asked
        )
    yield Line(
        "with every atom active", "SPAMS, FISTA", "sparse_coding", (FINE,), coding_against("SPAMS, FISTA"),
        ("at least", 6),
    )  # fmt: skip
    yield Line("time with 5% active", "all active", "scaling", (active,), few_over_all, ("at most", 0.1))
    yield Line(
        "certified gap", "true suboptimality", "sparse_coding", (COARSE,), gap_over_suboptimality,
        ("at most", 5),
    )  # fmt: skip
    for what in ("sparse coding", "EM pass"):
        yield Line(
            f"two threads, {what}", "one thread", "threads", (f"{what}, float64",), two_threads,
            ("at least", 1.6),
        )  # fmt: skip
    for part in SWEEPS:
        what = f"pass over codes, {part}"
        plain = ("reference",) if part.startswith("Gibbs") else PLAIN
        for kind, threads in product(plain, (1, 2)):
            name = what if threads == 1 else f"{what}, two threads"
            yield Line(name, PLAIN[kind], "code_sweep", (part,), kernel_over(kind, threads), ("at least", 10))
        yield Line(
            f"time of a {what}", "its arithmetic", "code_sweep", (part,), over_arithmetic, ("at most", 3)
        )
    yield from _fits()
    yield from _scale()
    yield from _reproduced()
    yield from _samplers()
    yield from _tradeoff()
    yield from _compressed()


def _fits():
    for atoms in ("64 atoms", "128 atoms"):
        for target, text in (("common", "to the common objective"), ("lowest", "to near the lowest")):
            for rival in RIVAL_LEARNERS:
                figure = fit_against(rival, target)
                yield Line(f"fit_map, {atoms}, {text}", rival, "fits", (atoms,), figure)


def _scale():
    batch, large = ("100,000 patches",), ("1,000,000 patches",)
    epoch = "scikit-learn, MiniBatchDictionaryLearning, one epoch"
    yield Line("fit and codes, 100,000 patches", epoch, "minibatch", batch, one_epoch, ("at least", 1))
    yield Line("RMSE at equal nonzeros", epoch, "minibatch", batch, error_at_equal_nonzeros, ("at least", 1))
    yield Line(
        "fit of 1,000,000 patches, GiB", "", "minibatch", large, lambda r: Found(r["ours"]["memory"]),
        ("at most", 8),
    )  # fmt: skip
    for what in ("sparse coding", "EM passes", "mini-batches"):
        parts = tuple(f"{what} of {decade}" for decade in DECADES)
        yield Line(f"slope of {what}, 1e4 to 1e6", "samples", "scaling", parts, slope, ("within 10% of", 1))
    active = ("sparse coding against active atoms",)
    yield Line("slope of sparse coding", "active atoms", "scaling", active, slope, ("within 10% of", 1))
    for what in ("sparse coding", "EM passes"):
        yield Line(f"slope of {what}", "atoms", "scaling", (f"{what} against atoms",), slope)
    yield Line(
        "sums of 8 devices, relative difference", "one device", "scaling", ("mini-batches against devices",),
        lambda r: Found(max(row["difference"] for row in r["rows"])),
    )  # fmt: skip


def _reproduced():
    for image in ("camera", "barbara"):
        for rival, asked in (
            ("scikit-learn, OMP", ("at least", 0)),
            ("non-local means", None),
            ("BM3D", None),
        ):
            parts, figure = (f"denoising {image}",), decibels_above(rival)
            yield Line(
                f"dB above, {image} denoised", f"{rival}, told sigma", "reproduce", parts, figure, asked
            )
        parts, figure = (f"inpainting {image}",), decibels_above("biharmonic")
        yield Line(f"dB above, {image} inpainted", "biharmonic", "reproduce", parts, figure)
    for data in ("digits", "MNIST", "faces", "patches"):
        what = f"RMSE at equal nonzeros over its, {data}"
        yield Line(what, "best lasso codes", "reproduce", (data,), error_over_lasso, ("at most", 0.8))
        yield Line(
            f"share of atoms in use, {data}", "", "reproduce", (data,), share_of_atoms, ("at most", 0.1)
        )


def _samplers():
    for model in ("l1 + l_inf", "Laplace codes"):
        ours, rival = f"Gibbs, {model}, scattered", f"NUTS, {model}, scattered"
        for which, text, bound in (("raw", "naive NUTS", 100), ("aligned", "aligned NUTS", 10)):
            yield Line(
                f"Gibbs, effective samples a second, {model}", text, "effective_samples", ("Synthetic A",),
                effective_samples(ours, rival, which), ("at least", bound),
            )  # fmt: skip


def null_distance(r):
    """Largest distance of a rate of wake-ups from the stated one, in standard errors of draws and calibration."""
    delta = r["delta"]
    variance = (
        delta * (1 - delta) * np.array([1 / row["draws"] + 1 / (r["simulations"] + 2) for row in r["rates"]])
    )
    rates = np.array([row["woken"] / row["draws"] for row in r["rates"]])
    return Found(float(np.max(np.abs(rates - delta) / np.sqrt(variance))))


def mdl_excess(r):
    """Held-out length with the chosen weights over that of the shortest refit, less one."""
    best = min(row["length"] for row in r["grid"])
    return Found((r["chosen"]["length"] - best) / (best + r["constant"]))


def _tradeoff():
    synthetic = ("A 0.1", "A 0.3", "A gaussian 0.1")
    for part in (*synthetic, "patches"):
        yield Line(
            f"largest error of predictions, {part}", "refits", "tradeoff", (part,),
            lambda r: Found(max(r["methods"]["sampled"]["worst"])), ("at most", 0.1),
        )  # fmt: skip
    for part in (*synthetic, "B 20 dB"):
        yield Line(
            f"atoms of the shortest description too many or few, {part}", "truth", "tradeoff", (part,),
            lambda r: Found(abs(r["mdl"]["active"] - r["truth"])), ("at most", 0),
        )  # fmt: skip
    yield Line(
        "rate of wake-ups in noise, largest distance in standard errors", "stated rate", "tradeoff", ("null rates",),
        null_distance, ("at most", 2),
    )  # fmt: skip
    yield Line(
        "share of runs with the bound above", "measured gap", "tradeoff", ("learning curve",),
        lambda r: Found(float(np.mean([row["bound"] >= row["gap"] for row in r["rows"]]))), ("at least", 1),
    )  # fmt: skip
    for part in ("patches", "digits"):
        yield Line(
            f"excess of the chosen held-out length, {part}", "best of refits", "mdl", (part,), mdl_excess,
            ("at most", 0.01),
        )  # fmt: skip
        yield Line(
            f"choice of weights, {part}", "grid of refits", "mdl", (part,),
            lambda r: Found(sum(row["seconds"] for row in r["grid"]) / r["choice_seconds"]), ("at least", 100),
        )  # fmt: skip


def _least_error(r, name, share, counted):
    """Least error as stored of a method, whatever its codes, within a share of the bytes of our own codes."""
    found = [
        e["rmse_stored"]
        for e in r["entries"]
        if (e["share"], e["counted"]) == (share, counted) and e["within"] and e["method"].startswith(name)
    ]
    return min(found, default=None)


def error_of_tokens(rival, share=1, counted="all"):
    """Error of a rival's tokens over that of ours, in as many bytes, all or those of codes alone."""

    def figure(r):
        errors = [_least_error(r, name, share, counted) for name in (rival, "this package")]
        return None if None in errors else Found(errors[0] / errors[1])

    return figure


def speed_up(rule):
    """Of the fastest point of a rule that keeps the CLS token within a cosine of 0.99; 1 where there is none."""

    def figure(r):
        good = [row for row in r["rows"] if row["rule"] == rule and row["cls_cosine"] >= 0.99]
        if not good:
            return Found(1.0)
        low, middle, high = max((row["speedup"] for row in good), key=lambda quartiles: quartiles[1])
        return Found(middle, low, high)

    return figure


def cosine_above(rival, share):
    """Mean cosine of embeddings with PADL's weights less that with a rival's, in a share of the bytes."""
    return lambda r: _difference(r, "padl", rival, share)


def evidence_over_magnitude(r):
    """Mean cosine with half of the atoms kept by their evidence less that by magnitude."""
    return _difference(r, "log odds", "magnitude", 0.5)


def deletions_over_magnitude(r):
    """Mean cosine with the atoms that EM does not delete less that with as many by magnitude."""
    return _difference(r, "EM", "magnitude")


def _difference(r, one, other, share=None):
    """With its interval of 95%."""
    for row in r["differences"]:
        if (row["of"], row["less"], row.get("share")) == (one, other, share):
            return Found(*(row["cosine"][key] for key in ("mean", "low", "high")))
    return None


def _compressed():
    for layer in (2, 5, 8, 11):
        for rival in ("PCA", "k-means", "scikit-learn"):
            yield Line(
                f"RMSE of tokens in equal bytes, block {layer}", rival, "compress", (f"tokens layer {layer}",),
                error_of_tokens(rival), ("at least", 1),
            )  # fmt: skip
        for share in (1, 0.25):
            yield Line(
                f"RMSE of tokens in {share:.0%} of the bytes of codes alone, block {layer}", "PCA", "compress",
                (f"tokens layer {layer}",), error_of_tokens("PCA", share, "codes"), ("at least", 1),
            )  # fmt: skip
    for rule in ("atoms", "principal axes", "similarity (ToMe)", "similarity (ToMe), every block", "random"):
        what = f"speed-up at a CLS cosine of 0.99, {rule}"
        yield Line(what, "whole network", "compress", ("time and fidelity",), speed_up(rule))
    part = ("all layers",)
    for share, rival, text in (
        (0.5, "plain svd float32", "SVD"),
        (0.5, "svd float32", "calibrated SVD"),
        (0.125, "rounding", "calibrated rounding"),
        (0.0625, "svd", "calibrated SVD, same coder"),
        (0.0625, "rounding", "calibrated rounding"),
    ):
        what = f"cosine of embeddings, above, at {share:.2%} of the bytes"
        yield Line(what, text, "weights", part, cosine_above(rival, share), ("at least", 0))
    yield Line(
        "cosine with half of the atoms kept by evidence, above", "by magnitude", "weights", ("pruning",),
        evidence_over_magnitude, ("at least", 0),
    )  # fmt: skip
    yield Line(
        "cosine with the atoms that EM leaves, above", "as many by magnitude", "weights", ("deletions of EM",),
        deletions_over_magnitude, ("at least", 0),
    )  # fmt: skip


LINES = tuple(_lines())
