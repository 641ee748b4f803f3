"""Is this atom real? P(active) against truth and against independent fits.

Run ``python -m benchmarks.reliability synthetic digits patches``; results of parts that are not run again are kept.
On synthetic data an atom is real if a true atom matches it, on real data it reappears if another fit holds it.
"""

import argparse
import json
import multiprocessing
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpyro.diagnostics import split_gelman_rubin
from rich.console import Console
from rich.progress import track
from scipy.special import expit

import padl_bayes as pb
from benchmarks._index import write_index
from benchmarks._machine import describe
from padl_bayes import plots

RESULTS = Path(__file__).parent / "results"
THRESHOLDS = (0.95, 0.8)
ENGINES = ("EM, P(active)", "Gibbs, P(active)", "Gibbs, P(present)")
SEEDS, PARTS = "other seeds, same data", "other data"


class Size(NamedTuple):
    """How much is run."""

    data_sets: int
    """Synthetic data sets of each case."""
    n_samples: int
    """Of a synthetic data set."""
    n_rows: int
    """Of a fit of real data."""
    n_atoms: int
    """Bound of the fits of real data."""
    fits: int
    """Fits of one data set with other seeds, and of disjoint parts of the data."""
    sweeps: int
    """Of warm-up, and kept, of each chain."""
    chains: int


FULL = Size(data_sets=24, n_samples=200, n_rows=440, n_atoms=60, fits=4, sweeps=500, chains=4)
QUICK = Size(data_sets=2, n_samples=60, n_rows=60, n_atoms=6, fits=2, sweeps=30, chains=2)
# usage and noise: at 200 samples, atoms that 6 to 24 samples use
CASES = [(usage, noise) for usage in (0.03, 0.06, 0.12) for noise in (0.3, 0.6)]


class Atoms(NamedTuple):
    """What one fit found."""

    dictionary: np.ndarray
    """(K, P)"""
    probability: dict
    """Of each engine's forecast, and for "present" of each threshold: (K,)."""
    r_hat: float
    """Of the number of active atoms; NaN for EM."""


