"""Weights of a sentence encoder compressed, and what that does to embeddings of sentences that it was not tuned on."""

import pickle
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks._likeness import difference_lines, differences, likeness, measured, summary
from padl_bayes.compress import encoder as enc
from padl_bayes.compress.calibration import root_of, weighted_error
from padl_bayes.compress.packing import dense
from padl_bayes.compress.sentences import sentences, sourced_sentences
from padl_bayes.compress.weights import METHODS, Option, choose, options_of, within

KINDS = {
    "fc1": "attended", "fc2": "inner", "query, key, value": "hidden", "output": "context",
}  # fmt: skip
LABELS = {
    "padl": "PADL, calibrated",
    "rounding": "rounding, calibrated (GPTQ)",
    "plain rounding": "rounding",
    "svd": "SVD, calibrated",
    "plain svd": "SVD",
    "svd float32": "SVD, calibrated, factors in float32",
    "plain svd float32": "SVD, factors in float32",
    "padl + rounding": "PADL or rounding, calibrated, by layer",
}
SENSED_AT = 0.03
# what is compared with what, text by text
COMPARED = (
    *(("padl", other) for other in ("svd", "svd float32", "plain svd float32", "rounding", "plain rounding")),
    ("padl + rounding", "rounding"),
)  # fmt: skip


class Weights(NamedTuple):
    """Layers, sentences, and shares of the bytes in float32."""

    layers: tuple = tuple(range(enc.N_LAYERS))
    kinds: tuple = tuple(KINDS)
    calibration: int = 500
    held_out: int = 600
    sensed: int = 64
    shares: tuple = (0.5, 0.25, 0.125, 0.0625, 0.03125)
    methods: tuple = tuple(name for name in LABELS if name != "plain svd")


class Kept:
    """Results of calls, kept in a folder by name."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name, make):
        path = self.folder / f"{name.replace('/', '_')}.pickle"
        if path.exists():
            return pickle.loads(path.read_bytes())
        found = make()
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(pickle.dumps(found))
        unfinished.replace(path)
        return found


def groups_of(part):
    """Names of the weights of each group: those that are given the same are one matrix."""
    return {
        f"layer {i}: {kind}": [f"encoder.layer.{i}.{name}.weight" for name in enc.READERS[KINDS[kind]]]
        for kind in part.kinds
        for i in part.layers
    }


def split(groups, matrices):
    """Weights by name of the matrices by group."""
    found = {}
    for group, names in groups.items():
        found |= dict(zip(names, np.split(matrices[group], len(names)), strict=True))
    return found


class FloatFactors(NamedTuple):
    """Factors that are not rounded but to float32."""

    left: np.ndarray
    right: np.ndarray


def weight_of(packed):
    """The weight in float32."""
    return packed.left @ packed.right if isinstance(packed, FloatFactors) else dense(packed)


def float_options(weight, root, own):
    """Factors of float32 from a decomposition of ``W L``, errors under ``root``."""
    left, sizes, axes = np.linalg.svd(weight.astype(np.float64) @ own, full_matrices=False)
    right = np.linalg.solve(own.T, axes.T).T
    whole = weighted_error(weight, 0 * weight, root)
    found = []
    for rank in sorted({max(round(share * len(sizes)), 1) for share in np.geomspace(0.005, 1, 30)}):
        factors = FloatFactors(
            (left[:, :rank] * sizes[:rank]).astype(np.float32), right[:rank].astype(np.float32)
        )
        loss = weighted_error(weight, factors.left @ factors.right, root) / whole
        found.append(Option(factors, 4 * rank * sum(weight.shape), loss))
    return found


def measured_options(weight, root, method):
    """Options of a method, losses under the calibration whatever the method knows."""
    if method == "padl + rounding":
        return None
    if method.endswith("float32"):
        return float_options(weight, root, np.eye(len(root)) if method.startswith("plain") else root)
    found = options_of(weight, root, method)
    return [o._replace(loss=_loss(weight, o, root)) for o in found]


def _loss(weight, option, root):
    return weighted_error(weight, dense(option.packed), root) / weighted_error(weight, 0 * weight, root)


class Subject(NamedTuple):
    """The encoder, its groups of weights, the roots of their moments and the sentences."""

    encoder: enc.Encoder
    groups: dict
    matrices: dict
    roots: dict
    calibration: list
    held_out: list
    documents: list
    reference: np.ndarray


def subject_of(part, kept):
    """Read the encoder and calibrate it."""
    encoder, groups = enc.load_encoder(), groups_of(part)
    calibration = sentences(part.calibration, "calibration")
    sourced = sourced_sentences(part.held_out, "held_out")
    held_out = list(sourced)
    moments = kept(f"moments {part.calibration}", lambda: enc.input_moments(encoder, calibration))
    reference = kept(f"reference {part.held_out}", lambda: enc.embed(encoder, held_out))
    matrices = {
        group: np.concatenate([encoder.weights[name] for name in names]) for group, names in groups.items()
    }
    roots = {group: root_of(moments[names[0]]) for group, names in groups.items()}
    return Subject(encoder, groups, matrices, roots, calibration, held_out, list(sourced.values()), reference)


def embedded(subject, matrices, texts):
    """Embeddings with the weights of some groups exchanged."""
    groups = {group: subject.groups[group] for group in matrices}
    return enc.embed(subject.encoder.replaced(split(groups, matrices)), texts)


def importance_of(subject, options, texts):
    """Mean of 1 - cosine of embeddings that a unit of a group's relative error costs, group by group."""
    reference, found = enc.embed(subject.encoder, texts), {}
    for group, some in options.items():
        o = min(some, key=lambda o: abs(np.log(o.loss / SENSED_AT)))
        changed = embedded(subject, {group: weight_of(o.packed)}, texts)
        found[group] = float(1 - np.mean(np.sum(reference * changed, axis=1))) / o.loss
    return found


