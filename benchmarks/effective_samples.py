"""Effective samples of the dictionary per second: Gibbs against NUTS on one small problem.

Run ``python -m benchmarks.effective_samples`` with ``XLA_FLAGS=--xla_force_host_platform_device_count=4``, so that each
of the four chains of either sampler has a device of its own (else Gibbs runs its chains side by side on one device and
NUTS one after the other). Data, hyperpriors, precision and machine are the same for all.
"""

from typing import NamedTuple

import jax
import numpy as np

from benchmarks._posterior import Page, convergence, run_page, stopwatch
from padl_bayes import align, datasets
from padl_bayes.inference import fit_em, sample_gibbs, sample_nuts

CHAINS = 4
# Every atom active: then the program is the continuous one that NUTS samples.
ALL_ACTIVE = {"activation_rate": 1.0}
# With every code used as well, the two-level slab is Laplace's; logarithms of the rest must be finite.
EVERY_CODE = 1 - 1e-12


# Bound on the atoms of the default model: where there is no room for more, chains are slow to leave a wrong set.
ROOM = 2


class Method(NamedTuple):
    """A sampler of a model, and whether its chains start at the fit."""

    sampler: str
    model: str
    from_fit: bool


MODELS = {"l1linf": "l1 + l_inf", "laplace": "Laplace codes", "default": "default model"}
METHODS = {
    f"{name}, {MODELS[model]}, {'from the fit' if from_fit else 'scattered'}": Method(
        sampler, model, from_fit
    )
    for model in MODELS
    for sampler, name in (("gibbs", "Gibbs"), ("nuts", "NUTS"))
    for from_fit in (False, True)
    if (sampler, model) != ("nuts", "default")
}


class Case(NamedTuple):
    """Sizes of the data, and (warm-up, draws) of a chain by model, of either sampler."""

    n_samples: int
    n_features: int
    n_atoms: int
    usage: float
    gibbs: dict
    nuts: dict


CASES = {
    "Synthetic A": Case(
        100,
        16,
        12,
        0.15,
        {"default": (1000, 4000), "laplace": (500, 4500), "l1linf": (300, 1500)},
        {"laplace": (500, 500), "l1linf": (300, 500)},
    ),
}
QUICK = Case(60, 8, 3, 0.3, {"laplace": (100, 200)}, {"laplace": (50, 50)})


def draw(method, case, X, fit):
    """Draws of a method: (samples, statistics)."""
    warmup, count = getattr(case, method.sampler)[method.model]
    shared = dict(
        init=fit if method.from_fit else None, num_warmup=warmup, num_samples=count, num_chains=CHAINS
    )
    shared |= dict(n_atoms=case.n_atoms, random_state=1)
    # The same number for both samplers, as only Gibbs has a rate for each atom.
    known = {"rate": float(1 / np.abs(fit.codes).mean())} if method.model == "laplace" else {}
    if method.sampler == "nuts":
        side_by_side = jax.local_device_count() >= CHAINS
        chain_method = "parallel" if side_by_side else "sequential"
        draws = sample_nuts(X, model=method.model, chain_method=chain_method, fixed=known, **shared)
    elif method.model == "default":
        draws = sample_gibbs(X, **shared | {"n_atoms": ROOM * case.n_atoms})
    elif method.model == "laplace":
        fixed = ALL_ACTIVE | known | {"usage": EVERY_CODE}
        draws = sample_gibbs(X, slab="bernoulli_laplace", fixed=fixed, **shared)
    else:
        draws = sample_gibbs(X, slab=method.model, fixed=ALL_ACTIVE, **shared)
    return draws.samples, draws.sample_stats


def measure(name, method, case, X, fit, say):
    """One row: seconds, and convergence of the dictionary as it came and aligned, and of invariants."""
    say(f"  {name}")
    with stopwatch() as watch:
        samples, stats = draw(method, case, X, fit)
    dictionary = samples["dictionary"]
    active = samples.get("active", np.ones(dictionary.shape[:3], int))
    with stopwatch() as matching:
        aligned = align(dictionary, active=active)
    steady = aligned.apply(active).mean(axis=1).min(axis=0) >= 0.99
    row = {
        "sampler": method.sampler,
        "model": method.model,
        "from_fit": method.from_fit,
        "length": getattr(case, method.sampler)[method.model],
        "seconds": watch.total,
        "compilation": watch.compilation,
        "alignment_seconds": matching.total,
        "steady": int(steady.sum()),
        "raw": convergence(dictionary),
        "aligned": convergence(aligned.dictionary[:, :, steady]) if steady.any() else None,
        "noise_scale": convergence(samples["noise_scale"]),
        "lp": convergence(stats["lp"]),
    }
    if "n_steps" in stats:
        row |= {
            "leapfrogs": float(stats["n_steps"].mean()),
            "diverging": float(stats["diverging"].mean()),
            "acceptance": float(stats["acceptance_rate"].mean()),
        }
    return row


