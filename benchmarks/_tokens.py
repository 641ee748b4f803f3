"""Dictionaries of a vision transformer's tokens beside other ways to store them."""

import time
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

import padl_bayes as pb
from padl_bayes.compress import comparison, images
from padl_bayes.compress import tokens as coding
from padl_bayes.compress.vit import load_vit, tokens
from padl_bayes.tradeoff.frontier import frontier

SHARES = (1.0, 0.5, 0.25, 0.125)
# Atoms and noise of further fits for fewer bytes, as shares of the bound and of the noise of EM.
COARSER = ((1.0, 2.0), (0.5, 1.6), (0.25, 2.0))
SWEEPS = 30


class Tokens(NamedTuple):
    """A layer, crops of each photograph, every how manieth token is learned from, the fit's bounds, and seeds."""

    layer: str
    n_crops: int = 3
    thin: int = 3
    n_atoms: int = 128
    max_iter: int = 60
    n_seeds: int = 3
    methods: tuple = comparison.RULES


def patch_tokens(vit, part, n_crops, layer, *, size=224):
    """Patch tokens (images * n, P) of a layer, images one after the other."""
    found = tokens(vit, images.crops(part, n_crops, size=size).images, [layer])[layer]
    return found[:, 1:].reshape(-1, found.shape[2])


def learn(vit, layer, *, n_crops, thin, n_atoms, max_iter, random_state=0):
    """A fit by EM to every ``thin``-th token of the training crops, and those tokens."""
    train = patch_tokens(vit, "training", n_crops, layer)[::thin]
    return coding.fit_tokens(train, n_atoms, max_iter=max_iter, random_state=random_state), train


def coarser(train, found):
    """Fits of the same tokens for fewer bytes: the noise held at more than EM finds, and fewer atoms."""
    return [
        coding.fit_tokens(train, max(1, round(share * len(found.dictionary))), method="fixed", max_iter=SWEEPS,
                          noise_scale=times * found.fit.noise_scale)
        for share, times in COARSER
    ]  # fmt: skip


def _row(entry):
    return {
        name: getattr(entry, name) for name in ("method", "share", "counted", "within")
    } | entry.cost._asdict()


def run_tokens(part, say):
    """Fits by EM and MAP of a layer's tokens, rivals, and fits of other seeds."""
    vit = load_vit()
    options = {"n_crops": part.n_crops, "thin": part.thin, "n_atoms": part.n_atoms, "max_iter": part.max_iter}
    found, train = learn(vit, part.layer, **options)
    say(f"EM: {len(found.dictionary)} atoms in {found.fit.wall_time:.0f} s, {found.fit.status}")
    held_out = patch_tokens(vit, "held out", part.n_crops, part.layer)
    started = time.perf_counter()
    entries = comparison.compare_tokens(
        found, train, held_out, others=coarser(train, found), methods=part.methods, shares=SHARES
    )
    say(f"rivals: {time.perf_counter() - started:.0f} s")
    result = {
        "part": part._asdict(), "tokens": [len(train), len(held_out)], "width": train.shape[1],
        "train": coding.describe(found, train)._asdict(), "entries": [_row(entry) for entry in entries],
        "seconds": found.fit.wall_time, "status": found.fit.status, "map": _run_map(part, found, train, held_out),
        "seeds": None, "frontier": _run_frontier(found, train),
    }  # fmt: skip
    if part.n_seeds > 1:
        fits = [found, *(coding.fit_tokens(train, part.n_atoms, max_iter=part.max_iter, random_state=seed)
                         for seed in range(1, part.n_seeds))]  # fmt: skip
        probability, again, cosine = coding.stability(fits)
        result["seeds"] = {
            "probability": probability.tolist(), "again": again.tolist(), "cosine": cosine.tolist(),
            "active": [len(fit.dictionary) for fit in fits],
        }  # fmt: skip
    return result


def _run_frontier(found, train):
    """The tradeoff module's prediction over PADL's two weights, on the training tokens."""
    surface = frontier(found.fit, X=train - found.mean, most_samples=500)
    point = pb.tradeoff.operating_point(found.fit, "mdl", X=train - found.mean, most_samples=500)
    return {
        "nonzeros": np.asarray(surface.nonzeros).tolist(), "active": np.asarray(surface.active).tolist(),
        "rmse": np.asarray(surface.rmse).tolist(),
        "mdl": {"alpha": [float(a) for a in point.alpha], "active": float(point.active),
                "nonzeros": float(point.nonzeros), "rmse": float(point.rmse)},
    }  # fmt: skip


