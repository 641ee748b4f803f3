"""Does the number of atoms mix, and the dictionary: Gibbs chains started with one atom and with as many as may be.

Run ``python -m benchmarks.mixing A B digits --minutes 6``: the sweeps of a part end early at so many minutes. Results
of parts that are not run again are kept. ``XLA_FLAGS=--xla_force_host_platform_device_count=4`` gives each of the four
chains a device of its own; what they draw depends on it only by rounding.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks._machine import memory
from benchmarks._posterior import Page, convergence, convergence_table, run_page
from padl_bayes import align, datasets, recovered
from padl_bayes.inference import fit_em
from padl_bayes.inference.gibbs import Gibbs, gibbs_nbytes
from padl_bayes.inference.gibbs.chains import Chains
from padl_bayes.models import hyperpriors_from

CHUNK = 50
ENTRIES = 50
ENTRIES_AN_ATOM = 8
# An atom of fewer uses than that explains a handful of samples at most.
IN_USE = 0.01
ALIGNMENT_PASSES = 10
# Of the run whose memory is estimated.
FULL = 4000
TRACES = ("num_active", "in_use", "noise_scale", "lp", "activation_rate")


class Case(NamedTuple):
    """Data, the bound on the atoms, and the length of the chains; ``thinning`` sweeps go to a draw."""

    load: Callable
    n_atoms: int
    warmup: int
    draws: int
    thinning: int = 1
    true_atoms: int | None = None
    usage_prior: tuple | None = None
    anneal: float = 0.5


def _a():
    return datasets.synthetic_a(0.1, n_samples=500, seed=0, dtype=np.float32)


def _b():
    return datasets.synthetic_b(20.0, seed=0, dtype=np.float32)


def _digits():
    """Digits with their rounding to grey levels undone: raw, 64 atoms explain them without any noise."""
    digits = datasets.digits()
    X = digits.X + np.random.default_rng(0).uniform(-0.5, 0.5, digits.X.shape)
    return digits._replace(X=X.astype(np.float32))


CASES = {
    "A": Case(_a, 60, 1000, 2000, 2, 20),
    "A, not annealed": Case(_a, 60, 2000, 2000, 2, 20, anneal=0),
    "A uniform usage": Case(_a, 60, 1000, 2000, 2, 20, (1.0, 1.0)),
    "B": Case(_b, 100, 1500, 1500, 2, 50),
    "digits": Case(_digits, 64, 1000, 1000, 1),
}
QUICK = Case(
    lambda: datasets.synthetic_a(0.1, n_samples=60, n_features=8, n_atoms=3, usage=0.3, seed=0, dtype=np.float32),
    8, 200, 400, 2, 3,
)  # fmt: skip


class Run(NamedTuple):
    """Draws of all chains: ``traces`` from the first sweep on, (chain, draw); the rest after warm-up."""

    traces: dict
    n_warmup: int
    dictionary: np.ndarray
    active: np.ndarray
    entries: np.ndarray
    expected: float
    seconds: float
    n_draws: int


def _trace(z, lp):
    in_use = (z["active"] * (z["usage"] >= IN_USE)).sum(-1)
    return {"num_active": z["active"].sum(-1), "in_use": in_use, "lp": lp} | {
        name: z[name] for name in ("noise_scale", "activation_rate")
    }


def _some_entries(z, at):
    """Reconstruction (chain, draw, len(at)) at some entries of the data."""
    rows, columns = at
    return np.einsum("cdek,cdke->cde", z["codes"][:, :, rows], z["dictionary"][..., columns])


def sample(X, case, minutes, say):
    """Draw from two chains with one atom to start with and two with all.

    Parameters
    ----------
    X : ndarray, shape (N, P)
    case : Case
    minutes : float
        Sampling stops after so many, warm-up included.
    say : callable

    Returns
    -------
    Run
    """
    rng = np.random.default_rng(0)
    at = rng.integers(len(X), size=ENTRIES), rng.integers(X.shape[1], size=ENTRIES)
    priors = hyperpriors_from(X)
    if case.usage_prior is not None:
        priors = priors._replace(usage=case.usage_prior)
    kernel = Gibbs(case.n_atoms, hyperpriors=priors, anneal=case.anneal)
    started = time.perf_counter()
    chains = Chains(kernel, X, None, 4, lambda *_: None, n_anneal=kernel.n_anneal(case.warmup))
    states = chains.start(1, None, np.array([1, 1, case.n_atoms, case.n_atoms]))
    parts, kept = [], []
    n_warmup = case.warmup // case.thinning
    done = 0
    while done < n_warmup + case.draws:
        if time.perf_counter() - started > 60 * minutes and len(kept) > 1:
            break
        warm = done < n_warmup
        count = min(CHUNK, (n_warmup if warm else n_warmup + case.draws) - done)
        states, (z, stats) = chains.collect(states, count, case.thinning)
        done += count
        parts.append(_trace(z, stats["lp"]))
        if not warm:
            names = ("dictionary", "active", "activation_prob")
            kept.append([*(z[name] for name in names), _some_entries(z, at)])
        say(f"  {done} draws, {time.perf_counter() - started:.0f} s, atoms {parts[-1]['num_active'][:, -1]}")
    seconds = time.perf_counter() - started
    traces = {name: np.concatenate([part[name] for part in parts], axis=1) for name in TRACES}
    dictionary, active, probability, entries = (
        np.concatenate(each, axis=1) for each in zip(*kept, strict=True)
    )
    expected = float(probability.sum(-1).mean())
    return Run(traces, n_warmup, dictionary, active, entries, expected, seconds, dictionary.shape[1])


def diagnose(run):
    """Convergence of invariants, and of the dictionary before and after alignment; which atoms are always there."""
    after = {name: values[:, run.n_warmup :] for name, values in run.traces.items()}
    labels = {
        "num_active": "active atoms",
        "in_use": f"atoms with usage of at least {IN_USE:.0%}",
        "noise_scale": "noise_scale",
        "lp": "lp",
        "activation_rate": "activation_rate",
    }
    rows = {text: convergence(after[name]) for name, text in labels.items()}
    rows[f"reconstruction, {ENTRIES} entries"] = convergence(run.entries)
    rows["dictionary, not aligned"] = convergence(run.dictionary)
    aligned = align(run.dictionary, active=run.active, max_iter=ALIGNMENT_PASSES)
    share = aligned.apply(run.active).mean(axis=1)
    steady = share.min(axis=0) >= 0.99
    atoms = aligned.dictionary[:, :, steady]
    rows["dictionary, aligned"] = convergence(atoms) if steady.any() else None
    per_atom = [convergence(atoms[:, :, k], ENTRIES_AN_ATOM)["rhat_max"] for k in range(atoms.shape[2])]
    return rows, {
        "steady": int(steady.sum()),
        "now_and_then": int(np.sum((share.max(axis=0) > 0) & ~steady)),
        "differs": int(np.sum((share.max(axis=0) >= 0.99) & (share.min(axis=0) <= 0.01))),
        "atom_rhat": per_atom,
        "alignment_converged": bool(aligned.converged),
    }


def counts_of(run):
    """Posterior of the number of active atoms by where chains started, and of those in use."""
    after = {name: run.traces[name][:, run.n_warmup :] for name in ("num_active", "in_use")}
    most = int(max(values.max() for values in after.values())) + 1

    def shares(values):
        return (np.bincount(values.ravel(), minlength=most) / values.size).tolist()

    return {
        "few": shares(after["num_active"][:2]),
        "many": shares(after["num_active"][2:]),
        "all": shares(after["num_active"]),
        "in_use": shares(after["in_use"]),
    }


def evidence(X, case):
    """What the evidence of variational EM says of the number of atoms."""
    fit = fit_em(X, case.n_atoms)
    odds = fit.activation_log_odds
    return {"active": len(fit.dictionary), "weakest": float(odds.min()), "seconds": fit.wall_time}


def run_case(case, options, say):
    """Result of one case, fit for JSON."""
    data = case.load()
    X = data.X
    minutes = options.minutes
    run = sample(X, case, minutes, say)
    # Of the whole process, before the diagnostics copy draws.
    peak = int(memory()[1] * 2**30)
    say("  diagnostics")
    rows, atoms = diagnose(run)
    found = None
    if case.true_atoms is not None:
        last = [d[a == 1] for d, a in zip(run.dictionary[:, -1], run.active[:, -1], strict=True)]
        found = [recovered(atoms_of, data.dictionary, 0.95) for atoms_of in last]
    say("  variational EM")
    sweeps = np.unique(np.geomspace(1, run.traces["num_active"].shape[1], 600).astype(int))
    return {
        "shape": list(X.shape),
        "n_atoms": case.n_atoms,
        "true_atoms": case.true_atoms,
        "usage_prior": case.usage_prior,
        "anneal": case.anneal,
        "warmup": run.n_warmup * case.thinning,
        "thinning": case.thinning,
        "draws": run.n_draws,
        "seconds": run.seconds,
        "peak_bytes": peak,
        "estimated_bytes": gibbs_nbytes(*X.shape, case.n_atoms, FULL, 4, dtype=X.dtype),
        "counts": counts_of(run),
        "expected": run.expected,
        "mean": float(run.traces["num_active"][:, run.n_warmup :].mean()),
        "convergence": rows,
        "atoms": atoms,
        "found": found,
        "evidence": evidence(X, case),
        "trace_at": (sweeps * case.thinning).tolist(),
        "trace": run.traces["num_active"][:, sweeps - 1].tolist(),
    }


def _likely(shares):
    """Numbers of more than 1%, as text."""
    return ", ".join(f"{k}: {share:.3f}" for k, share in enumerate(shares) if share > 0.01)


def section(name, r):
    """Markdown of one case."""
    counts, atoms = r["counts"], r["atoms"]
    settled = "settled" if atoms["alignment_converged"] else "labels still changing"
    unmixed = sum(rhat > 1.05 for rhat in atoms["atom_rhat"])
    prior = f", usage prior Beta{tuple(r['usage_prior'])}" if r["usage_prior"] else ""
    lines = [
        f"## {name}",
        "",
        f"{r['shape'][0]} samples of {r['shape'][1]} features, at most {r['n_atoms']} atoms{prior}, four chains of "
        f"{r['warmup']} sweeps of warm-up ({r['anneal']:.0%} annealed) and {r['draws']} draws, {r['thinning']} sweeps "
        f"apart; float32. {r['seconds']:.0f} s with compilation; peak memory of the process "
        f"{r['peak_bytes'] / 2**30:.2f} GiB "
        f"({FULL} draws of each chain: estimated {r['estimated_bytes'] / 2**30:.2f} GiB). {r['machine']}.",
        "",
        *convergence_table(r["convergence"]),
        "",
        f"- Posterior of the number of active atoms, all chains: {_likely(counts['all'])}.",
        f"  Started with 1 atom: {_likely(counts['few'])}. Started with {r['n_atoms']}: {_likely(counts['many'])}.",
        f"  Mean {r['mean']:.3f}; by the activation probabilities {r['expected']:.3f}.",
        f"- Of them with usage of at least {IN_USE:.0%}: {_likely(counts['in_use'])}.",
        f"- Evidence of variational EM: {r['evidence']['active']} active, the weakest with log odds "
        f"{r['evidence']['weakest']:.1f}.",
        f"- After alignment ({settled}) {atoms['steady']} atoms are active in at least 99% of the draws of every "
        f"chain; {atoms['now_and_then']} labels now and then; {atoms['differs']} always in some chain and "
        f"never in another. Of the former, R-hat is above 1.05 (largest of {ENTRIES_AN_ATOM} entries) for {unmixed}.",
    ]
    if r["true_atoms"] is not None:
        k = r["true_atoms"]
        share = (counts["all"] + [0] * k)[k]
        lines.append(f"- P(num_active = {k}), the truth: {share:.3f}; with usage of at least {IN_USE:.0%}: "
                     f"{(counts['in_use'] + [0] * k)[k]:.3f}. True atoms found by the last draw of each chain "
                     f"(cosine above 0.95): {', '.join(map(str, r['found']))}.")  # fmt: skip
    return "\n".join([*lines, ""])


def draw(name, r):
    """Number of active atoms from the first sweep on, and its posterior by start."""
    from padl_bayes.plots._style import BLUE, ORANGE, dress, legend

    figure = Figure(figsize=(8.5, 3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for i, line in enumerate(r["trace"]):
        label = {0: "from 1", 2: f"from {r['n_atoms']}"}.get(i)
        left.plot(r["trace_at"], line, color=BLUE if i < 2 else ORANGE, linewidth=0.8, label=label)
    left.axvline(r["warmup"], color="0.6", linewidth=0.8, linestyle=":")
    left.set_xscale("log")
    dress(left, xlabel="sweep (dotted: end of warm-up)", ylabel="active atoms", title=name)
    legend(left)
    for shift, group, colour in ((-0.2, "few", BLUE), (0.2, "many", ORANGE)):
        shares = np.array(r["counts"][group])
        at = np.flatnonzero(np.array(r["counts"]["all"]) > 0.002)
        right.bar(at + shift, shares[at], width=0.4, color=colour)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    dress(right, xlabel="active atoms", ylabel="posterior probability")
    return figure


HEAD = """# Mixing of the Gibbs sampler

Written by `python -m benchmarks.mixing`. Two chains start with one active atom and two with as many as are allowed, all
in random directions. Where half of the warm-up is annealed, active atoms are more probable there than the prior says,
less and less so, and all chains pass through many atoms. R-hat is rank-normalised and split, ESS the bulk effective
sample size, both by ArviZ; of the dictionary they are taken over the entries of the atoms that are active in at least
99% of the draws of every chain (not aligned: over all places). An atom that no or hardly any sample uses ("usage" below
1%) costs little under Jeffreys' prior of the usage and comes and goes.
"""


def main(arguments=None):
    """Run the cases named and return the results of all."""

    def add_options(parser):
        parser.add_argument(
            "--minutes", type=float, default=6.0, help="of sampling a case, at most; 6 by default"
        )

    page = Page("mixing", HEAD, CASES, QUICK, run_case, section, draw)
    return run_page(page, arguments, __doc__.splitlines()[0], add_options)


if __name__ == "__main__":
    main()
