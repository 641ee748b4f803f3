"""Recovery of known dictionaries by the default fit: `python -m benchmarks.synthetic [CASE ...] [--seeds N]`.

Each case states what is expected; the page `benchmarks/results/synthetic.md` says what was found.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import padl_bayes as pb
from benchmarks._index import write_index

RESULTS = Path(__file__).parent / "results" / "synthetic.md"


class Case(NamedTuple):
    """A data set, the bound on the atoms given to the fit, and what the fit must find."""

    draw: Callable
    n_atoms: int
    threshold: float
    found: int
    active: tuple[int, int]
    error: float = np.inf
    noise_within: float = np.inf
    nonnegative: bool = False
    seeds: int = 5


def _a(noise, amplitude, n_atoms=80, usage=0.15, **more):
    def draw(seed):
        return pb.datasets.synthetic_a(noise, amplitude, usage=usage, seed=seed)

    return Case(draw, n_atoms, 0.95, 19, (19, 21), **more)


def _b(snr_db, n_atoms, found, active):
    def draw(seed):
        return pb.datasets.synthetic_b(snr_db, seed=seed)

    return Case(draw, n_atoms, 0.99, found, active)


def _bars(n_atoms, seeds):
    def draw(seed):
        return pb.datasets.bars(seed=seed)

    return Case(draw, n_atoms, 0.95, 10, (10, 10), nonnegative=True, seeds=seeds)


def _noise(seed):
    return pb.datasets.pure_noise(2000, 32, seed=seed)


CASES = {
    f"A {amplitude} {noise}": _a(noise, amplitude, error=error, noise_within=0.03)
    for amplitude in ("laplace", "gaussian")
    for noise, error in ((0.1, 0.045), (0.3, 0.14))
}
CASES |= {
    f"A 200 atoms {noise}": _a(noise, "laplace", n_atoms=200, noise_within=0.03) for noise in (0.1, 0.3)
}
CASES |= {
    f"A usage {usage} {noise}": _a(noise, "laplace", usage=usage, noise_within=0.03)
    for usage in (0.05, 0.4)
    for noise in (0.1, 0.3)
}
CASES["pure noise"] = Case(_noise, 80, 0.95, 0, (0, 1))
CASES |= {f"B {snr} dB, 100 atoms": _b(snr, 100, 48, (48, 55)) for snr in (10, 20, 30)}
CASES |= {f"B {snr} dB, 50 atoms": _b(snr, 50, 47, (47, 50)) for snr in (10, 20, 30)}
CASES |= {"bars, 40 atoms": _bars(40, 20), "bars, 10 atoms": _bars(10, 20)}


class Row(NamedTuple):
    """What one fit found."""

    active: int
    found: int
    error: float
    noise_ratio: float
    seconds: float
    met: bool


def run(case, seed):
    """Fit one draw of a case."""
    data = case.draw(seed)
    start = time.perf_counter()
    fit = pb.inference.fit_em(data.X, case.n_atoms, nonnegative=case.nonnegative)
    seconds = time.perf_counter() - start
    active = len(fit.dictionary)
    found = 0
    if active and len(data.dictionary):
        found = pb.recovered(fit.dictionary, data.dictionary, case.threshold)
    error = float(np.sqrt(np.mean((fit.codes @ fit.dictionary - data.clean) ** 2)))
    ratio = fit.noise_scale / data.noise_scale
    low, high = case.active
    met = found >= case.found and low <= active <= high and error <= case.error
    return Row(active, found, error, ratio, seconds, bool(met and abs(ratio - 1) <= case.noise_within))


def summarise(name, case, rows):
    """One line of the table: smallest, median and largest of each figure."""

    def spread(values, form):
        return " / ".join(format(f(values), form) for f in (min, np.median, max))

    columns = list(zip(*rows, strict=True))
    forms = (".0f", ".0f", ".4f", ".3f", ".1f")
    cells = [spread(values, form) for values, form in zip(columns, forms, strict=False)]
    met = f"{sum(row.met for row in rows)} of {len(rows)}"
    wanted = f"{case.found}; {case.active[0]} to {case.active[1]}"
    return f"| {name} | {wanted} | {cells[1]} | {cells[0]} | {cells[2]} | {cells[3]} | {cells[4]} | {met} |"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="names of cases, or the beginnings of names; all by default")
    parser.add_argument("--seeds", type=int, help="seeds a case, instead of its own number")
    parser.add_argument("--quick", action="store_true", help="one seed of the smallest case")
    arguments = parser.parse_args(arguments)
    if arguments.quick:
        arguments.cases, arguments.seeds = ["bars, 10 atoms"], 1
    chosen = {
        name: case
        for name, case in CASES.items()
        if not arguments.cases or any(name.startswith(start) for start in arguments.cases)
    }
    lines = [
        "Smallest / median / largest over seeds. Wanted: atoms found and atoms active. Error: RMSE against the",
        "noiseless data. Noise: estimated over true scale. Seconds include compilation.",
        "",
        "| case | wanted | found | active | error | noise | seconds | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in chosen.items():
        rows = [run(case, seed) for seed in range(arguments.seeds or case.seeds)]
        lines.append(summarise(name, case, rows))
        print(lines[-1], flush=True)
    if len(chosen) == len(CASES) and not arguments.seeds:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("# Recovery of known dictionaries\n\n" + "\n".join(lines) + "\n")
        write_index(RESULTS.parent)


if __name__ == "__main__":
    main()
