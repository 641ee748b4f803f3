"""Tokens, or weights of a network's layers, in few bytes."""

from pathlib import Path

import numpy as np

from padl_bayes._files import check_free
from padl_bayes._validation import check_choice
from padl_bayes.persistence import save
from padl_bayes.progress import work_progress
from padl_bayes.reading import read_matrix
from padl_bayes.tradeoff import compress
from padl_bayes.tradeoff.storage import MOST_CELLS, Stored, Symbols, count_bits, dequantise, symbols_of

METHODS = {"best": ("padl", "rounding"), "padl": ("padl",), "svd": ("svd",), "rounding": ("rounding",)}


def _check_out(source, out, overwrite):
    out = Path(out)
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise ValueError(f"out must be another file than {str(source)!r}, which is only read")
    check_free(out, overwrite=overwrite)


def with_mean(stored, mean):
    """What samples less their mean are stored as, with one more atom that adds the mean to every sample.

    Its codes are all half a step, which takes the code no more than a sign each; ``codes @ dictionary`` is all there
    is, as ever.

    Parameters
    ----------
    stored : Stored
    mean : ndarray, shape (P,)

    Returns
    -------
    Stored
        The mean's atom first, rounded to a multiple of the step over the root of the number of samples.

    Raises
    ------
    ValueError
        A mean of more than a million of these.
    """
    levels, entries = symbols_of(stored)
    cells = np.round(np.asarray(mean, np.float64) * np.sqrt(len(levels)) / stored.step)
    if not np.abs(cells).max() <= MOST_CELLS:
        raise ValueError(
            f"tokens must have a mean of at most {MOST_CELLS} steps of the code, found {np.abs(cells).max():.3g}: "
            "subtract it first"
        )
    symbols = Symbols(
        np.hstack([np.ones_like(levels[:, :1]), levels]), np.vstack([cells.astype(np.int32), entries])
    )
    codes, atoms = dequantise(symbols, stored.step)
    storage = count_bits(symbols, stored.storage.distortion, stored.nonnegative)
    return Stored(codes, atoms, storage, stored.step, stored.nonnegative)


def compress_tokens_run(estimator, X, source, out, *, overwrite=False):
    """Fit a dictionary to tokens less their mean and write it with their codes, entropy-coded.

    Parameters
    ----------
    estimator : PADL
    X : ndarray, shape (n_tokens, width)
    source : str or os.PathLike
        Where X comes from.
    out : str or os.PathLike
        For `padl_bayes.load`: codes times dictionary are the tokens, the mean is the first atom.
    overwrite : bool

    Returns
    -------
    dict
        ``atoms`` and ``nonzeros`` a token, the mean not counted, ``bytes``, ``share`` of the bytes of X in float32,
        ``rmse`` and ``explained`` variance of the tokens as stored.
    """
    _check_out(source, out, overwrite)
    mean = X.mean(axis=0, dtype=np.float64)
    estimator.fit((X - mean).astype(X.dtype))
    with work_progress(estimator.progress, "rounding and coding"):
        stored = with_mean(compress(estimator), mean)
        size = save(stored, out, overwrite=overwrite).stat().st_size
    error = np.mean((X - stored.codes @ stored.dictionary) ** 2)
    return {
        "atoms": int(np.any(stored.codes[:, 1:] != 0, axis=0).sum()),
        "nonzeros": float(np.count_nonzero(stored.codes[:, 1:]) / len(X)),
        "bytes": size,
        "share": size / (4 * X.size),
        "rmse": float(np.sqrt(error)),
        "explained": float(1 - error / np.mean((X - mean) ** 2)),
    }


def compress_weights_run(source, out, patterns, share, *, calibration=None, method="best", overwrite=False,
                         progress=False):  # fmt: skip
    """Compress the weights of layers of a safetensors or ONNX file into a new file.

    Parameters
    ----------
    source, out : str or os.PathLike
        ``out`` is for `padl_bayes.compress.load_weights`; ``source`` is only read.
    patterns : sequence of str
        Names of weights, with ``*`` for any characters.
    share : float
        Of their bytes in float32, the file in all.
    calibration : str or os.PathLike, optional
        An .npz with an array (n, in) of what each layer was given, by the name of its weight.
    method : {"best", "padl", "svd", "rounding"}
    overwrite : bool
    progress : bool
        Show it on the terminal.

    Returns
    -------
    dict
        ``bytes``, ``share``, and ``layers`` with ``name``, ``shape``, ``bytes`` and relative ``error`` of the output.
    """
    from padl_bayes.compress import compress_weights, read_layers, save_weights

    _check_out(source, out, overwrite)
    methods = METHODS[check_choice(method, "method", list(METHODS))]
    weights, turned = read_layers(source, patterns)
    given = _read_calibration(calibration, weights) if calibration is not None else None
    # the header: each layer's name once, and at most fifty characters about it
    header = sum(50 + 6 * len(name) for name in weights) + 50
    total = 4 * sum(weight.size for weight in weights.values())
    if not header / total < share <= 1:
        raise ValueError(f"bytes must be above {header / total:.2g} and at most 1, found {share:g}")
    with work_progress(progress, "compressing") as show:
        sizes = np.cumsum([0, *(weight.size for weight in weights.values())])
        before = dict(zip(weights, sizes.tolist(), strict=False))

        def report(name):
            show(before[name], int(sizes[-1]), name)

        options = compress_weights(
            weights, share - header / total, activations=given, methods=methods, report=report
        )
        show(int(sizes[-1]), int(sizes[-1]), f"{len(weights)} weights")
    size = save_weights(options, out, turned=turned, overwrite=overwrite).stat().st_size
    layers = [
        {"name": name, "shape": list(weights[name].shape), "bytes": int(o.size), "error": o.loss}
        for name, o in options.items()
    ]
    return {"bytes": size, "share": size / total, "layers": layers}


def _read_calibration(path, weights):
    if Path(path).suffix.lower() != ".npz":
        raise ValueError(f"calibration must be an .npz file, found {str(path)!r}")
    found = {}
    for name in weights:
        try:
            found[name] = read_matrix(path, name)
        except ValueError as error:
            raise ValueError(f"calibration must have an array for each layer: {error}") from None
    return found
