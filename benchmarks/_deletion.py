"""Atoms that EM deletes of itself from the dictionary of a weight, against keeping as many by magnitude."""

import tempfile
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from benchmarks._likeness import difference_lines, differences, likeness, measured, summary
from benchmarks._weights import Kept, embedded, subject_of
from padl_bayes._devices import mesh_over
from padl_bayes._precision import precision_of
from padl_bayes.alignment import recovered
from padl_bayes.compress.calibration import weighted_error
from padl_bayes.compress.pruning import magnitudes, pruned_weight
from padl_bayes.inference import moves
from padl_bayes.inference.em import History, anneal, initial_state
from padl_bayes.inference.recoding import recode_all, sparse_codes
from padl_bayes.inference.variational import PASSES, make_problem, untile_rows

KEY = ("bernoulli_laplace", False)
SAME = 0.9
COMPARED = (("EM", "magnitude"), ("evidence", "magnitude"), ("EM", "evidence"))


class Deletion(NamedTuple):
    """Layers, sentences, and how many atoms there are before any is deleted."""

    layers: tuple = tuple(range(6))
    kinds: tuple = ("fc1",)
    calibration: int = 500
    held_out: int = 600
    n_atoms: int = 192
    seed: int = 0


class Ran(NamedTuple):
    """Atoms, codes and P(used) that are left, the evidence, and passes since the start."""

    found: SimpleNamespace
    evidence: float
    passes: int


def deleted(V, root, part):
    """`Ran` by rule: at the start, EM's own deletions, and as many by evidence and by magnitude.

    The two go down in steps of half of the excess, refitted after each as by `moves.limit`; then passes run until there
    are as many as EM took.
    """
    V = V.astype(np.float32)
    with precision_of(V):
        problem = make_problem(V, None, slab=KEY[0], mesh=mesh_over(None))
        history = History(10**9)
        settings = moves.Settings(KEY, part.n_atoms, history)
        rng = np.random.default_rng(part.seed)
        start = anneal(settings, problem, initial_state(KEY, problem, V, part.n_atoms, rng))
        start = moves.run(settings, problem, start.state, chunks=moves.REFIT_CHUNKS, stage="anneal")
        ran = {"all": _ran(problem, start, len(V), 0)}
        first = len(history.elbo)
        own = moves.prune(settings, problem, start, np.random.default_rng(part.seed))
        spent = len(history.elbo) - first
        ran["EM"] = _ran(problem, own, len(V), spent)
        count = len(ran["EM"].found.dictionary)
        for rule, shrink in (("evidence", moves.limit), ("magnitude", _limit_by_magnitude(root, len(V)))):
            first = len(history.elbo)
            fit = shrink(settings, problem, start, np.random.default_rng(part.seed), count)
            left = (spent - (len(history.elbo) - first)) // PASSES
            if left > 0:
                fit = moves.run(settings, problem, fit.state, chunks=left, stage="settle")
            ran[rule] = _ran(problem, fit, len(V), len(history.elbo) - first)
    return ran