def run_weights(part, options, say):
    """Fidelity at equal bytes of each method."""
    with tempfile.TemporaryDirectory() as fresh:
        kept = Kept(getattr(options, "work", None) or fresh)
        subject = subject_of(part, kept)
        candidates = {
            method: _candidates(subject, method, kept, say)
            for method in part.methods if method != "padl + rounding"
        }  # fmt: skip
        sensed = subject.calibration[: part.sensed]
        importance = kept(
            f"importance {len(subject.groups)}",
            lambda: importance_of(subject, candidates["rounding"], sensed),
        )
        if "padl + rounding" in part.methods:
            candidates["padl + rounding"] = {
                group: candidates["padl"][group] + candidates["rounding"][group] for group in subject.groups
            }
        return _compared(part, subject, candidates, importance, kept, say)


def _candidates(subject, method, kept, say):
    found = {}
    for group, weight in subject.matrices.items():
        found[group] = kept(
            f"{method} {group}", lambda w=weight, g=group: measured_options(w, subject.roots[g], method)
        )
        say(f"{method}, {group}: {len(found[group])} options")
    return found


def _compared(part, subject, candidates, importance, kept, say):
    total = 4 * sum(weight.size for weight in subject.matrices.values())
    rows, likenesses = [], {}
    for share in part.shares:
        for method in part.methods:
            row, likenesses[method, share] = kept(
                f"row {len(subject.groups)} {part.held_out} {method} {share}",
                lambda m=method, s=share: _row(subject, candidates[m], importance, m, s, total),
            )
            rows.append(row)
            say(str(row))
    curves = {
        method: {g: [[o.size, o.loss] for o in some] for g, some in by_group.items()}
        for method, by_group in candidates.items() if method in METHODS
    }  # fmt: skip
    return {
        "kind": "weights", "bytes": total, "weights": total // 4, "calibration": len(subject.calibration),
        "held_out": len(subject.held_out), "documents": len(set(subject.documents)), "sensed": part.sensed,
        "importance": importance, "rows": rows, "differences": _differences(likenesses, subject.documents),
        "curves": curves,
    }  # fmt: skip


def _differences(likenesses, documents):
    """Each comparison at each share, where both methods can be so small."""
    found = []
    for share in dict.fromkeys(share for _, share in likenesses):
        for one, other in COMPARED:
            pair = [likenesses.get((method, share)) for method in (one, other)]
            if None not in pair:
                found.append({"share": share, "of": one, "less": other} | differences(*pair, documents))
    return found


def _row(subject, candidates, importance, method, share, total):
    pick = choose if method.endswith("float32") else within
    try:
        chosen = pick(candidates, share * total, importance)
    except ValueError:
        return {"method": method, "share": share, "size": None}, None
    matrices = {group: weight_of(o.packed) for group, o in chosen.items()}
    found = likeness(subject.reference, embedded(subject, matrices, subject.held_out))
    loss = float(np.mean([o.loss for o in chosen.values()]))
    size = float(sum(o.size for o in chosen.values()))
    more = {"by": sum(len(o.packed.levels) == 2 for o in chosen.values())} if "+" in method else {}
    row = {"method": method, "share": share, "size": size, "loss": loss}
    return row | summary(found, subject.documents) | more, found


def section_weights(name, result):
    """Markdown of fidelity at equal bytes."""
    lines = [
        f"## {name}", "",
        f"{result['weights']:,} weights of the linear maps, {result['bytes']:,} bytes in float32; calibrated on "
        f"{result['calibration']} sentences, measured on {result['held_out']} others of {result['documents']} other "
        "documents. \"Error\" is the mean over layers of the squared error of their outputs relative to the outputs, "
        "on the calibration; behind a mean is its standard error over documents.", "",
        "| of float32 (bits a weight) | method | bytes | error | cosine, mean | 5th percentile | top-1 | top-10 |",
        "|--:|---|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for row in result["rows"]:
        head = f"| {row['share']:.3g} ({32 * row['share']:.2g}) | {LABELS[row['method']]} |"
        if row["size"] is None:
            lines.append(f"{head} cannot be so small | | | | | |")
            continue
        by = f" ({row['by']} of {len(result['importance'])} by PADL)" if "by" in row else ""
        lines.append(f"{head[:-2]}{by} | {row['size']:,.0f} | {row['loss']:.2g} | {measured(row)} |")
    lines += ["", *difference_lines(result["differences"], "of float32", "{:.3g}", LABELS)]
    return "\n".join([*lines, ""])
