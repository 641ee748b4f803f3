"""``padl fit``."""

import click

from padl_bayes.cli._common import (
    examples,
    finish_report,
    image_shape_option,
    out_option,
    overwrite_option,
    path_argument,
    reading_options,
    refusals,
    saying_options,
    seed_option,
    shown,
)
from padl_bayes.cli._data import N_ATOMS, SLABS, read_data


@click.command(
    short_help="Learn a dictionary from data.",
    epilog=examples(
        "padl fit X.npy --out run",
        "padl fit digits.csv --out run --n-atoms 64 --nonnegative --image-shape 8x8",
        "padl fit photographs/ --out run --patch-shape 12x12 --n-patches 50000 --json",
    ),
)
@path_argument("data")
@out_option
@overwrite_option
@reading_options
@click.option("--n-atoms", type=click.IntRange(1), default=N_ATOMS, show_default=True, help="Upper bound.")
@click.option("--method", type=click.Choice(["em", "map"]), default="em", show_default=True)
@click.option(
    "--slab", type=click.Choice(SLABS), default=SLABS[0], show_default=True, help="Prior of the codes (em)."
)
@click.option("--alpha", type=float, nargs=2, default=None, help="Weights (map); calibrated by default.")
@click.option("--nonnegative", is_flag=True, help="Codes of one sign.")
@click.option("--max-iter", type=click.IntRange(1), default=None)
@image_shape_option
@click.option("--held-out", type=float, default=0.1, show_default=True, help="Share of samples kept aside.")
@seed_option
@saying_options
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
    """Fit DATA (.npy, .npz, .csv or .parquet, a sample a row, or a folder of images); write the fit (fit.padl),
    components, codes and a report."""
    with refusals(debug, as_json):
        from padl_bayes._validation import check_training_data
        from padl_bayes.report import check_folder
        from padl_bayes.runs import fit_run

        check_folder(out, overwrite=overwrite)
        X, image_shape = read_data(data, key, patch_shape, n_patches, image_shape, seed)
        X, _ = check_training_data(X)
        page, status = fit_run(
            X,
            out,
            settings | {"random_state": seed, "progress": shown(quiet, as_json)},
            title=data.name,
            image_shape=image_shape,
            held_out=held_out,
            overwrite=overwrite,
        )
    click.echo(status, err=True)
    finish_report(as_json, page, command="fit", status=status)