def _run_map(part, found, train, held_out):
    """MAP from the atoms of EM at the weights of the shortest description."""
    point = pb.tradeoff.operating_point(found.fit, "mdl", X=train - found.mean, most_samples=500)
    mean = found.mean
    fit = pb.inference.fit_map(
        train - mean, len(found.dictionary), alpha=tuple(point.alpha), dictionary_init=found.dictionary, max_iter=20,
        gap_tol=1e-3,
    )  # fmt: skip
    if len(fit.dictionary) == 0:
        return None
    cost = coding.describe(coding.TokenFit(mean, fit, len(train)), held_out)
    return {"alpha": [float(a) for a in point.alpha], "seconds": fit.wall_time} | cost._asdict()


def _pick(rows, figure):
    best: dict = {}
    for row in rows:
        if row["method"] not in best or figure(row) < figure(best[row["method"]]):
            best[row["method"]] = row
    return list(best.values())


def _stored(result, share, counted):
    """Of each method, the row of least error as stored."""
    wanted = [row for row in result["entries"] if (row["share"], row["counted"]) == (share, counted)]
    return _pick([row for row in wanted if row["within"]], lambda row: row["rmse_stored"])


def _stored_table(result, counted):
    lines = [
        "| stored bytes | of them codes | method | atoms | nonzeros a token | RMSE as stored "
        "| to the least of this package |",
        "|--:|--:|---|--:|--:|--:|--:|",
    ]
    for share in SHARES:
        rows = _stored(result, share, counted)
        own = _least_of(rows, "this")
        for row in rows:
            against = "" if own is None else f"{row['rmse_stored'] / own['rmse_stored'] - 1:+.1%}"
            lines.append(
                f"| {row['n_bytes']:,.0f} | {_codes(row):,.0f} | {row['method']} | {row['n_atoms']} "
                f"| {row['nonzeros']:.1f} | {row['rmse_stored']:.5f} | {against} |"
            )
    return lines


def _codes(row):
    return row["n_bytes_supports"] + row["n_bytes_values"]


def _parts(row):
    """Where the bytes of a row go."""
    fixed = row["n_bytes"] - _codes(row)
    return (
        f"{fixed / row['n_bytes']:.0%} on the mean and atoms ({row['n_atoms']}), "
        f"{row['n_bytes_supports'] / row['n_bytes']:.0%} on which atoms a token uses, "
        f"{row['n_bytes_values'] / row['n_bytes']:.0%} on values"
    )


def _least_of(rows, name):
    """The row of least error of methods whose names start so, or None."""
    return min(
        (r for r in rows if r["method"].startswith(name)), key=lambda r: r["rmse_stored"], default=None
    )


def _apart(rival, own):
    excess = rival["rmse_stored"] / own["rmse_stored"] - 1
    return f"{abs(excess):.1%} {'above' if excess > 0 else 'below'} ours"


def _told_why(result):
    """Where the bytes go, ours and those of PCA, and how they compare once atoms are paid for."""
    lines = []
    for share in SHARES:
        (own, pca), (own_codes, pca_codes) = (
            [_least_of(_stored(result, share, counted), name) for name in ("this", "PCA")]
            for counted in ("all", "codes")
        )
        if own is None or pca is None:
            continue
        line = (
            f"- {share:.1%} of the bytes: {own['method']} spends {_parts(own)}; PCA {_parts(pca)}. "
            f"PCA's error is {_apart(pca, own)}"
        )
        if own_codes and pca_codes:
            line += f", in equal bytes of codes alone {_apart(pca_codes, own_codes)}"
        lines.append(f"{line}.")
    return ["", "Why, by where the bytes go:", "", *lines] if lines else []


def _front(rows):
    """Rows of less and less error for more half-precision bytes, each at least 3% below the last."""
    kept: list = []
    for row in sorted(rows, key=lambda row: (row["n_bytes_half"], row["rmse"])):
        if not kept or row["rmse"] < 0.97 * kept[-1]["rmse"]:
            kept.append(row)
    return kept


