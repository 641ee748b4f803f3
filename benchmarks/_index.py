"""The one page of all benchmarks: what is asked for and what was found, every page, every figure.

It is made of the results that lie in a folder and of nothing else: the same results make the same page.
"""

import json
import re

import numpy as np
from matplotlib.figure import Figure

from benchmarks._asked import LINES

NAME = "README.md"
OVERVIEW = "overview_samples.png"
HEAD = """# Benchmarks

Written by `python -m benchmarks` (`make bench`), which runs everything, by each benchmark that is run by itself, and by
`python -m benchmarks --page` from the results at hand. Figures are how many times the rival's cost is ours, unless the
first column says otherwise: medians, in brackets the least and the most that the repeats allow, or for cosines of
embeddings an interval of 95%. Nothing is asked for where nothing stands under "asked"; machines are below the table.
"""


def read_results(folder):
    """Results of all pages in a folder, by the name of the page."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def _machine(result):
    """Machine, versions and day of a part, without the load."""
    return re.sub(r" \(load [\d.]+\)", "", result["machine"])


def _number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _told(found):
    if found.least is None:
        return _number(found.value)
    return f"{_number(found.value)} ({_number(found.least)} to {_number(found.most)})"


def _line(line, results, machines):
    page = results.get(line.page, {})
    parts = [page[name] for name in line.parts if name in page]
    found = line.figure(*parts) if len(parts) == len(line.parts) else None
    asked = "" if line.asked is None else f"{line.asked[0]} {line.asked[1]:g}"
    link = f"[{line.page}]({line.page}.md)" if page else line.page
    cells = [line.what, line.against, asked, "not measured", "", link, ""]
    if found is not None:
        cells[3] = _told(found)
        cells[4] = "" if line.asked is None else ("yes" if line.met(found.value) else "no")
        where = dict.fromkeys(machines.setdefault(_machine(part), len(machines) + 1) for part in parts)
        cells[6] = ", ".join(f"{number}" for number in where)
    return f"| {' | '.join(cells)} |"


def headline(results):
    """Markdown lines: a table of all `LINES`, and the machines they were measured on."""
    machines: dict = {}
    rows = [_line(line, results, machines) for line in LINES]
    return [
        "| | against | asked | found | met | page | machine |",
        "|---|---|---|--:|---|---|--:|",
        *rows,
        "",
        *[f"{number}. {text}" for text, number in machines.items()],
    ]


def _pages(folder, results):
    lines = ["| page | parts |", "|---|---|"]
    for path in sorted(folder.glob("*.md")):
        if path.name == NAME:
            continue
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        parts = results.get(path.stem, {})
        days = [re.search(r"[\d-]*$", part["machine"])[0] for part in parts.values() if "machine" in part]
        told = ", ".join(f"{name} ({day})" for name, day in zip(parts, days, strict=False))
        lines.append(f"| [{title}]({path.name}) | {told} |")
    if (folder.parent / "gpu.md").is_file():
        lines.append("| [GPU](../gpu.md) | |")
    return lines


def draw_samples(parts):
    """Seconds and peak memory against samples, all decades of each kind of work in one line."""
    lines: dict = {}
    for r in parts:
        if r["part"]["by"] == "samples":
            rows = lines.setdefault(r["part"]["what"], {})
            rows |= {row["samples"]: (np.median(row["seconds"]), row["memory"]) for row in r["rows"]}
    figure = Figure(figsize=(8.5, 3.5), layout="constrained")
    for column, (ax, label) in enumerate(
        zip(figure.subplots(1, 2), ("seconds", "peak memory, GiB"), strict=True)
    ):
        for what, rows in lines.items():
            sizes = sorted(rows)
            ax.loglog(sizes, [rows[size][column] for size in sizes], "o-", markersize=3, label=what)
        ax.set(xlabel="samples", ylabel=label)
        ax.legend(frameon=False, fontsize="small")
    return figure


def write_index(folder):
    """Write the page, with the figure over all decades of samples, and return its path."""
    results = read_results(folder)
    decades = [r for r in results.get("scaling", {}).values() if r["part"]["by"] == "samples"]
    if decades:
        draw_samples(decades).savefig(folder / OVERVIEW, dpi=110)
    figures = [f"![{path.stem.replace('_', ' ')}]({path.name})" for path in sorted(folder.glob("*.png"))]
    lines = [HEAD, *headline(results), "", "## Pages", "", *_pages(folder, results), "", "## Figures", ""]
    path = folder / NAME
    path.write_text("\n".join([*lines, *figures, ""]), encoding="utf-8")
    return path
