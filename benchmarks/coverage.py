"""Do intervals of noiseless entries cover the truth as often as they say: Gibbs, SVI and variational EM.

Run ``python -m benchmarks.coverage "A 500" "A 2000"``; results of parts that are not run again are kept. Seeds run in
processes of their own, as many at a time as ``--workers`` says.
"""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks._posterior import Page, run_page
from padl_bayes import datasets
from padl_bayes.inference import fit_em, fit_svi, sample_gibbs, sample_nuts
from padl_bayes.kernels.slabs import SLABS
from padl_bayes.kernels.uniforms import uniform_open

LEVELS = (0.5, 0.8, 0.95)
WANTED = (0.93, 0.97)
ROWS = 50


class Case(NamedTuple):
    """Size of synthetic A, the bound on the atoms, seeds, and draws of each method."""

    n_samples: int
    n_atoms: int
    seeds: int
    warmup: int
    draws: int
    thinning: int
    sizes: dict


CASES = {
    "A 500": Case(500, 40, 10, 300, 250, 4, {}),
    "A 2000": Case(2000, 40, 8, 300, 250, 2, {}),
}
QUICK = Case(100, 5, 1, 50, 50, 2, dict(n_features=8, n_atoms=3, usage=0.3))


def reconstruct(codes, dictionary, rows):
    """Noiseless entries (draw, rows, P) from draws of codes (draw, N, K) and of the dictionary ([draw,] K, P)."""
    return codes[:, rows] @ dictionary


def score(codes, dictionary, clean):
    """Coverage and mean width of central intervals, one a level, and the RMSE of the posterior mean.

    Parameters
    ----------
    codes : ndarray, shape (draw, N, K)
    dictionary : ndarray, shape (draw, K, P) or (K, P)
    clean : ndarray, shape (N, P)

    Returns
    -------
    dict
    """
    ends = np.array([[(1 - level) / 2, (1 + level) / 2] for level in LEVELS]).ravel()
    covered, width, square = np.zeros(len(LEVELS)), np.zeros(len(LEVELS)), 0.0
    for first in range(0, len(clean), ROWS):
        rows = slice(first, first + ROWS)
        draws, truth = reconstruct(codes, dictionary, rows), clean[rows]
        low, high = np.moveaxis(np.quantile(draws, ends, axis=0).reshape(-1, 2, *truth.shape), 1, 0)
        covered += np.sum((low <= truth) & (truth <= high), axis=(1, 2))
        width += np.sum(high - low, axis=(1, 2))
        square += np.sum((draws.mean(0) - truth) ** 2)
    return {
        "covered": (covered / clean.size).tolist(),
        "width": (width / clean.size).tolist(),
        "rmse": float(np.sqrt(square / clean.size)),
    }


def _flat(draws):
    """Draws of all chains, (draw, ...)."""
    return draws.reshape(-1, *draws.shape[2:])


def gibbs(X, fit, case, seed):
    """Everything unknown; chains start at the fit."""
    draws = sample_gibbs(
        X, case.n_atoms, init=fit, num_warmup=case.warmup, num_samples=case.draws * case.thinning,
        thinning=case.thinning, keep_codes="draws", random_state=seed,
    )  # fmt: skip
    return _flat(draws.samples["codes"]), _flat(draws.samples["dictionary"])


def gibbs_given_globals(X, fit, case, seed):
    """Codes given everything global as the fit has it: what is lost to point estimates, not to independence."""
    known = {name: getattr(fit, name) for name in ("dictionary", "noise_scale", "usage", "rate")}
    draws = sample_gibbs(
        X, fixed=known | {"activation_rate": 1.0}, init=fit, num_warmup=case.warmup // 4,
        num_samples=case.draws * case.thinning, thinning=case.thinning, keep_codes="draws", random_state=seed,
    )  # fmt: skip
    return _flat(draws.samples["codes"]), fit.dictionary


