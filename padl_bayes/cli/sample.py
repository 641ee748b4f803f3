"""``padl sample``."""

import click

from padl_bayes.cli._common import (
    examples,
    finish_report,
    image_shape_option,
    out_option,
    path_argument,
    reading_options,
    refusals,
    saying_options,
    seed_option,
    shown,
)
from padl_bayes.cli._data import fitting_options, read_source


def _count(name, default, text):
    return click.option(name, type=click.IntRange(1), default=default, show_default=True, help=text)


def _left(out):
    from padl_bayes.runs import left_of_sampling

    return left_of_sampling(out)


@click.command(
    short_help="Draw from the posterior.",
    epilog=examples(
        "padl sample run --out posterior",
        "padl sample X.npy --out posterior --n-atoms 16 --num-samples 2000",
        "padl sample X.npy --out posterior --n-atoms 16 --num-samples 2000 --resume",
    ),
)
@path_argument("source")
@out_option
@click.option("--overwrite", is_flag=True, help="Replace a folder that holds a report, and a checkpoint.")
@reading_options
@fitting_options
@click.option("--method", type=click.Choice(["gibbs", "nuts", "svi"]), default="gibbs", show_default=True)
@_count("--num-warmup", 500, "Draws of each chain that are not kept (gibbs, nuts).")
@_count("--num-samples", 500, "Draws of each chain.")
@_count("--num-chains", 4, "Chains (gibbs, nuts).")
@click.option("--keep-codes", type=click.Choice(["moments", "draws"]), default="moments", show_default=True)
@click.option(
    "--start",
    type=click.Choice(["scattered", "fit"]),
    default="scattered",
    show_default=True,
    help="Where chains start (gibbs).",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint of a run that was stopped (gibbs).")
@image_shape_option
@seed_option
@saying_options
def sample(
    source,
    out,
    overwrite,
    key,
    patch_shape,
    n_patches,
    n_atoms,
    slab,
    nonnegative,
    resume,
    image_shape,
    seed,
    quiet,
    as_json,
    debug,
    **options,
):
    """Sample the posterior of SOURCE, data as padl fit takes them (which are fitted first) or a fit; write the draws
    (posterior.nc), the fit and a report.

    Gibbs saves to OUT.checkpoint on the way, which goes once the report is written.
    """
    with refusals(debug, as_json, left=lambda: _left(out)):
        from padl_bayes.runs import sample_run

        estimator, X, image_shape = read_source(
            source,
            {"key": key, "patch_shape": patch_shape, "n_patches": n_patches},
            {"n_atoms": n_atoms, "slab": slab, "nonnegative": nonnegative},
            image_shape=image_shape,
            seed=seed,
            progress=shown(quiet, as_json),
        )
        page = sample_run(
            estimator,
            X,
            out,
            options | {"random_state": seed},
            title=source.name,
            image_shape=image_shape,
            resume=resume,
            overwrite=overwrite,
        )
    finish_report(as_json, page, command="sample", posterior=str(page.with_name("posterior.nc")))
