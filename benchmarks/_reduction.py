"""A vision transformer with fewer tokens and with sparse products: wall time, operations, fidelity."""

import time
from typing import NamedTuple

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from benchmarks._tokens import learn
from padl_bayes._equal_sparsity import code_omp
from padl_bayes.compress import backbone, comparison, flops, images, linear, merging, reduction
from padl_bayes.compress import tokens as coding
from padl_bayes.compress.vit import cut, load_vit, session, tokens

TOGETHER = 4
LINEAR = ("attention.query", "attention.key", "attention.value", "attention.dense", "mlp.fc1", "mlp.fc2")
EVERY = "every"
# rules and sparse products are of NumPy and SciPy; sessions of ONNX Runtime have one thread, too
one_thread = threadpool_limits.wrap(limits=1, user_api="blas")


class Fewer(NamedTuple):
    """Images, blocks behind which tokens are reduced, shares that are kept, ranks of weights, and the fit's bounds.

    ``merged`` are shares of the patches that ToMe takes away in every block.
    """

    size: int
    n_crops: int = 2
    blocks: tuple = (2, 5)
    keep: tuple = (0.5, 0.35, 0.2)
    ranks: tuple = (256, 192, 128)
    merged: tuple = (1 / 32, 1 / 16, 5 / 64, 3 / 32)
    n_atoms: int = 128
    thin: int = 2
    max_iter: int = 40


class Products(NamedTuple):
    """Blocks whose first product of the perceptron is taken from codes, nonzeros of the codes, and the fit's bounds."""

    blocks: tuple = (2, 8)
    nonzeros: tuple = (8, 16, 32)
    n_crops: int = 1
    n_atoms: int = 128
    thin: int = 2
    max_iter: int = 40
    repeats: int = 9


def _rules(found, components, n_groups, seed):
    mean = found.mean.astype(np.float32)
    atoms = found.dictionary
    return {
        "atoms": lambda t, q: reduction.merge(t, reduction.by_atoms(t, atoms, mean, n_groups)),
        "leading atom": lambda t, q: reduction.merge(t, reduction.by_leading_atom(t, atoms, mean, n_groups)),
        "principal axes": lambda t, q: reduction.merge(t, reduction.by_atoms(t, components, mean, n_groups)),
        "similarity (ToMe)": lambda t, q: reduction.merge(t, reduction.by_similarity(q, n_groups)),
        "random": lambda t, q: reduction.drop(t, n_groups, np.random.default_rng(seed)),
    }


def run_fewer(part, say):
    """Every rule at every block and share, and weights of low rank, on each image in turn beside the whole network."""
    vit = load_vit()
    held_out = images.crops("held out", part.n_crops, size=part.size)
    whole = session(cut(vit, ["image"], ["norm", "saliency"]))
    kinds = {}
    for block in part.blocks:
        kinds |= _reduced(vit, part, block, say)
    chain = merging.chain_of(vit)
    for share in part.merged:
        n_merged = round(share * (vit.tokens_of(part.size) - 1))
        kinds["similarity (ToMe), every block", EVERY, n_merged] = lambda image, i, n=n_merged: (
            merging.run_merging(chain, image, n)
        )
    for rank in part.ranks:
        layers = [f"block.{i}.{name}" for i in range(vit.n_blocks) for name in LINEAR]
        changed = linear.low_rank(vit, layers, rank)
        running = session(cut(changed, ["image"], ["norm", "saliency"]))
        kinds["SVD of the weights", None, rank] = lambda image, i, running=running: backbone.run_whole(
            running, vit, image
        )
    rows, original = _measure(vit, held_out.images, whole, kinds, say)
    for row in rows:
        row["flops"] = _flops(vit, part, row)
    return {
        "part": part._asdict(), "images": len(held_out.images), "photographs": len(set(held_out.names)),
        "tokens": vit.tokens_of(part.size), "flops": flops.network_flops(vit, part.size),
        "seconds": float(np.median([one.seconds for one in original])), "rows": rows,
    }  # fmt: skip


def _reduced(vit, part, block, say):
    found, train = learn(
        vit, f"block.{block}.output", n_crops=1, thin=part.thin, n_atoms=part.n_atoms, max_iter=part.max_iter
    )
    say(f"block {block}: {len(found.dictionary)} atoms in {found.fit.wall_time:.0f} s")
    centred = train - found.mean
    components = comparison.pca(centred, centred, len(found.dictionary))[0]
    halves, n_patches, kinds = backbone.split_at(vit, block), vit.tokens_of(part.size) - 1, {}
    for share in part.keep:
        n_groups = max(1, round(share * n_patches))
        for name in _rules(found, components, n_groups, 0):
            if name == "leading atom" and share != min(part.keep):
                continue  # it makes no more groups than there are atoms

            def one(image, i, name=name, n_groups=n_groups):
                return backbone.run_reduced(halves, image, _rules(found, components, n_groups, i)[name])

            kinds[name, block, share] = one
    return kinds


