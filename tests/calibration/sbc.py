"""Simulation-based calibration of the Gibbs sampler, to be run as one command.

``python -m tests.calibration.sbc --simulations 1000 --slab bernoulli_laplace --processes 8 --out docs/calibration``
writes after every chunk of simulations what it has; variants that are not run again are kept.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from padl_bayes.models.padl import SLABS

from . import report
from .simulation import Case, Size, simulate_ranks


def chunks(first, last, length):
    """Pairs of a first simulation and a count."""
    return [(start, min(length, last - start)) for start in range(first, last, length)]


def _simulate(case, size, random_state, chunk):
    return simulate_ranks(case, size, random_state, *chunk)


@contextmanager
def _mapper(processes):
    """A map over chunks, in order, in processes of their own if there are to be several."""
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield pool.map


def calibrate(case, size, *, simulations, chunk, random_state=0, mapper=map, record=None):
    """Yield the record after each chunk of simulations.

    Parameters
    ----------
    case : Case
    size : Size
    simulations : int
        In all, with those of ``record``.
    chunk : int
        Simulations side by side.
    random_state : int
    mapper : callable
    record : dict, optional
        To go on from.

    Yields
    ------
    dict
    """
    settings = {**size._asdict(), "random_state": random_state}
    if record is None or record["settings"] != settings:
        record = report.new_record(settings)
    left = chunks(record["simulations"], simulations, chunk)
    for ranks in mapper(partial(_simulate, case, size, random_state), left):
        record = report.add(record, ranks, size.draws + 1)
        yield record


def _options(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.calibration.sbc", description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--slab", nargs="+", choices=SLABS, default=list(SLABS))
    parser.add_argument(
        "--sign", nargs="+", choices=["two-sided", "nonnegative"], default=["two-sided", "nonnegative"]
    )
    parser.add_argument("--chunk", type=int, default=25, help="simulations side by side")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--random-state", type=int, default=0)
    parser.add_argument(
        "--resume", action="store_true", help="go on from what is there, if it has these settings"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/calibration"))
    for name, value in Size()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    return parser.parse_args(arguments)


def main(arguments=None):
    """Run what the command line asks for."""
    options = _options(arguments)
    size = Size(*(getattr(options, name) for name in Size._fields))
    records = report.read(options.out)
    with _mapper(options.processes) as mapper:
        for slab in options.slab:
            for sign in options.sign:
                case, started = Case(slab, sign == "nonnegative"), time.perf_counter()
                record = records.get(str(case)) if options.resume else None
                for found in calibrate(
                    case,
                    size,
                    simulations=options.simulations,
                    chunk=options.chunk,
                    random_state=options.random_state,
                    mapper=mapper,
                    record=record,
                ):
                    records[str(case)] = found
                    report.write(options.out, records)
                    seconds = time.perf_counter() - started
                    print(f"{case}: {found['simulations']} simulations, {seconds:.0f} s", flush=True)
    print(report.table(records))


if __name__ == "__main__":
    main()