def fit_em(X, n_atoms, seed):
    """Atoms of variational EM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pb.ConvergenceWarning)
        fit = pb.PADL(n_atoms, random_state=seed).fit(X)
    probability = expit(fit.activation_log_odds_)
    return Atoms(fit.components_, {(ENGINES[0], t): probability for t in THRESHOLDS}, float("nan"))


def fit_gibbs(X, n_atoms, seed, size):
    """Atoms of the Gibbs sampler from scattered starts."""
    samples = pb.inference.sample_gibbs(
        X, n_atoms, num_warmup=size.sweeps, num_samples=size.sweeps, num_chains=size.chains, random_state=seed
    ).samples
    probability = {}
    for threshold in THRESHOLDS:
        atoms = pb.posterior_atoms(samples, threshold=threshold)
        probability[ENGINES[1], threshold] = atoms.probability
        probability[ENGINES[2], threshold] = atoms.presence
    r_hat = float(split_gelman_rubin(samples["num_active"].astype(float)))
    return Atoms(atoms.dictionary, probability, r_hat)


def run_synthetic(job):
    """Forecasts and truths of one synthetic data set."""
    size, usage, noise, seed = job
    data = pb.datasets.synthetic_a(
        noise, n_samples=size.n_samples, n_features=16, n_atoms=8, usage=usage, seed=seed
    )
    fits = fit_em(data.X, 16, seed), fit_gibbs(data.X, 16, seed, size)
    return [forecasts(atoms, [data.dictionary]) for atoms in fits], fits[1].r_hat


def run_real(job):
    """Atoms of both engines on one part of real data."""
    size, name, part, seed = job
    X = load(name, size, part)
    return fit_em(X, size.n_atoms, seed), fit_gibbs(X, size.n_atoms, seed, size)


def load(name, size, part):
    """Rows of real data, disjoint between parts; one scale for all."""
    if name == "digits":
        X, rng = pb.datasets.digits().X, np.random.default_rng(0)
        # whole numbers could be explained exactly, without noise: undo the rounding
        X = X[rng.permutation(len(X))] + rng.uniform(-0.5, 0.5, X.shape)
    else:
        X = pb.datasets.natural_patches(size.fits * size.n_rows, 8, seed=0).X
    return X[part * size.n_rows : (part + 1) * size.n_rows]


def forecasts(atoms, others):
    """(probability, outcome) of each atom by forecast and threshold."""
    found = {}
    for (engine, threshold), probability in atoms.probability.items():
        shares = pb.reappearance(atoms.dictionary, others, threshold=threshold)
        found[engine, threshold] = (probability, shares)
    return found


def held(atoms, engine):
    """The atoms that a fit would be said to have: those more probable than not."""
    return atoms.dictionary[atoms.probability[engine, THRESHOLDS[0]] >= 0.5]


def pool_forecasts(found):
    """Reliability by forecast and threshold, of dictionaries of forecasts of many fits."""
    scores = {}
    for key in dict.fromkeys(key for each in found for key in each):
        pairs = [each[key] for each in found if key in each]
        probability, outcome = (np.concatenate(column) for column in zip(*pairs, strict=True))
        if len(probability):
            scores[key] = pb.reliability(probability, outcome)
    return scores


def _results(pool, run, jobs):
    """The results of all jobs, in order, with a progress bar."""
    done = pool.map(run, jobs)
    return list(track(done, total=len(jobs), console=Console(stderr=True)))


def synthetic(size, pool):
    """Reliability against truth."""
    jobs = [
        (size, usage, noise, 100 * i + seed)
        for i, (usage, noise) in enumerate(CASES)
        for seed in range(size.data_sets)
    ]
    done = _results(pool, run_synthetic, jobs)
    scores = pool_forecasts([found for fits, _ in done for found in fits])
    return {"truth": scores}, [r_hat for _, r_hat in done]


def real(name, size, pool):
    """Reliability against fits of other seeds and of other data."""
    seeds = [(size, name, 0, seed) for seed in range(size.fits)]
    parts = [(size, name, part, 0) for part in range(1, size.fits)]
    done = _results(pool, run_real, seeds + parts)
    groups = {SEEDS: done[: size.fits], PARTS: [done[0], *done[size.fits :]]}
    scores = {}
    for group, fits in groups.items():
        found = []
        for engine, runs in zip(ENGINES, zip(*fits, strict=True), strict=False):
            for i, atoms in enumerate(runs):
                others = [held(other, engine) for j, other in enumerate(runs) if j != i]
                found.append(forecasts(atoms, others))
        scores[group] = pool_forecasts(found)
    return scores, [gibbs.r_hat for _, gibbs in done]


def run_part(name, size, workers):
    """Results of one part, fit for JSON."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        scores, r_hat = synthetic(size, pool) if name == "synthetic" else real(name, size, pool)
    rows = [
        {"against": group, "engine": engine, "threshold": threshold}
        | {field: np.asarray(value).tolist() for field, value in score._asdict().items()}
        for group, found in scores.items()
        for (engine, threshold), score in found.items()
    ]
    return {
        "size": size._asdict(),
        "machine": describe(),
        "r_hat": np.nan_to_num(r_hat, nan=0.0).tolist(),
        "rows": rows,
    }


def as_reliability(row):
    """The result that a row of the file holds."""
    fields = {name: row[name] for name in pb.Reliability._fields}
    return pb.Reliability(**{k: np.asarray(v) if isinstance(v, list) else v for k, v in fields.items()})


