"""Four ways to hyperparameters: ``python -m benchmarks.hyperparameters [PART ...] [--quick]``.

Null calibration and MAP, variational EM, maximum marginal likelihood by stochastic-approximation EM, and full Bayes, on
synthetic A, whose hyperparameters and atoms are known. Parts that are not run again are kept.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.special import logsumexp

import padl_bayes as pb
from benchmarks._posterior import Page, run_page, stopwatch

USAGE, RATE, ATOMS = 0.15, 1.0, 20
DRAWS = 20
HEAD = """# Hyperparameters from the data, four ways

`python -m benchmarks.hyperparameters`. Synthetic A with half of the samples held out. Density is the log of the
predictive one of a held-out sample, its codes integrated out: at the point estimate for MAP and EM, averaged over
posterior draws for SAEM (at its hyperparameters) and full Bayes. Usage and rate are means over the active atoms; MAP's
slab has neither usage nor activation. "true" is the law that the data came from.
"""


class Part(NamedTuple):
    """Noise, sizes, and how long samplers run."""

    noise: float
    n_samples: int = 800
    """Half of them are for training."""
    n_features: int = 32
    n_true: int = ATOMS
    n_atoms: int = 40
    burn_in: int = 300
    iterations: int = 200
    sweeps: int = 600
    """Of full Bayes' warm-up; a third as many are kept."""
    chains: int = 2
    slow_iterations: int = 60
    """Of the l1 + l_inf slab, burn-in and averaging each."""


class Found(NamedTuple):
    """What one way says of the hyperparameters, and its atoms."""

    noise: float
    usage: float | None
    rate: float | None
    active: float
    dictionary: Any
    density: np.ndarray
    """(N,) log density of the held-out samples."""


def _mean(values):
    return float(np.mean(values)) if len(values) else None


def by_map(train, held_out, n_atoms, alpha):
    """MAP at given weights; its codes' law is Laplace, cut at the envelopes."""
    fit = pb.inference.fit_map(train, n_atoms, alpha=alpha, max_iter=300)
    rate = alpha[0] / fit.noise_scale**2
    envelope = np.abs(fit.codes).max(axis=0)
    density = pb.inference.log_predictive(
        held_out, fit.dictionary, 1.0, rate, fit.noise_scale, slab="l1linf", envelope=envelope
    ).log_density
    return Found(fit.noise_scale, None, rate, len(fit.dictionary), fit.dictionary, density)


def by_em(train, held_out, n_atoms):
    """Variational EM."""
    fit = pb.inference.fit_em(train, n_atoms)
    density = pb.inference.log_predictive(
        held_out, fit.dictionary, fit.usage, fit.rate, fit.noise_scale
    ).log_density
    return Found(
        fit.noise_scale, _mean(fit.usage), _mean(fit.rate), len(fit.dictionary), fit.dictionary, density
    )


