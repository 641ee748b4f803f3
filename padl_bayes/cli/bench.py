"""``padl bench``."""

import json
import subprocess
import sys
from pathlib import Path

import click

from padl_bayes.cli._common import examples, finish, refusals, saying_options

STANDARD_ERROR = 2
ROOT = Path(__file__).resolve().parents[2]


def _checkout(root):
    """The folder of a checkout."""
    if not all((root / name).is_file() for name in ("pyproject.toml", "benchmarks/__main__.py")):
        raise FileNotFoundError(
            f"the benchmarks come with the source, not with the installed package: there are none in {str(root)!r}; "
            "clone the repository and pip install -e '.[bench]'"
        )
    return root


@click.command(
    short_help="Run benchmarks, in a checkout.", epilog=examples("padl bench --quick", "padl bench synthetic")
)
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="Toy runs, which write nothing.")
@saying_options
@click.pass_context
def bench(ctx, names, quick, quiet, as_json, debug):
    """Run all benchmarks or those of these NAMES, in a checkout of the source; python -m benchmarks --help lists
    them."""
    with refusals(debug, as_json):
        root = _checkout(ROOT)
        command = [sys.executable, "-m", "benchmarks", *names, *["--quick"] * quick]
        output = subprocess.DEVNULL if quiet else STANDARD_ERROR if as_json else None
        code = subprocess.run(command, cwd=root, stdout=output).returncode
    if code:
        if as_json:
            click.echo(json.dumps({"error": f"python -m benchmarks ended with {code}"}))
        ctx.exit(code)
    results = root / "benchmarks" / "results"
    finish(as_json, results, command="bench", folder=str(results))
