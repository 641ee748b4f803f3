"""``padl demo``."""

import click

from padl_bayes.cli._common import (
    examples,
    finish_report,
    out_option,
    overwrite_option,
    refusals,
    saying_options,
    seed_option,
    shown,
)


@click.command(
    short_help="Fit, compare, sample and report, on real data.",
    epilog=examples("padl demo --out demo --quick"),
)
@out_option
@overwrite_option
@click.option("--quick", is_flag=True, help="A toy run that only shows that everything works.")
@seed_option
@saying_options
def demo(out, overwrite, quick, seed, quiet, as_json, debug):
    """Fit natural patches and digits, compare, sample a posterior, write a report."""
    with refusals(debug, as_json):
        from rich.console import Console

        from padl_bayes.demo import run_demo

        progress = shown(quiet, as_json)
        console = Console(stderr=True, quiet=not progress)
        page = run_demo(
            out, quick=quick, overwrite=overwrite, random_state=seed, console=console, progress=progress
        )
    finish_report(as_json, page, command="demo")
