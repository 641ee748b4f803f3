"""Reconstruction of real images at equal atoms and equal nonzeros: this package, scikit-learn and SPAMS.

Run ``python -m benchmarks.real_data digits mnist patches``; results of data sets that are not run again are kept.
Rivals learn as many atoms as variational EM kept, and, where that is fewer than it was allowed, also as many as it
was allowed. The penalty of their lasso codes is set so that samples have as many nonzeros as ours, on training and on
held-out samples. The penalty to learn at is found with short runs: of scikit-learn's mini-batch version and of SPAMS.
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from benchmarks._index import write_index
from benchmarks._machine import describe
from padl_bayes import PADL, ConvergenceWarning, datasets, plots, rivals

SEARCH_ITERATIONS = 50
RESULTS = Path(__file__).parent / "results"


class Case(NamedTuple):
    """One data set and how long rivals learn."""

    load: object
    n_atoms: int
    sklearn_iterations: int
    spams_iterations: int


CASES = {
    "digits": Case(lambda: datasets.digits(dtype=np.float32).X, 128, 100, 1000),
    "mnist": Case(lambda: datasets.mnist5k(dtype=np.float32).X / 255, 256, 20, 300),
    "patches": Case(lambda: datasets.natural_patches(20000, 8, seed=0, dtype=np.float32).X, 256, 20, 1000),
}
QUICK = Case(lambda: datasets.digits(dtype=np.float32).X[:300], 16, 5, 20)


def fit_ours(X, n_atoms, say):
    """Variational EM and MAP with calibrated weights, by name."""
    fits = {}
    for name, method in (("PADL EM", "em"), ("PADL MAP", "map")):
        say(f"  {name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits[name] = PADL(n_atoms, method).fit(X)
    return fits


def learn_rivals(X, n_atoms, nonzeros, case, say):
    """Yield the dictionaries of the rivals."""
    say(f"  scikit-learn, {n_atoms} atoms, mini-batches")
    quick = rivals.learn_sklearn(X, n_atoms, nonzeros, minibatch=True)
    yield quick
    say(f"  scikit-learn, {n_atoms} atoms")
    yield rivals.learn_sklearn(X, n_atoms, nonzeros, penalty=quick.penalty, max_iter=case.sklearn_iterations)
    if rivals.have_spams():
        say(f"  SPAMS, {n_atoms} atoms")
        rough = rivals.learn_spams(X, n_atoms, nonzeros, n_iter=SEARCH_ITERATIONS)
        yield rivals.learn_spams(X, n_atoms, nonzeros, n_iter=case.spams_iterations, penalty=rough.penalty)


def run_case(case, say):
    """Scores of all methods on one data set, as dictionaries, with its sizes."""
    train, held_out = datasets.split(case.load(), 0.2, seed=0)
    fits = fit_ours(train, case.n_atoms, say)
    data = rivals.make_data(train, held_out)
    scores = [line for name, fit in fits.items() for line in rivals.score_estimator(name, fit, data)]
    nonzeros = scores[0].nonzeros, scores[0].nonzeros_held_out
    for atoms in rivals.own_atoms(fits):
        say(f"  OMP with the atoms of {atoms.method}")
        scores += rivals.score_coded(atoms, data, nonzeros, rivals.RULES[1:])
    for n_atoms in dict.fromkeys((scores[0].n_atoms, case.n_atoms)):
        for learned in learn_rivals(data.train, n_atoms, nonzeros[0], case, say):
            scores += rivals.score_coded(learned, data, nonzeros)
    return {
        "samples": [len(train), len(held_out)],
        "features": train.shape[1],
        "scale": float(held_out.std()),
        "n_atoms": case.n_atoms,
        "iterations": [case.sklearn_iterations, case.spams_iterations],
        "machine": describe(),
        "scores": [score._asdict() for score in scores],
    }


def section(name, result):
    """Markdown of one data set."""
    ours = result["scores"][0]
    n_train, n_held_out = result["samples"]
    sklearn_iterations, spams_iterations = result["iterations"]
    lines = [
        f"## {name}",
        "",
        f"{n_train} training and {n_held_out} held-out samples of {result['features']} features (standard deviation of "
        f"held-out entries {result['scale']:.4g}), at most {result['n_atoms']} atoms, float32, seed 0. scikit-learn's "
        f"DictionaryLearning: at most {sklearn_iterations} iterations; SPAMS: {spams_iterations} mini-batches of 512. "
        f"{result['machine']}.{result.get('note', '')}",
        "",
        "| dictionary | codes | atoms | nonzeros, training | held-out | RMSE, training | held-out | ours against | s |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for s in result["scores"]:
        change = ours["rmse_held_out"] / s["rmse_held_out"] - 1
        lines.append(
            f"| {s['method']} | {s['coding']} | {s['n_atoms']} | {s['nonzeros']:.2f} | {s['nonzeros_held_out']:.2f} "
            f"| {s['rmse']:.4g} | {s['rmse_held_out']:.4g} | {change:+.0%} | {s['seconds']:.0f} |"
        )
    return "\n".join([*lines, ""])


HEAD = """# Real images at equal atoms and equal nonzeros

Written by `python -m benchmarks.real_data`. RMSE is the root mean squared error of an entry. Rivals are matched to the
mean nonzeros of the first row, PADL EM with its own sparse codes (`transform`); PADL MAP's own codes, with calibrated
weights, have their own number. "Refitted": least squares on the support of the codes. "Lasso" codes are shrunk towards
zero; OMP codes are least squares on their support, with one number of atoms for every sample (equal counts, rounded up)
or one squared residual (equal residuals). "Ours against": held-out RMSE of the first row relative to the row's
(negative: ours is lower). Seconds: learning the dictionary, without the search for the penalty.
"""


def write(results, folder):
    """Write ``real_data.json``, ``real_data.md``, a figure a data set, and the index."""
    folder.mkdir(exist_ok=True)
    (folder / "real_data.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = "\n".join([HEAD, *(section(name, result) for name, result in results.items())])
    (folder / "real_data.md").write_text(text, encoding="utf-8")
    for name, result in results.items():
        target = result["scores"][0]["nonzeros_held_out"]
        near = [s for s in result["scores"] if abs(s["nonzeros_held_out"] / target - 1) < 0.1]
        labels = [f"{s['method']} ({s['n_atoms']}): {s['coding']}" for s in near]
        ax = plots.comparison(labels, [(s["rmse_held_out"], s["rmse"]) for s in near], title=name)
        ax.figure.savefig(folder / f"real_data_{name}.png", dpi=110)
    write_index(folder)


def main(arguments=None):
    """Run the data sets named and return the results of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a toy run that writes nothing")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    if options.quick:
        result = run_case(QUICK, console.print)
        print(section("digits, toy", result))
        return {"toy": result}
    unknown = set(options.names) - set(CASES)
    if unknown:
        parser.error(f"no data set {', '.join(sorted(unknown))}: there are {', '.join(CASES)}")
    kept = RESULTS / "real_data.json"
    results = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for name in options.names or CASES:
        console.print(name)
        results[name] = run_case(CASES[name], console.print)
        write(results, RESULTS)
    print((RESULTS / "real_data.md").read_text(encoding="utf-8"))
    return results


if __name__ == "__main__":
    main()