def _limit_by_magnitude(root, n_samples):
    """`moves.limit` with magnitudes in place of what deletions gain."""

    def limit(settings, problem, fit, rng, n_atoms):
        while (excess := len(moves.active_of(fit.state)) - n_atoms) > 0:
            found = _found(problem, fit, n_samples)
            size, _ = magnitudes(sparse_codes(found), found.dictionary, root)
            worst = np.argsort(size, kind="stable")[: (excess + 1) // 2]
            fit = moves._try_deletions(settings, problem, fit.state, moves.active_of(fit.state)[worst], rng)
        return fit

    return limit


def _ran(problem, fit, n_samples, passes):
    return Ran(_found(problem, fit, n_samples), fit.evidence, passes)


def _found(problem, fit, n_samples):
    """What is left, as of an `EmFit`."""
    coded, active = recode_all(KEY, problem, fit.state), moves.active_of(fit.state)
    codes, probability = (
        untile_rows(table, n_samples)[:, active] for table in (coded.codes, coded.probability)
    )
    dictionary = np.asarray(fit.state.atoms.dictionary)[active]
    return SimpleNamespace(dictionary=dictionary, codes=codes, probability=probability)


def run_deletion(part, options, say):
    """Error and fidelity of what each rule leaves."""
    with tempfile.TemporaryDirectory() as fresh:
        kept = Kept(getattr(options, "work", None) or fresh)
        subject, ran = subject_of(part, kept), {}
        for group, weight in subject.matrices.items():
            V, root = weight.astype(np.float64) @ subject.roots[group], subject.roots[group]
            ran[group] = kept(f"deleted {part.n_atoms} {group}", lambda V=V, r=root: deleted(V, r, part))
            say(
                f"{group}: "
                + ", ".join(f"{rule} {len(r.found.dictionary)}" for rule, r in ran[group].items())
            )
        rows, likenesses = [], {}
        for rule in next(iter(ran.values())):
            row, likenesses[rule] = kept(
                f"deleted {part.n_atoms} {len(ran)} {part.held_out} {rule}",
                lambda rule=rule: _row(subject, {group: r[rule] for group, r in ran.items()}, rule),
            )
            rows.append(row)
            say(str(row))
    return {
        "kind": "deletion", "calibration": part.calibration, "held_out": part.held_out,
        "documents": len(set(subject.documents)), "groups": list(ran), "n_atoms": part.n_atoms, "rows": rows,
        "shared": [_shared(r["EM"], r["magnitude"]) for r in ran.values()],
        "differences": [
            {"of": one, "less": other} | differences(likenesses[one], likenesses[other], subject.documents)
            for one, other in COMPARED
        ],
    }  # fmt: skip


def _shared(one, other):
    """Share of the atoms of one that another has too, up to sign, at a cosine above `SAME`."""
    atoms = one.found.dictionary
    return recovered(other.found.dictionary, atoms, SAME) / len(atoms)


def _row(subject, ran, rule):
    matrices, errors, nonzeros = {}, [], []
    for group, r in ran.items():
        weight, root = subject.matrices[group], subject.roots[group]
        V, every = weight.astype(np.float64) @ root, np.arange(len(r.found.dictionary))
        matrices[group] = pruned_weight(r.found, V, root, every).astype(np.float32)
        whole = weighted_error(weight, 0 * weight, root)
        errors.append(weighted_error(weight, matrices[group], root) / whole)
        nonzeros.append(np.mean(np.sum(r.found.probability >= 0.5, axis=1)))
    found = likeness(subject.reference, embedded(subject, matrices, subject.held_out))
    row = {
        "rule": rule, "atoms": [len(r.found.dictionary) for r in ran.values()], "error": float(np.mean(errors)),
        "nonzeros": float(np.mean(nonzeros)), "evidence": [r.evidence for r in ran.values()],
        "passes": [r.passes for r in ran.values()],
    }  # fmt: skip
    return row | summary(found, subject.documents), found


def section_deletion(name, result):
    """Markdown of what each rule leaves."""
    rows = {row["rule"]: row for row in result["rows"]}
    lines = [
        f"## {name}", "",
        f"{len(result['groups'])} weights ({', '.join(result['groups'])}), {result['n_atoms']} atoms each before any "
        "is deleted. \"EM\" is what EM deletes of itself, as long as the evidence rises. \"evidence\" deletes as many "
        "in steps of half of the excess, those first whose deletion loses least evidence; \"magnitude\" the same by "
        "mean size of codes times norm in the weight. All are refitted after every step, to as many passes; those of "
        "deletions that EM took back count. "
        f"{_spaced(result['shared'], '.0%')} of EM's atoms are among those left by magnitude (cosine above {SAME}). "
        f"Measured on {result['held_out']} sentences of {result['documents']} documents; behind a mean is its standard "
        "error over documents.", "",
        "| rule | atoms | nonzeros | passes | evidence, nats above the start | error | cosine, mean | 5th percentile "
        "| top-1 | top-10 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for rule, row in rows.items():
        gains = np.subtract(row["evidence"], rows["all"]["evidence"])
        cells = [
            _spaced(row["atoms"]),
            f"{row['nonzeros']:.1f}",
            _spaced(row["passes"]),
            _spaced(gains, ",.0f"),
        ]
        lines.append(f"| {rule} | {' | '.join(cells)} | {row['error']:.3g} | {measured(row)} |")
    lines += ["", _by_magnitude(rows), "", *difference_lines(result["differences"])]
    return "\n".join([*lines, ""])


def _by_magnitude(rows):
    evidence = {rule: np.array(row["evidence"]) for rule, row in rows.items()}
    ours, own = (np.sum(evidence["magnitude"] > evidence[rule]) for rule in ("evidence", "EM"))
    count = len(evidence["EM"])
    return f"By magnitude the evidence ends above EM's in {own} of {count} weights, above that by evidence in {ours}."


def _spaced(numbers, form=""):
    return " ".join(format(number, form) for number in numbers)
