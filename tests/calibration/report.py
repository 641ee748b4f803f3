"""Results of simulation-based calibration on disk: counts of ranks, a table of p-values and the figure."""

import json
import os

import numpy as np
from matplotlib.figure import Figure

from .uniformity import band, chi_square, family_p_value, p_value

BINS = 16
HEADING = "# Calibration: p-values\n\n"
RESULTS, TABLE, FIGURE = "sbc.json", "table.md", "ecdf.png"
_NAVY, _INSIDE, _ALL_INSIDE = "#1b2a49", "#9fb8d8", "#d6e1ef"


def new_record(settings):
    """Record of no simulations yet of one variant."""
    return {"settings": settings, "simulations": 0, "quantities": {}}


def add(record, ranks, length):
    """Record with the `Ranks` of more simulations; ranks are in 0..length - 1."""
    quantities = {}
    for name, values in ranks.ranks.items():
        old = record["quantities"].get(name, {"counts": [0] * length, "effective": 0.0, "moving": 0})
        ess = ranks.ess[name]
        moving = int(np.isfinite(ess).sum())
        share = float(np.nansum(ess)) / (length - 1)
        total = old["moving"] + moving
        quantities[name] = {
            "counts": (np.array(old["counts"]) + np.bincount(values, minlength=length)).tolist(),
            # Mean effective share of the draws where they are not all equal.
            "effective": round((old["effective"] * old["moving"] + share) / max(total, 1), 4),
            "moving": total,
        }
    simulations = record["simulations"] + len(ranks.ranks["noise scale"])
    return record | {"simulations": simulations, "quantities": quantities}


def read(folder):
    """Records by variant; none if there is no file."""
    path = folder / RESULTS
    return json.loads(path.read_text()) if path.exists() else {}


def _replace(path, write):
    """Write a file so that it is there whole or not at all."""
    partial = path.with_name("." + path.name)
    write(partial)
    os.replace(partial, path)


def write(folder, records):
    """Write counts, table and figure."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(name)}: {json.dumps(record)}" for name, record in sorted(records.items())]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    _replace(folder / RESULTS, lambda path: path.write_text(text))
    _replace(folder / TABLE, lambda path: path.write_text(HEADING + table(records)))
    _replace(folder / FIGURE, lambda path: figure(records).savefig(path, dpi=110, format="png"))


def counts_of(record):
    """Counts of ranks by quantity."""
    return {name: np.array(found["counts"]) for name, found in record["quantities"].items()}


def table(records):
    """Markdown: p-values by quantity and variant, of the simultaneous test and, in brackets, of chi-square."""
    variants = sorted(records)
    names = list(dict.fromkeys(name for variant in variants for name in records[variant]["quantities"]))
    rows = [["", *variants], ["---"] * (len(variants) + 1)]
    for name in names:
        cells = [_cell(records[variant]["quantities"].get(name)) for variant in variants]
        rows.append([name, *cells])
    smallest = [family_p_value(counts_of(records[variant]).values()) for variant in variants]
    rows.append(["smallest, times their number", *(f"{p:.3g}" for p in smallest)])
    rows.append(["simulations", *(str(records[variant]["simulations"]) for variant in variants)])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _cell(found):
    if found is None:
        return ""
    p, pearson = p_value(found["counts"]), chi_square(found["counts"], BINS)
    return f"{p:.2g} ({pearson:.2g}), ESS {100 * found['effective']:.0f}%"


def figure(records):
    """Empirical distribution of the ranks minus the uniform one; a row a variant, a panel a quantity.

    Darker: where uniform ranks stay with probability 95%; lighter: where those of all panels together do.
    """
    variants = sorted(records)
    width = max(len(records[variant]["quantities"]) for variant in variants)
    panels = sum(len(records[variant]["quantities"]) for variant in variants)
    drawn = Figure(figsize=(1.9 * width, 1.9 * len(variants)), layout="constrained")
    axes = drawn.subplots(len(variants), width, squeeze=False, sharex=True, sharey="row")
    for row, variant in zip(axes, variants, strict=True):
        for ax in row[len(records[variant]["quantities"]) :]:
            ax.set_axis_off()
        for ax, (name, counts) in zip(row, counts_of(records[variant]).items(), strict=False):
            _panel(ax, counts, panels)
            ax.set_title(name, fontsize=8)
        row[0].set_ylabel(variant.replace(", ", "\n"), fontsize=8)
    drawn.supxlabel("rank of the truth among the draws, as a share", fontsize=8)
    drawn.supylabel("ECDF minus uniform", fontsize=8)
    return drawn


def _panel(ax, counts, panels):
    n, length = counts.sum(), len(counts)
    share = np.arange(1, length) / length
    for outside, colour in ((0.05 / panels, _ALL_INSIDE), (0.05, _INSIDE)):
        ax.fill_between(share, *band(int(n), length, outside), color=colour, step="mid", linewidth=0)
    ax.step(share, np.cumsum(counts)[:-1] / n - share, where="mid", color=_NAVY, linewidth=1)
    ax.tick_params(labelsize=6)
    ax.set_xticks([0, 0.5, 1])
