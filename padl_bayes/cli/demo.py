"""``padl demo``."""

import click
from rich.console import Console

from padl_bayes.cli._common import (
    examples,
    finish_report,
    out_option,
    overwrite_option,
    refusals,
    saying_options,
    seed_option,
)


@click.command(epilog=examples("padl demo --out demo --quick"))
@out_option
@overwrite_option
@click.option("--quick", is_flag=True, help="A toy run that only shows that everything works.")
@seed_option
@saying_options
def demo(out, overwrite, quick, seed, quiet, as_json, debug):
    """Fit natural patches and digits, compare, sample a posterior, write a report."""
    with refusals(debug, as_json):
        from padl_bayes.demo import run_demo

        console = Console(stderr=True, quiet=quiet)
        page = run_demo(
            out, quick=quick, overwrite=overwrite, random_state=seed, console=console, progress=not quiet
        )
    finish_report(as_json, page, command="demo")