def _of_draws(draws, held_out, fixed):
    """`Found` of the draws of a sampler, where ``fixed`` are the hyperparameters that it did not draw."""
    samples = dict(draws.samples)
    shape = samples["active"].shape
    for name, value in fixed.items():
        table = shape if name in ("usage", "rate") else shape[:2]
        samples[name] = np.full(table, value)
    on = samples["active"] == 1
    thinning = max(shape[0] * shape[1] // DRAWS, 1)
    each = pb.inference.pointwise_log_likelihood(held_out, samples, thinning=thinning).log_density
    each = each.reshape(-1, len(held_out))
    last = samples["dictionary"][0, -1][on[0, -1]]
    return Found(
        float(samples["noise_scale"].mean()), _mean(samples["usage"][on]), _mean(samples["rate"][on]),
        float(on.sum(axis=-1).mean()), last, logsumexp(each, axis=0) - np.log(len(each)),
    )  # fmt: skip


def by_saem(train, held_out, part):
    """Maximum marginal likelihood, and draws at it."""
    fit = pb.inference.fit_saem(
        train,
        part.n_atoms,
        n_burn_in=part.burn_in,
        n_iter=part.iterations,
        n_sweeps=1,
        num_chains=part.chains,
    )
    draws = pb.inference.sample_gibbs(
        train, part.n_atoms, init=fit, fixed=fit.hyperparameters, num_warmup=20, num_samples=part.sweeps // 3,
        num_chains=part.chains,
    )  # fmt: skip
    return _of_draws(draws, held_out, fit.hyperparameters)


def by_bayes(train, held_out, part):
    """Full Bayes: hyperpriors, and draws of everything."""
    draws = pb.inference.sample_gibbs(
        train, part.n_atoms, num_warmup=part.sweeps, num_samples=part.sweeps // 3, num_chains=part.chains
    )
    return _of_draws(draws, held_out, {})


def by_marginal_weights(train, held_out, part):
    """MAP with the weights of PADL's own slab that have most marginal likelihood."""
    fit = pb.inference.fit_saem(
        train, part.n_atoms, slab="l1linf", n_burn_in=part.slow_iterations, n_iter=part.slow_iterations, n_sweeps=1,
        num_chains=1,
    )  # fmt: skip
    return by_map(train, held_out, part.n_atoms, fit.alpha)


def _truth(data, held_out, noise):
    density = pb.inference.log_predictive(held_out, data.dictionary, USAGE, RATE, noise).log_density
    return Found(noise, USAGE, RATE, len(data.dictionary), data.dictionary, density)


def run(part, options, say):
    """All ways on one data set."""
    data = pb.datasets.synthetic_a(
        part.noise,
        n_samples=part.n_samples,
        n_features=part.n_features,
        n_atoms=part.n_true,
        usage=USAGE,
        seed=0,
    )
    train, held_out = np.split(data.X, [part.n_samples // 2])
    ways = {
        "true": lambda: _truth(data, held_out, part.noise),
        "MAP, null calibration": lambda: by_map(
            train, held_out, part.n_atoms, pb.calibrate_alpha(train, n_simulations=99)[:2]
        ),
        "MAP, weights by SAEM": lambda: by_marginal_weights(train, held_out, part),
        "EM": lambda: by_em(train, held_out, part.n_atoms),
        "SAEM": lambda: by_saem(train, held_out, part),
        "full Bayes": lambda: by_bayes(train, held_out, part),
    }  # fmt: skip
    rows = {}
    for name, way in ways.items():
        with stopwatch() as watch:
            found = way()
        recovered = pb.recovered(found.dictionary, data.dictionary, 0.95) if len(found.dictionary) else 0
        rows[name] = {
            "noise": float(found.noise), "usage": found.usage, "rate": found.rate, "active": float(found.active),
            "recovered": int(recovered), "density": float(np.mean(found.density)),
            "below": _below(rows, found), "seconds": watch.running, "each": np.round(found.density, 3).tolist(),
        }  # fmt: skip
        say(f"{name}: density {rows[name]['density']:.3f}, {found.active:.1f} atoms, {watch.running:.0f} s")
    for row in rows.values():
        del row["each"]
    return {
        "noise": part.noise,
        "samples": len(train),
        "atoms": part.n_true,
        "bound": part.n_atoms,
        "rows": rows,
    }


def _below(rows, found):
    """How far below the truth, and the standard error over samples."""
    if "true" not in rows:
        return [0.0, 0.0]
    gap = np.array(rows["true"]["each"]) - found.density
    return [float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap)))]


def section(name, result):
    """Markdown of one part."""
    lines = [
        f"## {name}", "",
        f"{result['samples']} training samples, {result['atoms']} true atoms, {result['bound']} allowed.", "",
        "| | noise | usage | rate | active | recovered | density | below the truth | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for way, row in result["rows"].items():
        usage, rate = ("" if row[key] is None else f"{row[key]:.3f}" for key in ("usage", "rate"))
        gap, error = row["below"]
        lines.append(
            f"| {way} | {row['noise']:.4f} | {usage} | {rate} | {row['active']:.1f} | {row['recovered']} "
            f"| {row['density']:.3f} | {gap:.3f} +- {error:.3f} | {row['seconds']:.0f} |"
        )
    return "\n".join([*lines, ""])


def draw(name, result):
    """How far below the truth, two standard errors either side."""
    fig = Figure(figsize=(6, 3), layout="constrained")
    ax = fig.subplots()
    rows = {way: row["below"] for way, row in result["rows"].items() if way != "true"}
    gaps, errors = np.array(list(rows.values())).T
    ax.barh(list(rows), gaps, xerr=2 * errors)
    ax.invert_yaxis()
    ax.set(xlabel="nats a held-out sample below the true law")
    return fig


PARTS = {"A 0.1": Part(0.1), "A 0.3": Part(0.3)}
QUICK = Part(0.2, 120, 10, 3, 6, burn_in=20, iterations=10, sweeps=30, slow_iterations=5)
PAGE = Page("hyperparameters", HEAD, PARTS, QUICK, run, section, draw)


def main(arguments=None):
    """Run the parts named."""
    return run_page(PAGE, arguments, __doc__)


if __name__ == "__main__":
    main()
