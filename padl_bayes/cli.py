"""The command ``padl``."""

import contextlib
import json
import re
import warnings
from pathlib import Path

import click
from rich.console import Console

from . import __version__
from ._validation import check_training_data
from .exceptions import PadlWarning
from .reading import N_PATCHES, PATCH_SHAPE, read_matrix, read_patches

EPILOG = """\b
Exit codes: 0 done; 1 interrupted, or an error of the program;
2 what cannot be done, said in one line on standard error.

\b
With --json the last line on standard output is one JSON object:
what was written, or {"error": ...}.

\b
Completion of commands and options with the tab key:
  bash   eval "$(_PADL_COMPLETE=bash_source padl)"   in ~/.bashrc
  zsh    eval "$(_PADL_COMPLETE=zsh_source padl)"    in ~/.zshrc
  fish   _PADL_COMPLETE=fish_source padl | source    in ~/.config/fish/completions/padl.fish
"""


class Refusal(click.ClickException):
    """What cannot be done, in one line; exit code 2."""

    exit_code = 2


@contextlib.contextmanager
def _refusals(debug, as_json=False):
    """Turn the errors that bad input, files and missing packages give into one line, unless debugging."""
    try:
        with _warnings_in_lines():
            yield
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


def _finish(as_json, page, **more):
    """The last line on standard output: where the page is, or all there is to say as JSON."""
    written = {"report": str(page), "folder": str(page.parent), "version": __version__} | more
    click.echo(json.dumps(written) if as_json else page)


def _examples(*lines):
    """Epilog of a command."""
    return "\b\n" + "\n".join(
        ["Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)]
    )


class _Shape(click.ParamType):
    """HEIGHTxWIDTH."""

    name = "HxW"

    def convert(self, value, param, ctx):
        found = re.fullmatch(r"(\d+)x(\d+)", value) if isinstance(value, str) else None
        return (int(found[1]), int(found[2])) if found else self.fail(f"{value!r} is not like 8x8")


out_option = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a folder that holds a report.")
quiet_option = click.option("--quiet", is_flag=True, help="No progress.")
debug_option = click.option("--debug", is_flag=True, help="Show tracebacks.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="End with one JSON object on standard output."
)
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(__version__, prog_name="padl")
def main():
    """Dictionary learning with uncertainty."""


@main.command(epilog=_examples("padl demo --out demo --quick"))
@out_option
@overwrite_option
@click.option("--quick", is_flag=True, help="A toy run that only shows that everything works.")
@seed_option
@quiet_option
@json_option
@debug_option
def demo(out, overwrite, quick, seed, quiet, as_json, debug):
    """Fit natural patches and digits, compare, sample a posterior, write a report."""
    from .demo import run_demo

    with _refusals(debug, as_json):
        console = Console(stderr=True, quiet=quiet)
        page = run_demo(
            out, quick=quick, overwrite=overwrite, random_state=seed, console=console, progress=not quiet
        )
    _finish(as_json, page, command="demo")


def _read(data, key, patch_shape, n_patches, image_shape, seed):
    """Samples of a file or of a folder of images, and the shape to draw atoms in."""
    if data.is_dir():
        if key is not None:
            raise ValueError(f"key {key!r} only applies to .npz files, found the folder {str(data)!r}")
        shape = patch_shape or PATCH_SHAPE
        X = read_patches(data, shape, n_patches or N_PATCHES, seed=seed)
        return X, image_shape or shape
    if patch_shape is not None or n_patches is not None:
        name = "patch_shape" if patch_shape is not None else "n_patches"
        raise ValueError(f"{name} only applies to a folder of images, found {str(data)!r}")
    return read_matrix(data, key), image_shape


@main.command(
    epilog=_examples(
        "padl fit X.npy --out run",
        "padl fit digits.csv --out run --n-atoms 64 --nonnegative --image-shape 8x8",
        "padl fit photographs/ --out run --patch-shape 12x12 --n-patches 50000 --json",
    )
)
@click.argument("data", type=click.Path(path_type=Path))
@out_option
@overwrite_option
@click.option("--key", help="Array of an .npz file.")
@click.option("--patch-shape", type=_Shape(), help="Of a folder of images; 8x8 by default.")
@click.option("--n-patches", type=click.IntRange(2), help="Of a folder of images; 20,000 or all by default.")
@click.option("--n-atoms", type=click.IntRange(1), default=128, show_default=True, help="Upper bound.")
@click.option("--method", type=click.Choice(["em", "map"]), default="em", show_default=True)
@click.option(
    "--slab",
    type=click.Choice(["bernoulli_laplace", "bernoulli_gaussian"]),
    default="bernoulli_laplace",
    show_default=True,
    help="Prior of the codes (em).",
)
@click.option("--alpha", type=float, nargs=2, default=None, help="Weights (map); calibrated by default.")
@click.option("--nonnegative", is_flag=True, help="Codes of one sign.")
@click.option("--max-iter", type=click.IntRange(1), default=None)
@click.option("--image-shape", type=_Shape(), default=None, help="Draw atoms as images, for example 8x8.")
@click.option("--held-out", type=float, default=0.1, show_default=True, help="Share of samples kept aside.")
@seed_option
@quiet_option
@json_option
@debug_option
def fit(
    data,
    out,
    overwrite,
    key,
    patch_shape,
    n_patches,
    image_shape,
    held_out,
    quiet,
    as_json,
    debug,
    seed,
    **settings,
):
    """Fit DATA (.npy, .npz, .csv or .parquet, a sample a row, or a folder of images); write components, codes and a
    report."""
    from .runs import fit_run

    with _refusals(debug, as_json):
        X, image_shape = _read(data, key, patch_shape, n_patches, image_shape, seed)
        X, _ = check_training_data(X)
        page, status = fit_run(
            X,
            out,
            settings | {"random_state": seed, "progress": not quiet},
            title=data.name,
            image_shape=image_shape,
            held_out=held_out,
            overwrite=overwrite,
        )
    click.echo(status, err=True)
    _finish(as_json, page, command="fit", status=status)


@main.command(epilog=_examples("padl report draws.nc --out report --image-shape 8x8"))
@click.argument("posterior", type=click.Path(path_type=Path))
@out_option
@overwrite_option
@click.option("--image-shape", type=_Shape(), default=None, help="Draw atoms as images, for example 8x8.")
@json_option
@debug_option
def report(posterior, out, overwrite, image_shape, as_json, debug):
    """Report on POSTERIOR, a netCDF file of aligned draws that this package wrote."""
    from .runs import posterior_run

    with _refusals(debug, as_json):
        page = posterior_run(posterior, out, image_shape=image_shape, overwrite=overwrite)
    _finish(as_json, page, command="report")
