"""``padl compress``."""

from pathlib import Path

import click

from padl_bayes.cli._common import (
    examples,
    finish,
    path_argument,
    refusals,
    saying_options,
    seed_option,
    shown,
)
from padl_bayes.cli._data import N_ATOMS

NETWORKS = (".safetensors", ".onnx")


@click.command(
    short_help="Write tokens or weights in few bytes.",
    epilog=examples(
        "padl compress tokens.npy --out tokens.padl --n-atoms 256",
        "padl compress model.safetensors --out fc1.padlw --layers encoder.layer.*.intermediate.dense.weight "
        "--calibration acts.npz --bytes 0.06",
    ),
)
@path_argument("source")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file.")
@click.option("--n-atoms", type=click.IntRange(1), help=f"Tokens: upper bound; {N_ATOMS} by default.")
@click.option("--max-iter", type=click.IntRange(1), help="Tokens: most passes of the fit.")
@click.option("--layers", multiple=True, help="Network: names of weights, with * for any characters.")
@click.option(
    "--calibration", type=click.Path(path_type=Path),
    help="Network: .npz of what each layer was given (n, in), by the name of its weight.",
)  # fmt: skip
@click.option("--bytes", "share", type=float, help="Network: share of the bytes in float32; 0.1 by default.")
@click.option(
    "--method", type=click.Choice(["best", "padl", "svd", "rounding"]),
    help="Network: best is padl or rounding, by layer, and the default.",
)  # fmt: skip
@seed_option
@saying_options
def compress(
    source, out, overwrite, n_atoms, max_iter, layers, calibration, share, method, seed, quiet, as_json, debug
):
    """Write SOURCE in few bytes: tokens (.npy, a token a row) as a dictionary and sparse codes, for padl_bayes.load;
    or the weights of a network's layers (.safetensors, .onnx), for padl_bayes.compress.load_weights.

    SOURCE itself is never changed.
    """
    of_network = {"layers": layers or None, "calibration": calibration, "bytes": share, "method": method}
    progress = shown(quiet, as_json)
    with refusals(debug, as_json):
        if source.suffix.lower() in NETWORKS:
            _check_others({"n_atoms": n_atoms, "max_iter": max_iter}, "tokens", source)
            if not layers:
                raise ValueError("layers must name weights of the network: pass --layers, '*' for all")
            found, line = _network(
                source,
                out,
                layers,
                0.1 if share is None else share,
                overwrite,
                calibration,
                method,
                progress,
            )
        else:
            _check_others(of_network, "a network (.safetensors, .onnx)", source)
            found, line = _tokens(source, out, n_atoms or N_ATOMS, max_iter, seed, overwrite, progress)
    click.echo(line, err=True)
    finish(as_json, out, command="compress", file=str(out), **found)


def _check_others(options, of, source):
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(f"{given[0]} only applies to {of}, found {str(source)!r}")


def _network(source, out, layers, share, overwrite, calibration, method, progress):
    from padl_bayes.runs.compress import compress_weights_run

    found = compress_weights_run(
        source, out, layers, share, calibration=calibration, method=method or "best", overwrite=overwrite,
        progress=progress,
    )  # fmt: skip
    worst = max(found["layers"], key=lambda layer: layer["error"])
    return found, (
        f"{len(found['layers'])} weights in {found['bytes']:,} bytes, {found['share']:.2%} of float32; "
        f"largest relative error of an output {worst['error']:.2g}, {worst['name']}"
    )


def _tokens(source, out, n_atoms, max_iter, seed, overwrite, progress):
    from padl_bayes._validation import check_training_data
    from padl_bayes.estimator import PADL
    from padl_bayes.reading import read_matrix
    from padl_bayes.runs.compress import compress_tokens_run

    if source.suffix.lower() != ".npy":
        raise ValueError(f"source must end in .npy, .safetensors or .onnx, found {str(source)!r}")
    X, _ = check_training_data(read_matrix(source))
    estimator = PADL(n_atoms, max_iter=max_iter, random_state=seed, progress=progress)
    found = compress_tokens_run(estimator, X, source, out, overwrite=overwrite)
    return found, (
        f"{found['atoms']} atoms, {found['nonzeros']:.3g} nonzeros a token, {found['bytes']:,} bytes, "
        f"{found['share']:.2%} of float32; RMSE {found['rmse']:.3g}, {found['explained']:.1%} of the variance"
    )
