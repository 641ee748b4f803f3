"""``padl tradeoff``."""

import click

from padl_bayes.cli._common import (
    examples,
    finish_report,
    out_option,
    overwrite_option,
    path_argument,
    reading_options,
    refusals,
    saying_options,
    seed_option,
    shown,
)
from padl_bayes.cli._data import fitting_options, read_source


class _Target(click.ParamType):
    """``mdl`` or KIND=VALUE."""

    name = "mdl|rmse=E|bytes=B|nonzeros=S|active=K"

    def convert(self, value, param, ctx):
        """Return a target of `padl_bayes.tradeoff.operating_point`."""
        from padl_bayes.tradeoff.frontier import check_target

        kind, equals, most = value.partition("=")
        try:
            return check_target((kind, float(most)) if equals else kind)
        except ValueError:
            self.fail(f"{value!r} is not like {self.name}, with a positive value")


@click.command(
    short_help="Weigh sparsity, storage and accuracy.",
    epilog=examples(
        "padl tradeoff run --out tradeoff",
        "padl tradeoff X.npy --out tradeoff --n-atoms 64 --target nonzeros=5 --format json",
    ),
)
@path_argument("source")
@out_option
@overwrite_option
@reading_options
@fitting_options
@click.option("--target", type=_Target(), default="mdl", show_default=True, help="Point to choose.")
@click.option(
    "--format", "kind", type=click.Choice(["csv", "json"]), default="csv", show_default=True,
    help="Of the table of points.",
)  # fmt: skip
@seed_option
@saying_options
def tradeoff(
    source,
    out,
    overwrite,
    key,
    patch_shape,
    n_patches,
    n_atoms,
    slab,
    nonnegative,
    target,
    kind,
    seed,
    quiet,
    as_json,
    debug,
):
    """Predict sparsity, storage and accuracy over both weights of PADL from SOURCE, data as padl fit takes them (which
    are fitted first) or a fit by em; write the points, the one chosen and a report.

    The chosen weights go into padl fit --method map --alpha.
    """
    with refusals(debug, as_json):
        from padl_bayes.report import check_folder
        from padl_bayes.runs import fitted_to, tradeoff_run

        check_folder(out, overwrite=overwrite)
        estimator, X, _ = read_source(
            source,
            {"key": key, "patch_shape": patch_shape, "n_patches": n_patches},
            {"n_atoms": n_atoms, "slab": slab, "nonnegative": nonnegative},
            image_shape=None,
            seed=seed,
            progress=shown(quiet, as_json),
        )
        options = {"title": source.name, "kind": kind, "seed": seed, "overwrite": overwrite}
        page, point = tradeoff_run(
            fitted_to(estimator, X), out, target, **options, progress=estimator.progress
        )
    click.echo(
        f"--alpha {point['alpha'][0]:.6g} {point['alpha'][1]:.6g}: {point['active']} atoms, "
        f"{point['nonzeros']:.3g} nonzeros a sample, {point['bytes']:.0f} bytes, RMSE {point['rmse']:.4g}",
        err=True,
    )
    finish_report(as_json, page, command="tradeoff", point=point)
