"""Cost and memory against samples (1e3 to 1e6), active atoms, atoms and devices.

Run ``python -m benchmarks.scaling``; results of parts that are not run again are kept.
"""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks import _scaling
from benchmarks._machine import alone
from benchmarks._posterior import Page, run_page


class Part(NamedTuple):
    """What is run, what grows, its sizes; the samples and atoms where those do not grow; features of a side."""

    what: str
    by: str
    sizes: tuple
    n_samples: int = 20_000
    n_atoms: int = 256
    size: int = 8
    dtype: str = "float32"


DECADES = ((1000, 3000, 10_000), (10_000, 30_000, 100_000), (100_000, 300_000, 1_000_000))
ATOMS = (32, 64, 128, 256, 512, 1024)
WEIGHTS = (1.0, 0.9, 0.85, 0.75, 0.5, 0.3, 0.175, 0.1, 0.0175)
PARTS = {
    f"{what} of {sizes[0]:.0e} to {sizes[-1]:.0e} samples".replace("e+0", "e"): Part(what, "samples", sizes)
    for what, decades in (("sparse coding", DECADES), ("EM passes", DECADES), ("mini-batches", DECADES[1:]))
    for sizes in decades
} | {
    "sparse coding against active atoms": Part("sparse coding", "active", WEIGHTS, dtype="float64"),
    "sparse coding against atoms": Part("sparse coding", "atoms", ATOMS),
    "EM passes against atoms": Part("EM passes", "atoms", ATOMS),
    "mini-batches against devices": Part("mini-batches", "devices", (1, 2, 4, 8), n_samples=100_000),
}
QUICK = Part("mini-batches", "devices", (1, 2), 600, 8, 4)
AXES = {"active": "active atoms", "samples": "samples", "atoms": "atoms", "devices": "devices"}


def _run_of(part, size):
    """`_scaling.Run` of one row."""
    weight = size if part.by == "active" else _scaling.ALPHA2
    atoms = size if part.by == "atoms" else part.n_atoms
    samples = size if part.by == "samples" else part.n_samples
    return _scaling.Run(part.what, part.dtype, samples, atoms, weight, size if part.by == "devices" else 1)


def _spread(sums):
    """Largest difference between the sums and the first, relative to the largest entry of each array."""
    first = sums[0]
    return [
        max(float(np.abs(a - b).max() / (np.abs(b).max() or 1)) for a, b in zip(other, first, strict=True))
        for other in sums
    ]


def run_part(part, options, say):
    """Result of one part, fit for JSON; each row is measured in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        runs = [_run_of(part, size) for size in part.sizes]
        _scaling.prepare(Path(folder), runs, part.size)
        for run in runs:
            # In front: XLA reads no further than the first word that is not a flag.
            forced = f"--xla_force_host_platform_device_count={run.n_devices}"
            flags = {"XLA_FLAGS": f"{forced} {os.environ.get('XLA_FLAGS', '')}"}
            environment = flags if part.by == "devices" else None
            rows.append(alone(_scaling.measure, Path(folder), run, environment=environment))
            say(f"  {run.n_samples} samples, {run.n_atoms} atoms: {np.median(rows[-1]['seconds']):.3f} s")
    sums = [row.pop("sums") for row in rows]
    if part.by == "devices":
        for row, difference in zip(rows, _spread(sums), strict=True):
            row["difference"] = difference
    return {"part": part._asdict(), "rows": rows}


def points_of(r):
    """Sizes and median seconds of a part."""
    sizes = [row[r["part"]["by"]] for row in r["rows"]]
    return np.array(sizes), np.array([np.median(row["seconds"]) for row in r["rows"]])


def section(name, r):
    """Markdown of one part."""
    part = r["part"]
    by = part["by"]
    sizes, seconds = points_of(r)
    told = f"Slope of log seconds against log {AXES[by]}: {np.polyfit(np.log(sizes), np.log(seconds), 1)[0]:.2f}. "
    if by == "devices":
        far = max(row["difference"] for row in r["rows"])
        told = f"Sums over samples differ by at most {far:.1e} of their largest entries. "
    lines = [
        f"## {name}",
        "",
        f"{part['size'] ** 2} features, {part['dtype']}. {told}{r['machine']}.",
        "",
        "| samples | atoms | active | devices | sweeps | s, median | fastest | slowest | compilation, s "
        "| us a sample and sweep | peak memory, GiB |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row, middle in zip(r["rows"], seconds, strict=True):
        each = 1e6 * middle / row["samples"] / max(row["sweeps"], 1)
        lines.append(
            f"| {row['samples']} | {row['atoms']} | {row['active']} | {row['devices']} | {row['sweeps']} "
            f"| {middle:.3f} | {min(row['seconds']):.3f} | {max(row['seconds']):.3f} | {row['compilation']:.1f} "
            f"| {each:.2f} | {row['memory']:.2f} |"
        )
    return "\n".join([*lines, ""])


def draw(name, r):
    """Seconds against size, both logarithmic."""
    sizes, seconds = points_of(r)
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    ax = figure.subplots()
    ax.loglog(sizes, seconds, "o-", label="measured")
    if r["part"]["by"] != "devices":
        ax.loglog(sizes, seconds[-1] * sizes / sizes[-1], "--", color="0.6", label="in proportion")
    ax.set(xlabel=AXES[r["part"]["by"]], ylabel="seconds", title=name)
    ax.legend(frameon=False)
    return figure


HEAD = f"""# Cost against size

Written by `python -m benchmarks.scaling`. Natural 8 x 8 patches from a memory-mapped file, of photographs or, for a
million, of photographs and textures. Sparse coding: to a certified relative gap of 1e-6 at `alpha2` of
{_scaling.ALPHA2} times the samples, and against active atoms at 1 to 0.0175 times the samples. EM passes:
{_scaling.PASSES} over all samples, with their M-steps, on data made of random atoms. Mini-batches: one epoch of
`fit_em_minibatch` at fixed atoms, batches of {_scaling.BATCH} read from the file, and an M-step; sweeps are those of
each batch. Against devices, the samples of a batch are divided over so many devices forced onto one processor's cores:
with two cores, both of which one device uses already, nothing is gained by more; that the sums agree is the point.
{_scaling.REPEATS} repeats after one that compiles. Peak memory: of the process above that of the imports, data and
compilation included.
"""


def main(arguments=None):
    """Run the parts named and return the results of all."""
    page = Page("scaling", HEAD, PARTS, QUICK, run_part, section, draw)
    return run_page(page, arguments, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
