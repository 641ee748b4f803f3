"""Atoms of a sentence encoder's weights pruned by what the posterior says and by magnitude."""

import tempfile
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks._likeness import difference_lines, differences, likeness, measured, summary
from benchmarks._weights import Kept, embedded, subject_of
from padl_bayes.compress.calibration import weighted_error
from padl_bayes.compress.pruning import atom_scores, pruned_weight
from padl_bayes.inference import fit_em

RANDOM = "random"
# what is compared with what, text by text
COMPARED = (
    *((rule, "magnitude") for rule in ("log odds", "P(used)", "calibrated magnitude", "deletion error", RANDOM)),
    *(("log odds", rule) for rule in ("calibrated magnitude", "deletion error")),
)  # fmt: skip


class Pruning(NamedTuple):
    """Layers, sentences, the fit's bounds and shares of its atoms to keep."""

    layers: tuple = tuple(range(6))
    kinds: tuple = ("fc1",)
    calibration: int = 500
    held_out: int = 600
    n_atoms: int = 48
    max_iter: int = 60
    kept: tuple = (0.75, 0.5)


def run_pruning(part, options, say):
    """Error and fidelity at equal numbers of atoms, by how they are chosen."""
    with tempfile.TemporaryDirectory() as fresh:
        kept = Kept(getattr(options, "work", None) or fresh)
        subject = subject_of(part, kept)
        fits, scores = {}, {}
        for group, weight in subject.matrices.items():
            make = partial(_scored, weight, subject.roots[group], part)
            fits[group], scores[group] = kept(f"scored {part.max_iter} {group}", make)
            say(f"{group}: {len(fits[group].dictionary)} atoms")
        rows, likenesses = [], {}
        for share in (1.0, *part.kept):
            for rule in next(iter(scores.values())) if share < 1 else ("all",):
                row, likenesses[rule, share] = kept(
                    f"pruned {part.max_iter} {next(iter(fits))} {len(fits)} {part.held_out} {rule} {share}",
                    lambda s=share, r=rule: _row(subject, fits, scores, s, r),
                )
                rows.append(row)
                say(str(row))
    odds = np.concatenate([fit.activation_log_odds for fit in fits.values()])
    return {
        "kind": "pruning", "calibration": part.calibration, "held_out": part.held_out,
        "documents": len(set(subject.documents)), "groups": list(fits),
        "atoms": [len(fit.dictionary) for fit in fits.values()], "least_log_odds": float(odds.min()),
        "unlikely": int(np.sum(odds < 0)), "converged": sum(fit.converged for fit in fits.values()), "rows": rows,
        "differences": [
            {"share": share, "of": one, "less": other}
            | differences(likenesses[one, share], likenesses[other, share], subject.documents)
            for share in part.kept for one, other in COMPARED
        ],
    }  # fmt: skip


def _scored(weight, root, part):
    """A fit and the scores of its atoms by rule."""
    V = weight.astype(np.float64) @ root
    fit = fit_em(V.astype(np.float32), part.n_atoms, max_iter=part.max_iter)
    return fit, atom_scores(fit, V, root) | {RANDOM: np.random.default_rng(0).random(len(fit.dictionary))}


def _row(subject, fits, scores, share, rule):
    matrices, errors = {}, []
    for group, fit in fits.items():
        weight, root = subject.matrices[group], subject.roots[group]
        count = max(round(share * len(fit.dictionary)), 1)
        order = np.argsort(-scores[group][rule], kind="stable") if rule != "all" else np.arange(count)
        V = weight.astype(np.float64) @ root
        matrices[group] = pruned_weight(fit, V, root, order[:count]).astype(np.float32)
        whole = weighted_error(weight, 0 * weight, root)
        errors.append(weighted_error(weight, matrices[group], root) / whole)
    found = likeness(subject.reference, embedded(subject, matrices, subject.held_out))
    row = {"rule": rule, "share": share, "error": float(np.mean(errors))}
    return row | summary(found, subject.documents), found


def section_pruning(name, result):
    """Markdown of error and fidelity by share and rule."""
    lines = [
        f"## {name}", "",
        f"{len(result['groups'])} weights ({', '.join(result['groups'])}) fitted by EM, {_range(result['atoms'])} "
        "atoms each, the rest of the network as it is; codes are refitted on what is left of their supports, nothing "
        f"is rounded. {result['converged']} of {len(result['groups'])} fits converged, the others ran out of passes. "
        f"P(active) is below 1/2 for {result['unlikely']} of {sum(result['atoms'])} atoms, and the smallest "
        f"log odds are {result['least_log_odds']:.0f}; where P(active) is 1 it is they that order atoms. Measured on "
        f"{result['held_out']} sentences of {result['documents']} documents; behind a mean is its standard error over "
        "documents.", "",
        "| atoms kept | by | error | cosine, mean | 5th percentile | top-1 | top-10 |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for row in result["rows"]:
        lines.append(f"| {row['share']:.0%} | {row['rule']} | {row['error']:.3g} | {measured(row)} |")
    lines += ["", *difference_lines(result["differences"], "atoms kept", "{:.0%}")]
    return "\n".join([*lines, ""])


def _range(counts):
    return f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
