"""The command ``padl``."""

import contextlib
import re
import warnings
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from . import __version__
from ._validation import check_training_data


class Refusal(click.ClickException):
    """What cannot be done, in one line; exit code 2."""

    exit_code = 2


@contextlib.contextmanager
def _refusals(debug):
    """Turn the errors that bad input, files and missing packages give into one line, unless debugging."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        if debug:
            raise
        raise Refusal(" ".join(str(error).split()) or type(error).__name__) from error


def read_matrix(path, key=None):
    """Read a matrix from ``.npy``, ``.npz`` (``key`` names the array if there are several) or ``.csv``.

    Parameters
    ----------
    path : str or os.PathLike
    key : str, optional

    Returns
    -------
    ndarray, shape (N, P)
        A csv file may have one line of column names; columns are separated by commas.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Unreadable, truncated, of another kind, or without that array.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"file {str(path)!r} does not exist")
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ValueError(f"file {str(path)!r} must end in .npy, .npz or .csv")
    if key is not None and path.suffix.lower() != ".npz":
        raise ValueError(f"key {key!r} only applies to .npz files, found {str(path)!r}")
    try:
        return readers[path.suffix.lower()](path, key)
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    except Exception as error:
        raise ValueError(f"file {str(path)!r} is no readable {path.suffix[1:]} file: {error}") from error


def _read_npy(path, key):
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_npz(path, key):
    # given a path, NumPy leaves a broken archive's file open
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = list(archive.files)
        if key is None and len(names) != 1:
            raise KeyError(f"file {str(path)!r} holds {', '.join(names)}: choose one with --key")
        if key is not None and key not in names:
            raise KeyError(f"file {str(path)!r} holds {', '.join(names)}, not {key!r}")
        return archive[names[0] if key is None else key]


def _read_csv(path, key):
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.loadtxt(
            path,
            delimiter=",",
            skiprows=int(not _is_numeric(first)),
            ndmin=2,
            encoding="utf-8-sig",
            dtype=np.float64,
        )


def _is_numeric(line):
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


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
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="padl")
def main():
    """Dictionary learning with uncertainty."""


@main.command()
@out_option
@overwrite_option
@click.option("--quick", is_flag=True, help="A toy run that only shows that everything works.")
@seed_option
@quiet_option
@debug_option
def demo(out, overwrite, quick, seed, quiet, debug):
    """Fit natural patches and digits, compare, sample a posterior, write a report."""
    from .demo import run_demo

    with _refusals(debug):
        console = Console(stderr=True, quiet=quiet)
        page = run_demo(
            out, quick=quick, overwrite=overwrite, random_state=seed, console=console, progress=not quiet
        )
    click.echo(page)


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@out_option
@overwrite_option
@click.option("--key", help="Array of an .npz file.")
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
@debug_option
def fit(data, out, overwrite, key, image_shape, held_out, quiet, debug, seed, **settings):
    """Fit DATA (.npy, .npz or .csv, a sample a row); write components, codes and a report."""
    from .runs import fit_run

    with _refusals(debug):
        X, _ = check_training_data(read_matrix(data, key))
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
    click.echo(page)


@main.command()
@click.argument("posterior", type=click.Path(path_type=Path))
@out_option
@overwrite_option
@click.option("--image-shape", type=_Shape(), default=None, help="Draw atoms as images, for example 8x8.")
@debug_option
def report(posterior, out, overwrite, image_shape, debug):
    """Report on POSTERIOR, a netCDF file of aligned draws that this package wrote."""
    from .runs import posterior_run

    with _refusals(debug):
        page = posterior_run(posterior, out, image_shape=image_shape, overwrite=overwrite)
    click.echo(page)