def run_case(case, options, say):
    """Rows of all methods, fit for JSON."""
    sizes = dict(n_samples=case.n_samples, n_features=case.n_features, n_atoms=case.n_atoms)
    X = datasets.synthetic_a(0.1, **sizes, usage=case.usage, seed=0, dtype=np.float64).X
    fit = fit_em(X, case.n_atoms)
    if len(fit.dictionary) != case.n_atoms:
        raise ValueError(f"the fit has {len(fit.dictionary)} atoms, NUTS needs all {case.n_atoms}")
    chosen = {
        name: method for name, method in METHODS.items() if method.model in getattr(case, method.sampler)
    }
    rows = {name: measure(name, method, case, X, fit, say) for name, method in chosen.items()}
    return {
        "sizes": sizes,
        "usage": case.usage,
        "devices": jax.local_device_count(),
        "platform": jax.default_backend(),
        "fit_seconds": fit.wall_time,
        "rows": rows,
    }


def _rate(row, which, statistic, clock):
    seconds = row["seconds"] - (row["compilation"] if clock == "running" else 0)
    seconds += row["alignment_seconds"] if which == "aligned" else 0
    return row[which][f"ess_{statistic}"] / seconds


def _ratio(ours, theirs, which):
    """Text: ratios of effective samples per second, median and smallest entry, without and with compilation."""
    values = [
        _rate(ours, "aligned", statistic, clock) / _rate(theirs, which, statistic, clock)
        for clock in ("running", "total")
        for statistic in ("median", "min")
    ]
    return "| " + " | ".join(f"{value:.3g}" for value in values) + " |"


def _rows(rows):
    lines = [
        "| draws | a chain | dictionary | s | compiling | R-hat, median | largest | ESS, median | smallest "
        "| ESS/s, median | smallest | R-hat lp |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        length = f"{row['length'][0]} + {row['length'][1]}"
        for which, text in (("raw", "as it came"), ("aligned", f"aligned ({row['steady']} atoms)")):
            c = row[which]
            if c is None:
                continue
            lines.append(
                f"| {name} | {length} | {text} | {row['seconds']:.1f} | {row['compilation']:.1f} "
                f"| {c['rhat_median']:.3f} | {c['rhat_max']:.3f} | {c['ess_median']:.0f} | {c['ess_min']:.0f} "
                f"| {_rate(row, which, 'median', 'running'):.3g} | {_rate(row, which, 'min', 'running'):.3g} "
                f"| {row['lp']['rhat_max']:.3f} |"
            )
    return lines


def _ratios(rows):
    """Gibbs from scattered starts against NUTS as it comes, and from the fit against NUTS from the fit."""
    lines = [
        "| effective samples per second | median entry | smallest | median, with compilation | smallest |",
        "|---|--:|--:|--:|--:|",
    ]
    ours = [name for name, row in rows.items() if row["sampler"] == "gibbs" and row["aligned"]]
    for name in ours:
        for other, row in rows.items():
            comparable = (
                rows[name]["model"] in ("default", row["model"]) and row["from_fit"] == rows[name]["from_fit"]
            )
            if row["sampler"] != "nuts" or not comparable:
                continue
            kinds = ("aligned",) if row["from_fit"] else ("raw", "aligned")
            for which in kinds:
                label = "naive: not aligned" if which == "raw" else "aligned"
                lines.append(f"| {name} / {other} ({label}) {_ratio(rows[name], row, which)}")
    return lines


def section(name, r):
    """Markdown of one case."""
    sizes = r["sizes"]
    nuts = [(label, row) for label, row in r["rows"].items() if row["sampler"] == "nuts"]
    lines = [
        f"## {name}",
        "",
        f"N = {sizes['n_samples']}, P = {sizes['n_features']}, K = {sizes['n_atoms']}, noise 0.1, usage "
        f"{r['usage']:g}, seed 0; float64, {r['devices']} {r['platform']} devices, four "
        f"chains. The fit to start from: variational EM, {r['fit_seconds']:.1f} s, not counted. {r['machine']}.",
        "",
        *_rows(r["rows"]),
        "",
        *_ratios(r["rows"]),
        "",
        *[
            f"- {label}: {row['leapfrogs']:.0f} leapfrog steps a draw, {row['diverging']:.1%} divergent, "
            f"acceptance {row['acceptance']:.2f}."
            for label, row in nuts
        ],
    ]
    return "\n".join([*lines, ""])


HEAD = """# Effective samples of the dictionary per second

Written by `python -m benchmarks.effective_samples`. Bulk effective sample size over the entries of the dictionary and
rank-normalised split R-hat, by ArviZ. ESS/s and ratios are per second of warm-up and sampling of all four chains
without compilation (lowering and compiling, as JAX reports them), alignment included where draws are aligned; the last
two columns of the ratios count compilation too. Gibbs and NUTS sample the same posterior, with the same hyperpriors and
all atoms active, under "l1 + l_inf" (the slab of that name) and "Laplace codes" (of one known rate, the inverse of the
mean absolute code of the fit). "Default model" is what `sample_gibbs` does unasked: the two-level slab with the number
of atoms unknown, at most twice as many; NUTS cannot sample it, so its posterior is another one, and only the atoms
active in at least 99% of the draws of every chain count. Scattered: every chain starts at a random point of its own
(NUTS: NumPyro's uniform start); naive NUTS is that with its draws as they came. Chains that sit in different modes have
an ESS of about their number: an R-hat far from 1 says so, and a ratio with such an ESS in it says little but that.
"""


def main(arguments=None):
    """Run the cases named and return the results of all."""
    page = Page("effective_samples", HEAD, CASES, QUICK, run_case, section)
    return run_page(page, arguments, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