@partial(jax.jit, static_argnums=0)
def _draw_factors(law, key, linear, precision, rate, probability):
    uniforms = uniform_open(key, (3, *linear.shape), linear.dtype)
    values = law.draw(linear, precision, rate, uniforms[:2])
    return jax.numpy.where(uniforms[2] < probability, values, 0)


def em(X, fit, case, seed):
    """Independent draws of the variational factors of the codes; the dictionary and the rest as points."""
    precision = fit.coding_noise_scale**-2
    residual = X - fit.codes @ fit.dictionary
    linear = (precision * (residual @ fit.dictionary.T + fit.codes)).astype(X.dtype)
    law = SLABS[fit.slab, fit.nonnegative]
    keys = jax.random.split(jax.random.key(seed), 4 * case.draws)
    dtype = X.dtype.type
    arguments = linear, dtype(precision), fit.rate.astype(dtype), fit.probability.astype(dtype)
    return np.stack([np.asarray(_draw_factors(law, key, *arguments)) for key in keys]), fit.dictionary


def svi(model, X, fit, case, seed):
    """A structured normal law of everything, all the fit's atoms active, from the fit on."""
    draws = fit_svi(X, init=fit, model=model, num_draws=4 * case.draws, random_state=seed)
    return _flat(draws.samples["codes"]), _flat(draws.samples["dictionary"])


def nuts(model, X, fit, case, seed):
    """The same model and start as `svi`, sampled."""
    draws = sample_nuts(
        X, init=fit, model=model, num_warmup=case.warmup, num_samples=case.draws, random_state=seed
    )
    return _flat(draws.samples["codes"]), _flat(draws.samples["dictionary"])


METHODS = {
    "Gibbs": gibbs,
    "Gibbs given EM's globals": gibbs_given_globals,
    "EM": em,
    "SVI, Laplace codes": partial(svi, "laplace"),
    "SVI, l1 + l_inf": partial(svi, "l1linf"),
    "NUTS, Laplace codes": partial(nuts, "laplace"),
}
BY_DEFAULT = [name for name in METHODS if not name.startswith("NUTS")]


def run_seed(case, methods, seed):
    """Scores of each method on one draw of the data."""
    data = datasets.synthetic_a(0.1, n_samples=case.n_samples, seed=seed, dtype=np.float32, **case.sizes)
    started = time.perf_counter()
    fit = fit_em(data.X, case.n_atoms)
    seconds_fit = time.perf_counter() - started
    scores = {}
    for name in methods:
        started = time.perf_counter()
        codes, dictionary = METHODS[name](data.X, fit, case, seed)
        seconds = time.perf_counter() - started
        scores[name] = score(codes, dictionary, data.clean) | {"seconds": seconds, "draws": len(codes)}
        print(f"  seed {seed}, {name}: {scores[name]['covered'][-1]:.4f} at 95%, {seconds:.0f} s", flush=True)
    return {"fit_seconds": seconds_fit, "atoms": len(fit.dictionary), "scores": scores}


def run_case(case, options, say):
    """Scores over seeds, fit for JSON."""
    methods = [name for name in METHODS if name in (options.methods or BY_DEFAULT)]
    seeds = range(options.seeds or case.seeds)
    workers = min(options.workers, len(seeds))
    say(f"  {len(seeds)} seeds, {workers} at a time")
    # One core a process: those of processes beside it are not idle.
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(partial(run_seed, case, methods), seeds))
    return {"case": case._asdict(), "methods": methods, "workers": workers, "seeds": found}