def _half_table(result):
    lines = [
        "| bytes in half precision | method | atoms | nonzeros a token | RMSE | to this package |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    entries = [row for row in result["entries"] if (row["share"], row["counted"]) == (1, "all")]
    for own in _front([row for row in entries if row["method"].startswith("this")]):
        rivals = [
            row for row in entries
            if row["n_bytes_half"] <= 1.01 * own["n_bytes_half"] and not row["method"].startswith("this")
        ]  # fmt: skip
        for row in (own, *_pick(rivals, lambda row: row["rmse"])):
            lines.append(
                f"| {row['n_bytes_half']:,.0f} | {row['method']} | {row['n_atoms']} | {row['nonzeros']:.1f} "
                f"| {row['rmse']:.5f} | {row['rmse'] / own['rmse'] - 1:+.1%} |"
            )
    return lines


def _nonzeros_table(result):
    lines = ["| nonzeros a token | method | atoms | RMSE | variance explained |", "|--:|---|--:|--:|--:|"]
    entries = [row for row in result["entries"] if (row["share"], row["counted"]) == (1, "all")]
    wanted = next(row["nonzeros"] for row in entries)
    for row in _pick(entries, lambda row: abs(row["nonzeros"] - wanted)):
        lines.append(
            f"| {row['nonzeros']:.1f} | {row['method']} | {row['n_atoms']} | {row['rmse']:.5f} "
            f"| {row['explained']:.1%} |"
        )
    return lines


def _told_seeds(seeds):
    if seeds is None:
        return []
    again, probability = np.array(seeds["again"]), np.array(seeds["probability"])
    return [
        "",
        f"Other seeds ({len(seeds['active']) - 1}; atoms {', '.join(map(str, seeds['active']))}): an atom comes "
        f"again with an absolute cosine above 0.9 in {again.mean():.0%} of the fits, median cosine "
        f"{np.median(seeds['cosine']):.2f}; P(active) exceeds 0.99 for {np.mean(probability > 0.99):.0%} of the atoms.",
    ]


def _told_map(found):
    if found is None:
        return "MAP there keeps no atom."
    return (
        f"MAP there, from the atoms of EM, on held-out tokens: {found['n_atoms']} atoms, {found['nonzeros']:.1f} "
        f"nonzeros, RMSE {found['rmse']:.5f} ({found['seconds']:.0f} s)."
    )


def section_tokens(name, result):
    """Markdown of a layer."""
    train, point = result["train"], result["frontier"]["mdl"]
    lines = [
        f"## {name}", "",
        f"`{result['part']['layer']}`: {result['tokens'][0]:,} training tokens, {result['tokens'][1]:,} held out. "
        f"EM: {train['n_atoms']} atoms (at most {result['part']['n_atoms']}) in {result['seconds']:.0f} s "
        f"({result['status']}); training tokens: {train['nonzeros']:.1f} nonzeros, RMSE {train['rmse']:.5f}, "
        f"{train['explained']:.1%} of the variance. Frontier on training tokens, shortest description: "
        f"{point['active']:.0f} atoms, {point['nonzeros']:.1f} nonzeros, RMSE {point['rmse']:.5f}. "
        + _told_map(result["map"]),
        *_told_seeds(result["seeds"]), "",
        "Equal storage, entropy-coded, held out; the best size and sparsity of each:", "",
        *_stored_table(result, "all"), "",
        "Equal bytes of codes alone, atoms and mean not counted, as for very many tokens:", "",
        *_stored_table(result, "codes"), *_told_why(result), "",
        "Equal storage in half precision, held out, this package at several sizes (3% or more apart in error) and what "
        "others do within its bytes:", "",
        *_half_table(result), "", "Equal nonzeros, held out, not rounded:", "", *_nonzeros_table(result), "",
    ]  # fmt: skip
    return "\n".join(lines)


def draw_tokens(figure, name, result):
    """Error against bytes, all and of codes alone, and the predicted frontier."""
    one, two, three = figure.subplots(1, 3)
    methods = list(dict.fromkeys(row["method"] for row in result["entries"]))
    for ax, counted, label in ((one, "all", "bytes, entropy-coded"), (two, "codes", "bytes of codes alone")):
        best = [row for share in SHARES for row in _stored(result, share, counted)]
        for method in methods:
            rows = [row for row in best if row["method"] == method]
            size = [row["n_bytes"] if counted == "all" else _codes(row) for row in rows]
            ax.plot(size, [row["rmse_stored"] for row in rows], "o-", markersize=3, label=method)
        ax.set(xlabel=label, ylabel="RMSE as stored, held out", xscale="log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    figure.legend(*one.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
    predicted = result["frontier"]
    shown = three.scatter(predicted["nonzeros"], predicted["rmse"], c=predicted["active"], s=8)
    figure.colorbar(shown, ax=three, label="active atoms")
    three.set(xlabel="nonzeros a token", ylabel="RMSE, predicted", title=name)
