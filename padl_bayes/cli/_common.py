"""What the commands share: options, types of options, refusals, the last line."""

import contextlib
import json
import re
import warnings
from pathlib import Path

import click

from padl_bayes import __version__
from padl_bayes.exceptions import PadlWarning


class Refusal(click.ClickException):
    """What cannot be done, in one line; exit code 2."""

    exit_code = 2


class Interrupted(click.ClickException):
    """What an interrupt left, in one line; exit code 130."""

    exit_code = 130

    def show(self, file=None):
        """Say it on standard error."""
        click.echo(f"Interrupted: {self.message}", err=True)


@contextlib.contextmanager
def refusals(debug, as_json=False, *, left=lambda: "nothing was written"):
    """Turn interrupts, and errors of bad input, files and missing packages (unless debugging), into one line.

    ``left()`` says what an interrupt left.
    """
    try:
        with _warnings_in_lines():
            yield
    except KeyboardInterrupt as error:
        interrupted = Interrupted(left())
        if as_json:
            click.echo(json.dumps({"error": f"interrupted: {interrupted.message}"}))
        raise interrupted from error
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        if debug:
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        if as_json:
            click.echo(json.dumps({"error": message}))
        raise Refusal(message) from error


@contextlib.contextmanager
def _warnings_in_lines():
    """Show the package's own warnings as a line on standard error each."""

    def show(message, category, *where):
        if issubclass(category, PadlWarning):
            click.echo(f"Warning: {message}", err=True)
        else:
            usual(message, category, *where)

    with warnings.catch_warnings():
        warnings.simplefilter("always", PadlWarning)
        usual, warnings.showwarning = warnings.showwarning, show
        yield


def finish(as_json, path, **more):
    """The last line on standard output: the file that was written, or all there is to say as JSON."""
    click.echo(json.dumps(more | {"version": __version__}) if as_json else path)


def finish_report(as_json, page, **more):
    """`finish` with a report and its folder."""
    finish(as_json, page, report=str(page), folder=str(page.parent), **more)


def examples(*lines):
    """Epilog of a command."""
    return "\b\n" + "\n".join(
        ["Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)]
    )


def shown(quiet, as_json):
    """Whether progress is shown: to people, who did not ask for silence."""
    return not (quiet or as_json)


class Shape(click.ParamType):
    """HEIGHTxWIDTH."""

    name = "HxW"

    def convert(self, value, param, ctx):
        """Return a pair of int."""
        found = re.fullmatch(r"(\d+)x(\d+)", value) if isinstance(value, str) else None
        return (int(found[1]), int(found[2])) if found else self.fail(f"{value!r} is not like 8x8")


def path_argument(name):
    """A file or folder to read."""
    return click.argument(name, type=click.Path(path_type=Path))


def combined(*options):
    """A decorator of several options, in the order of the help."""

    def decorate(command):
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


out_option = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a folder that holds a report.")
key_option = click.option("--key", help="Array of an .npz file.")
image_shape_option = click.option(
    "--image-shape", type=Shape(), default=None, help="Draw atoms as images, for example 8x8."
)
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
quiet_option = click.option("--quiet", is_flag=True, help="No progress.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="End with one JSON object on standard output; no progress."
)
debug_option = click.option("--debug", is_flag=True, help="Show tracebacks.")
reading_options = combined(
    key_option,
    click.option("--patch-shape", type=Shape(), help="Of a folder of images; 8x8 by default."),
    click.option(
        "--n-patches", type=click.IntRange(2), help="Of a folder of images; 20,000 or all by default."
    ),
)
saying_options = combined(quiet_option, json_option, debug_option)