def summary(result):
    """For each method the mean over seeds of (coverage, width, RMSE, seconds), and the coverages' standard error."""
    found = {}
    for name in result["methods"]:
        scores = [seed["scores"][name] for seed in result["seeds"]]
        covered = np.array([s["covered"] for s in scores])
        error = (
            covered.std(0, ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else np.full(len(LEVELS), np.nan)
        )
        found[name] = {
            "covered": covered.mean(0),
            "error": error,
            "width": np.mean([s["width"] for s in scores], axis=0),
            "rmse": np.mean([s["rmse"] for s in scores]),
            "seconds": np.mean([s["seconds"] for s in scores]),
            "draws": scores[0]["draws"],
        }
    return found


def _with_error(share, error):
    return f"{share:.2%}" if np.isnan(error) else f"{share:.2%} ± {error:.2%}"


def section(name, result):
    """Markdown of one case."""
    case, found = result["case"], summary(result)
    atoms = [seed["atoms"] for seed in result["seeds"]]
    lines = [
        f"## {name}",
        "",
        f"{case['n_samples']} samples, at most {case['n_atoms']} atoms, float32, {len(atoms)} seeds (variational EM "
        f"kept {min(atoms)} to {max(atoms)} atoms). Coverage: mean over seeds, plus or minus its standard error. "
        f"Width: mean over entries. Seconds include compilation, {result['workers']} seeds at a time. "
        f"{result['machine']}.",
        "",
        "| method | 50% | 80% | 95% | short of 95% by | width, 95% | RMSE of the mean | draws | s |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for method, row in found.items():
        cells = [_with_error(c, e) for c, e in zip(row["covered"], row["error"], strict=True)]
        lines.append(
            f"| {method} | {' | '.join(cells)} | {100 * (0.95 - row['covered'][-1]):+.2f} points "
            f"| {row['width'][-1]:.4f} | {row['rmse']:.4f} | {row['draws']} | {row['seconds']:.0f} |"
        )
    if "Gibbs" in found:
        low, high = WANTED
        covered = found["Gibbs"]["covered"][-1]
        verdict = "within" if low <= covered <= high else "outside"
        lines += ["", f"Gibbs at 95%: {covered:.2%}, {verdict} the {low:.0%} to {high:.0%} asked for."]
    return "\n".join([*lines, ""])


def draw(name, result):
    """Coverage against level, less the level."""
    from padl_bayes.plots._style import CYCLE, dress, legend

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    ax = figure.add_subplot()
    ax.axhline(0, color="0.4", linewidth=0.8)
    for colour, (method, row) in zip(CYCLE, summary(result).items(), strict=False):
        levels = 100 * np.array(LEVELS)
        error = np.nan_to_num(200 * row["error"])
        ax.errorbar(
            levels, 100 * row["covered"] - levels, error, color=colour, marker="o", capsize=3, label=method
        )
    legend(ax, loc="center left", bbox_to_anchor=(1, 0.5))
    dress(ax, xlabel="interval (%)", ylabel="coverage less level (points)", title=name)
    return figure


HEAD = """# Coverage of intervals for noiseless entries

Written by `python -m benchmarks.coverage`. Synthetic A (20 atoms in 32 features, usage 0.15, Laplace amplitudes,
noise 0.1); central intervals of every entry of codes @ dictionary from draws, held to the noiseless data. Gibbs: four
chains from variational EM's fit, number of atoms unknown. "Given EM's globals": exact draws of the codes with
dictionary, usage, rates and noise fixed at EM's, so that the step from Gibbs to it is the price of point estimates, and
the step from it to EM, whose codes are independent, the price of independence. SVI fits the continuous models, with all
of EM's atoms active. Where a sample uses no atom (4 in 100), its entries and most of their draws are exactly zero, and
an interval covers whatever its level. Bars in the figures are two standard errors.
"""


def main(arguments=None):
    """Run the cases named and return the results of all."""

    def add_options(parser):
        parser.add_argument("--seeds", type=int, help="instead of the case's own number")
        parser.add_argument("--methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)}")
        parser.add_argument(
            "--workers", type=int, default=os.cpu_count(), help="processes; all cores by default"
        )

    page = Page("coverage", HEAD, CASES, QUICK, run_case, section, draw)
    return run_page(page, arguments, __doc__.splitlines()[0], add_options)


if __name__ == "__main__":
    main()