@one_thread
def _measure(vit, pictures, whole, kinds, say):
    """Run everything on an image before the next: times are compared within an image."""
    original, seen, ratios = [], {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
    turns = [list(kinds)[i : i + TOGETHER] for i in range(0, len(kinds), TOGETHER)]
    for i, image in enumerate(pictures):
        before = backbone.run_whole(whole, vit, image)
        original.append(before)
        for turn in turns:
            some = [kinds[kind](image, i) for kind in turn]
            after = backbone.run_whole(whole, vit, image)
            # the mean of the run before and of the one after: a machine that slows down slows both
            plain = 0.5 * (before.seconds + after.seconds)
            for kind, one in zip(turn, some, strict=True):
                seen[kind].append(one)
                ratios[kind].append(plain / one.seconds)
            before = after
        say(f"image {i + 1} of {len(pictures)}")
    rows = [
        {
            "rule": name, "block": block, "keep": keep, "n_tokens": float(np.mean([one.n_tokens for one in some])),
            "seconds": float(np.median([one.seconds for one in some])),
            "speedup": np.quantile(ratios[name, block, keep], [0.25, 0.5, 0.75]).tolist(),
        } | backbone.fidelity(original, some)._asdict()
        for (name, block, keep), some in seen.items()
    ]  # fmt: skip
    return rows, original


def _flops(vit, part, row):
    n = vit.tokens_of(part.size)
    if row["block"] is None:
        per_token = sum(r * (a + b) for r, a, b in _products(vit, row["keep"]))
        return 2 * vit.n_blocks * (n * per_token + 2 * n**2 * vit.width) + flops.head_flops(vit, part.size)
    if row["block"] == EVERY:
        return flops.merging_flops(vit, part.size, row["keep"])
    # the first round of matching is a fourth of all pairs, and later ones are a third of that together
    columns = {"similarity (ToMe)": (n - 1) / 3 / vit.n_heads, "random": row["n_tokens"]}
    rule = 2 * (n - 1) * vit.width * columns.get(row["rule"], part.n_atoms)
    return flops.network_flops(vit, part.size, block=row["block"], n_tokens=row["n_tokens"], rule=rule)


def _products(vit, rank):
    return [*4 * [(rank, vit.width, vit.width)], *2 * [(rank, vit.width, vit.hidden)]]


def section_fewer(name, result):
    """Markdown of a frontier."""
    lines = [
        f"## {name}", "",
        f"{result['images']} crops of {result['photographs']} held-out photographs at {result['part']['size']} x "
        f"{result['part']['size']}: {result['tokens']} tokens, {result['flops'] / 1e9:.1f} GFLOP, "
        f"{result['seconds']:.3f} s an image, one thread.", "", *_named(result["rows"]), "",
        "| rule | behind block | tokens | GFLOP | speed-up (quartiles) | CLS cosine, mean | least | saliency r "
        "| abs. diff. | nearest the same |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for row in result["rows"]:
        low, middle, high = row["speedup"]
        at = "rank" if row["block"] is None else row["block"]
        count = row["keep"] if row["block"] is None else f"{row['n_tokens']:.0f}"
        lines.append(
            f"| {row['rule']} | {at} | {count} | {row['flops'] / 1e9:.1f} | {middle:.2f} ({low:.2f} to {high:.2f}) "
            f"| {row['cls_cosine']:.4f} | {row['cls_cosine_least']:.4f} | {row['saliency_correlation']:.4f} "
            f"| {row['saliency_error']:.4f} | {row['neighbours']:.0%} |"
        )
    return "\n".join([*lines, ""])


def _named(rows):
    """The fastest point of each rule with a mean CLS cosine of at least 0.99."""
    told = []
    for rule in dict.fromkeys(row["rule"] for row in rows):
        good = [row for row in rows if row["rule"] == rule and row["cls_cosine"] >= 0.99]
        if not good:
            told.append(f"- {rule}: no point reaches a CLS cosine of 0.99.")
            continue
        best = max(good, key=lambda row: row["speedup"][1])
        where = {
            None: f"rank {best['keep']}",
            EVERY: f"{best['keep']} tokens merged in every block, {best['n_tokens']:.0f} left",
        }.get(best["block"], f"{best['n_tokens']:.0f} tokens behind block {best['block']}")
        told.append(
            f"- {rule}: {where}, CLS cosine {best['cls_cosine']:.4f}, speed-up {best['speedup'][1]:.2f}, "
            f"saliency correlation {best['saliency_correlation']:.4f}."
        )
    return ["Fastest point of each rule with a mean CLS cosine of at least 0.99:", "", *told]


def draw_fewer(figure, name, result):
    """CLS cosine and saliency error against speed-up."""
    for ax, measure in zip(figure.subplots(1, 2), ("cls_cosine", "saliency_error"), strict=True):
        for rule in dict.fromkeys(row["rule"] for row in result["rows"]):
            rows = sorted((r for r in result["rows"] if r["rule"] == rule), key=lambda r: r["speedup"][1])
            ax.plot(
                [r["speedup"][1] for r in rows], [r[measure] for r in rows], "o", markersize=4, label=rule
            )
        ax.set(
            xlabel="speed-up",
            ylabel=measure.replace("_", " "),
            title=name if measure == "cls_cosine" else None,
        )
    figure.axes[0].axhline(0.99, color="grey", linewidth=0.8)
    figure.axes[1].legend(frameon=False, fontsize="x-small")


@one_thread
def _timed(call, repeats):
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def run_products(part, say):
    """One layer after the other from codes: its own time, that of coding, and what it does to the network."""
    vit = load_vit()
    pictures = images.crops("held out", part.n_crops).images
    exact = tokens(vit, pictures, ["norm", "saliency"])
    original = [_seen(exact["norm"][i], exact["saliency"][i, 0]) for i in range(len(pictures))]
    rows = []
    for block in part.blocks:
        found, _ = learn(
            vit,
            f"block.{block}.norm2",
            n_crops=1,
            thin=part.thin,
            n_atoms=part.n_atoms,
            max_iter=part.max_iter,
        )
        weight, bias = linear.weights_of(vit, f"block.{block}.mlp.fc1")
        layer = linear.sparse_linear(found.dictionary, found.mean, weight, bias)
        path = linear.sparse_path(vit, block)
        inputs = tokens(vit, pictures[:1], [f"block.{block}.norm2"])[f"block.{block}.norm2"][0, 1:]
        plain = _timed(lambda inputs=inputs, w=weight, b=bias: inputs @ w + b, part.repeats)
        for name, code in _coders(found, part):
            table = sparse.csr_matrix(code(inputs).astype(np.float32))
            replaced = _but_cls(layer, code, weight, bias)
            seen = [_seen(*linear.run_sparse(path, image, replaced)) for image in pictures]
            rows.append({
                "block": block, "coder": name, "atoms": len(found.dictionary), "nonzeros": table.nnz / len(inputs),
                "plain": plain, "product": _timed(lambda t=table, layer=layer: layer(t), part.repeats),
                "coding": _timed(lambda code=code, x=inputs: code(x), part.repeats),
                "flops": [2 * inputs.size * weight.shape[1], 2 * table.nnz * weight.shape[1]],
            } | backbone.fidelity(original, seen)._asdict())  # fmt: skip
            say(
                f"block {block}, {name}: {rows[-1]['nonzeros']:.1f} nonzeros, CLS cosine {rows[-1]['cls_cosine']:.4f}"
            )
    return {"part": part._asdict(), "images": len(pictures), "rows": rows}


def _but_cls(layer, code, weight, bias):
    """The layer from codes for patches; the CLS token, which no patch is like, is multiplied out."""
    return lambda t: np.concatenate([t[:1] @ weight + bias, layer(code(t[1:]))])


def _coders(found, part):
    atoms = found.dictionary.astype(np.float64)
    yield "EM", lambda t: coding.code_tokens(found, t)
    for k in part.nonzeros:
        yield f"OMP {k}", lambda t, k=k: code_omp(t.astype(np.float64) - found.mean, atoms, n_nonzero=k)


def _seen(norm, saliency):
    return backbone.Seen(norm[0], saliency, len(norm), 0.0)


def section_products(name, result):
    """Markdown of sparse products."""
    lines = [
        f"## {name}", "",
        f"The first product of one block's perceptron (384 x 1536, patches only) from codes times a table, "
        f"{result['images']} held-out crops at 224 x 224; milliseconds of NumPy and SciPy in one thread.", "",
        "| block | coder | atoms | nonzeros | GFLOP, plain | sparse | plain, ms | sparse, ms | coding, ms | CLS cosine "
        "| saliency r |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for row in result["rows"]:
        plain, thin = row["flops"]
        lines.append(
            f"| {row['block']} | {row['coder']} | {row['atoms']} | {row['nonzeros']:.1f} | {plain / 1e9:.3f} "
            f"| {thin / 1e9:.3f} | {1e3 * row['plain']:.2f} | {1e3 * row['product']:.2f} | {1e3 * row['coding']:.1f} "
            f"| {row['cls_cosine']:.4f} | {row['saliency_correlation']:.4f} |"
        )
    faster = [row for row in result["rows"] if row["product"] + row["coding"] < row["plain"]]
    lines += [
        "",
        "Coding and sparse product together are faster than the plain product in "
        f"{len(faster)} of {len(result['rows'])} rows.",
    ]
    return "\n".join([*lines, ""])


def draw_products(figure, name, result):
    """Time of each row's product and coding beside the plain product."""
    ax = figure.subplots()
    labels = [f"{row['block']}: {row['coder']}" for row in result["rows"]]
    for key in ("plain", "product", "coding"):
        ax.plot(labels, [1e3 * row[key] for row in result["rows"]], "o", label=key)
    ax.set(yscale="log", ylabel="milliseconds", title=name)
    ax.legend(frameon=False, fontsize="small")
