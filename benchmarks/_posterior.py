"""What benchmarks of posteriors share: convergence of draws, compile time, pages of results whose parts are kept."""

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks._index import write_index
from benchmarks._machine import describe
from padl_bayes._arviz import load_arviz

RESULTS = Path(__file__).parent / "results"
TOY = "toy"
MOST_ENTRIES = 640
# Lowering and compiling; tracing is nested in its reports and stays in the time of the run.
_COMPILATION = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


def convergence(draws, most=MOST_ENTRIES):
    """R-hat (rank-normalised, split) and bulk effective sample size of scalars, by ArviZ.

    Parameters
    ----------
    draws : array_like, shape (chain, draw, ...)
    most : int
        Only so many of the entries, evenly spaced, are looked at; constant ones are left out.

    Returns
    -------
    dict
        ``rhat_max``, ``rhat_median``, ``ess_min``, ``ess_median``, ``entries``, and ``mixed``, the share of the
        entries with an R-hat of at most 1.05.

    Notes
    -----
    Vehtari, Gelman, Simpson, Carpenter, Buerkner, Bayesian Analysis 16(2), 2021.
    """
    az = load_arviz()
    draws = np.asarray(draws, np.float64)
    flat = draws.reshape(*draws.shape[:2], -1)
    flat = flat[..., :: -(-flat.shape[-1] // most) or 1]
    columns = np.moveaxis(flat[..., np.ptp(flat, axis=(0, 1)) > 0], 2, 0)
    if not len(columns):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = np.array([float(az.rhat(column)) for column in columns])
        ess = np.array([float(az.ess(column)) for column in columns])
    return {
        "rhat_max": float(rhat.max()),
        "rhat_median": float(np.median(rhat)),
        "ess_min": float(ess.min()),
        "ess_median": float(np.median(ess)),
        "entries": len(columns),
        "mixed": float(np.mean(rhat <= 1.05)),
    }


def convergence_table(rows):
    """Markdown of `convergence` by name of what it is of."""
    lines = [
        "| quantity | entries | R-hat, median | largest | R-hat <= 1.05 | ESS, median | smallest |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in rows.items():
        if row is None:
            lines.append(f"| {name} | constant | | | | | |")
            continue
        lines.append(
            f"| {name} | {row['entries']} | {row['rhat_median']:.3f} | {row['rhat_max']:.3f} | {row['mixed']:.0%} "
            f"| {row['ess_median']:.0f} | {row['ess_min']:.0f} |"
        )
    return lines


class Watch:
    """Seconds of a block, in all and without compilation."""

    total = compilation = 0.0

    @property
    def running(self):
        """Seconds without lowering and compiling."""
        return self.total - self.compilation


_open_watches: list = []


def _heard(event, seconds, **_):
    if event in _COMPILATION:
        for watch in _open_watches:
            watch.compilation += seconds


@contextmanager
def stopwatch():
    """Measure a block: yields a `Watch` that is complete when the block ends."""
    if not getattr(_heard, "registered", False):
        jax.monitoring.register_event_duration_secs_listener(_heard)
        _heard.registered = True
    watch = Watch()
    _open_watches.append(watch)
    started = time.perf_counter()
    try:
        yield watch
    finally:
        watch.total = time.perf_counter() - started
        _open_watches.remove(watch)


class Page(NamedTuple):
    """A page of results, one section a part.

    Attributes
    ----------
    name : str
        Of the files in ``benchmarks/results``.
    head : str
        Markdown above the sections.
    parts : dict of str to object
        What can be run; `quick` is the toy.
    quick : object
    run : callable
        ``(part, options, say) -> result``, a dictionary fit for JSON.
    section : callable
        ``(name, result) -> str``, Markdown.
    draw : callable or None
        ``(name, result) -> matplotlib figure``.
    """

    name: str
    head: str
    parts: dict
    quick: object
    run: Callable
    section: Callable
    draw: Callable | None = None


def _write(page, results, folder):
    folder.mkdir(exist_ok=True)
    (folder / f"{page.name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sections = [page.section(name, results[name]) for name in (*page.parts, TOY) if name in results]
    (folder / f"{page.name}.md").write_text("\n".join([page.head, *sections]), encoding="utf-8")


def _figure(page, name, result, folder):
    if page.draw is not None:
        page.draw(name, result).savefig(folder / f"{page.name}_{name.replace(' ', '_')}.png", dpi=110)


def run_page(page, arguments, description, add_options=None):
    """Run the parts named, write the page and the index after each, and return all results.

    Results of parts that are not run again are kept.

    Parameters
    ----------
    page : Page
    arguments : list of str or None
    description : str
    add_options : callable, optional
        Given the parser.

    Returns
    -------
    dict
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(page.parts)}; all by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a toy run that writes nothing unless told where"
    )
    parser.add_argument("--out", type=Path, help="folder of the results; benchmarks/results by default")
    if add_options:
        add_options(parser)
    options = parser.parse_args(arguments)

    def say(text):
        print(text, flush=True)

    unknown = set(options.names) - set(page.parts)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(page.parts)}")
    folder = options.out or (None if options.quick else RESULTS)
    kept = (folder or RESULTS) / f"{page.name}.json"
    found = json.loads(kept.read_text(encoding="utf-8")) if folder and kept.is_file() else {}
    results = {name: result for name, result in found.items() if name in (*page.parts, TOY)}
    if not options.quick:
        # What a cache spares is not told from what compiling takes; processes started inherit the variable.
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        jax.config.update("jax_enable_compilation_cache", False)
    parts = (
        {TOY: page.quick}
        if options.quick
        else {name: page.parts[name] for name in options.names or page.parts}
    )
    for name, part in parts.items():
        say(f"{page.name}: {name}")
        results[name] = {"machine": describe()} | page.run(part, options, say)
        json.dumps(results)
        if folder:
            _write(page, results, folder)
            _figure(page, name, results[name], folder)
            write_index(folder)
        say(page.section(name, results[name]))
    return results
