"""``padl report``."""

import click

from padl_bayes.cli._common import (
    examples,
    finish_report,
    image_shape_option,
    out_option,
    overwrite_option,
    path_argument,
    refusals,
    saying_options,
    shown,
)


@click.command(
    short_help="Report on draws from a posterior.",
    epilog=examples("padl report draws.nc --out report --image-shape 8x8"),
)
@path_argument("posterior")
@out_option
@overwrite_option
@image_shape_option
@saying_options
def report(posterior, out, overwrite, image_shape, quiet, as_json, debug):
    """Report on POSTERIOR, a netCDF file of aligned draws that this package wrote, or the folder of padl sample."""
    with refusals(debug, as_json):
        from padl_bayes.runs import posterior_run

        progress = shown(quiet, as_json)
        if posterior.is_dir():
            posterior = posterior / "posterior.nc"
        page = posterior_run(posterior, out, image_shape=image_shape, overwrite=overwrite, progress=progress)
    finish_report(as_json, page, command="report")