def section(name, result):
    """Markdown of one part."""
    size, r_hat = Size(**result["size"]), np.asarray(result["r_hat"])
    known = r_hat[r_hat > 0]
    spread = f"median {np.median(known):.3f}, largest {known.max():.3f}" if len(known) else "it never changed"
    if name == "synthetic":
        lead = (
            f"{len(r_hat)} data sets: {size.n_samples} samples of 16 features, 8 true atoms, fits given 16; usage "
            f"{', '.join(sorted({str(u) for u, _ in CASES}))}, noise {', '.join(sorted({str(n) for _, n in CASES}))}."
        )
    else:
        lead = (
            f"{size.n_rows} samples a fit, at most {size.n_atoms} atoms; {size.fits} seeds on one part of the data, "
            f"and one seed on {size.fits} disjoint parts."
        )
        lead += (
            " Grey levels are whole numbers: uniform noise of one level is added." if name == "digits" else ""
        )
    lines = [
        f"## {name}",
        "",
        f"{lead} Gibbs: {size.chains} chains of {size.sweeps} + {size.sweeps} sweeps; R-hat of the number of active "
        f"atoms: {spread}. {result['machine']}.",
        "",
        "| against | forecast | cosine above | atoms | mean probability | mean outcome | ECE | if calibrated | Brier |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in result["rows"]:
        count = np.asarray(row["number"])
        forecast, frequency = (count @ np.asarray(row[f]) / count.sum() for f in ("forecast", "frequency"))
        lines.append(
            f"| {row['against']} | {row['engine']} | {row['threshold']} | {count.sum()} | {forecast:.3f} "
            f"| {frequency:.3f} | {row['ece']:.3f} | {row['ece_calibrated']:.3f} | {row['brier']:.3f} |"
        )
    return "\n".join([*lines, "", f"![reliability diagrams](reliability_{name}.png)", ""])


HEAD = """# Is this atom real?

Written by `python -m benchmarks.reliability`. Forecasts: P(active), of EM from its log odds, of Gibbs the activation
probability of an aligned label averaged over draws; P(present), the share of Gibbs's draws with an active atom that
matches the label's mean direction. Outcomes: a true atom matches ("truth"), or the share of other fits with a matching
atom of probability at least one half. A match: absolute cosine above the threshold, paired one to one. ECE: expected
calibration error over ten bins; beside it what it would be on average were the forecasts calibrated.
"""


def draw(name, result):
    """Diagrams of one part: a row each thing to compare with, a column each threshold."""
    groups = list(dict.fromkeys(row["against"] for row in result["rows"]))
    fig = Figure(figsize=(4.2 * len(THRESHOLDS), 5.8 * len(groups)), layout="constrained")
    axes = fig.subplots(len(groups), len(THRESHOLDS), squeeze=False)
    for i, group in enumerate(groups):
        for j, threshold in enumerate(THRESHOLDS):
            found = {
                row["engine"]: as_reliability(row)
                for row in result["rows"]
                if (row["against"], row["threshold"]) == (group, threshold)
            }
            ylabel = "share that is true" if group == "truth" else "share of fits that hold it"
            plots.reliability(
                found,
                xlabel="probability",
                ylabel=ylabel,
                title=f"{group}, cosine > {threshold}",
                ax=axes[i, j],
            )
    return fig


def write(results, folder):
    """Write ``reliability.json``, ``reliability.md``, a figure a part, and the index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reliability.json").write_text(json.dumps(results) + "\n", encoding="utf-8")
    text = "\n".join([HEAD, *(section(name, result) for name, result in results.items())])
    (folder / "reliability.md").write_text(text, encoding="utf-8")
    for name, result in results.items():
        figure = draw(name, result)
        figure.savefig(folder / f"reliability_{name}.png", dpi=80, bbox_inches="tight")
    write_index(folder)


def main(arguments=None):
    """Run the parts named and return the results of all."""
    names = ("synthetic", "digits", "patches")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all by default")
    parser.add_argument(
        "--quick", action="store_true", help="a toy run that writes nothing unless told where"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; all cores by default")
    parser.add_argument("--out", type=Path, help="folder of the results; benchmarks/results by default")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    folder = options.out or (None if options.quick else RESULTS)
    kept = folder and folder / "reliability.json"
    results = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.is_file() else {}
    for name in options.names or names:
        Console(stderr=True).print(name)
        results[name] = run_part(name, QUICK if options.quick else FULL, options.workers)
        print(section(name, results[name]), flush=True)
        if folder:
            write(results, folder)
    return results


if __name__ == "__main__":
    main()
