"""``padl transform``."""

from pathlib import Path

import click

from padl_bayes.cli._common import (
    examples,
    finish,
    key_option,
    path_argument,
    refusals,
    saying_options,
    shown,
)


@click.command(
    short_help="Code samples with a fit.", epilog=examples("padl transform run X.npy --out codes.npy")
)
@path_argument("fit")
@path_argument("data")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write, .npy.")
@click.option("--overwrite", is_flag=True, help="Replace a file.")
@key_option
@click.option(
    "--rule",
    type=click.Choice(["sparse", "mean"]),
    default="sparse",
    show_default=True,
    help="Of fits by em: zero where a code is probably not used, or posterior means.",
)
@saying_options
def transform(fit, data, out, overwrite, key, rule, quiet, as_json, debug):
    """Write the codes of DATA (.npy, .npz, .csv or .parquet, a sample a row), given FIT: a fit.padl, or the folder of
    padl fit."""
    with refusals(debug, as_json):
        from padl_bayes.reading import read_matrix
        from padl_bayes.runs import load_fit, transform_run

        estimator, X = load_fit(fit), read_matrix(data, key)
        progress = shown(quiet, as_json)
        shape = transform_run(estimator, X, out, rule=rule, overwrite=overwrite, progress=progress)
    finish(as_json, out, command="transform", codes=str(out), shape=shape)
