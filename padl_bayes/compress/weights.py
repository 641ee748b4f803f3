"""Ways to store a weight, from few bytes to many, and a budget shared over the weights of a network."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import null_space

from padl_bayes._options import check_callback, check_mapping, check_sequence
from padl_bayes._validation import check_choice, check_matrix, check_scalar
from padl_bayes.compress import factors
from padl_bayes.compress.allocation import Curve, allocate
from padl_bayes.compress.calibration import root_of, second_moment, weighted_error
from padl_bayes.compress.packing import Packed, count_bits, dense, encode, exponents_of, steps_of
from padl_bayes.compress.rounding import nearest, with_feedback
from padl_bayes.inference.map import fit_map

# l1 weight in steps; l_inf weight in steps times rows: an atom's share of the penalty is about what its entries cost
SPARSITY, PARSIMONY = 0.35, 0.003
FIT_PASSES = 8
# what is stored is float32, and squares are summed on the way
LARGEST = 1e30
# steps in root mean squares of what is coded, and atoms as a share of its width
SPARSE = ((2.8, 1 / 8), (2, 1 / 4), (1.4, 1 / 4), (1, 1 / 3), (0.7, 1 / 2), (0.5, 3 / 4))
FINE = (0.25, 0.06, 2**-6, 2**-9, 2**-12)
PRINCIPAL = (*SPARSE, (1, 1 / 2), (0.7, 1), (0.35, 1))
STEPS = (4, 3, 2.5, 2, 1.5, 1.2, 1, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05, *FINE[2:])
HALF_RANGES = (1, 1.5, 2, 3, 4, 5, 7, 10, 15, 31, 63, 127, 511, 2047, 8191, 32767)


class Option(NamedTuple):
    """A weight as it would be stored."""

    packed: Packed
    size: float
    """Bytes, as counted."""
    loss: float
    """Mean squared error of the layer's output over the mean square of that output."""


def sparse_options(weight, root):
    """PADL of rows, or of columns where they are more, at several sparsities; then all codes over the last dictionary.

    Parameters
    ----------
    weight : ndarray, shape (out, in)
    root : ndarray, shape (in, in)

    Yields
    ------
    Packed
    """
    columns = factors.codes_columns(weight)
    matrix = factors.coded_matrix(weight, root, columns)
    size = np.sqrt(np.mean(matrix**2))
    _, axes = factors.principal_factors(matrix)
    for step, share in SPARSE:
        exponent = int(exponents_of(step * size))
        width = steps_of(exponent)
        start = axes[: max(round(share * len(axes)), 1)]
        fit = fit_map(
            matrix.astype(np.float32), len(start), alpha=(SPARSITY * width, PARSIMONY * len(matrix) * width),
            max_iter=FIT_PASSES, tol=1e-4, gap_tol=1e-3, dictionary_init=start.astype(np.float32),
        )  # fmt: skip
        atoms = fit.dictionary.astype(np.float64)
        yield factors.pack_factors(weight, root, fit.codes, atoms, exponent, columns=columns)
    atoms = np.concatenate([atoms, null_space(atoms).T])
    codes = np.linalg.lstsq(atoms.T, matrix.T, rcond=None)[0].T
    for step in FINE:
        exponent = int(exponents_of(step * size))
        yield factors.pack_factors(weight, root, codes, atoms, exponent, columns=columns)


def principal_options(weight, root):
    """Singular value decompositions of ``W L``, cut off and rounded."""
    matrix = factors.coded_matrix(weight, root, False)
    codes, axes = factors.principal_factors(matrix)
    size = np.sqrt(np.mean(matrix**2))
    for step, share in (*PRINCIPAL, *((step, 1) for step in FINE)):
        rank = max(round(share * len(axes)), 1)
        exponent = int(exponents_of(step * size))
        yield factors.pack_factors(weight, root, codes[:, :rank], axes[:rank], exponent, columns=False)


def plain_principal_options(weight, root):
    """Singular value decompositions of W."""
    return principal_options(weight, np.eye(len(root)))


def feedback_options(weight, root):
    """Rounding to one step, errors fed back along L."""
    for step in STEPS:
        exponents = exponents_of(np.array([step * np.sqrt(np.mean(weight.astype(np.float64) ** 2))]))
        yield Packed(
            (with_feedback(weight.astype(np.float64), steps_of(exponents)[:, None], root),), (exponents,)
        )


def nearest_options(weight, root):
    """Rounding of each row to multiples of a share of its largest entry."""
    largest = np.abs(weight).max(axis=1).astype(np.float64)
    for half_range in HALF_RANGES:
        exponents = exponents_of(np.where(largest > 0, largest, 1) / half_range)
        yield Packed((nearest(weight, steps_of(exponents)[:, None]),), (exponents,))


METHODS: dict[str, Callable] = {
    "padl": sparse_options,
    "svd": principal_options,
    "plain svd": plain_principal_options,
    "rounding": feedback_options,
    "plain rounding": nearest_options,
}


def options_of(weight, root, method):
    """All `Option` of a method.

    Parameters
    ----------
    weight : ndarray, shape (out, in)
    root : ndarray, shape (in, in)
    method : str
        Of `METHODS`.

    Returns
    -------
    list of Option
    """
    whole = weighted_error(weight, np.zeros_like(weight), root)
    return [
        Option(packed, count_bits(packed) / 8, weighted_error(weight, dense(packed), root) / (whole or 1))
        for packed in METHODS[method](weight, root)
    ]


def choose(options, budget, importance=None):
    """Share a budget over weights.

    Parameters
    ----------
    options : dict of str to list of Option
    budget : float
        Bytes.
    importance : dict of str to float, optional
        What an `Option`'s loss counts, 1 by default.

    Returns
    -------
    dict of str to Option
    """
    weight_of = importance or dict.fromkeys(options, 1.0)
    curves = {
        name: Curve(np.array([o.size for o in some]), weight_of[name] * np.array([o.loss for o in some]))
        for name, some in options.items()
    }
    return {name: options[name][i] for name, i in allocate(curves, budget).items()}


def compress_weights(weights, share, *, activations=None, moments=None, methods=("padl", "rounding"),
                     importance=None, report=None):  # fmt: skip
    """Store the weights of linear layers in a share of their bytes in float32, those of most benefit first.

    Parameters
    ----------
    weights : dict of str to array_like, shape (out, in)
    share : float
        Of the bytes in float32, above 0 and at most 1.
    activations : dict of str to array_like, shape (n, in), optional
        What layers were given. Of a layer without, errors count the same in all directions.
    moments : dict of str to array_like, shape (in, in), optional
        Second moments ``E x x'`` in place of activations.
    methods : sequence of str
        Of `METHODS`: a weight is stored by whichever is best for it.
    importance : dict of str to float, optional
        What the relative error of each layer's output counts, 1 by default.
    report : callable, optional
        Called with each layer's name before it is done.

    Returns
    -------
    dict of str to Option
        The bytes of all, entropy-coded, are at most the share.

    Raises
    ------
    ValueError, TypeError
        Bad input, NaN, activations of another width or of no layer, or a share that is too small.
    ImportError
        constriction is not installed.
    """
    share = check_scalar(share, "share", strict=True, maximum=1.0)
    methods = check_sequence(methods, "methods", "names of methods")
    methods = [check_choice(method, "methods", list(METHODS)) for method in methods]
    report, weights = check_callback(report, "report"), check_mapping(weights, "weights")
    matrices = {name: check_matrix(weight, f"weights[{name!r}]") for name, weight in weights.items()}
    if not matrices or not methods:
        raise ValueError("weights and methods must hold at least one each")
    for name, matrix in matrices.items():
        if np.abs(matrix).max() > LARGEST:
            raise ValueError(
                f"weights[{name!r}] must be within {LARGEST:.2g}, found {np.abs(matrix).max():.2g}"
            )
    importance = _check_importance(importance, matrices)
    given = check_mapping(activations, "activations"), check_mapping(moments, "moments")
    roots = roots_of(matrices, *given)
    options: dict = {}
    for name, matrix in matrices.items():
        if report is not None:
            report(name)
        options[name] = [o for method in methods for o in options_of(matrix, roots[name], method)]
    budget = share * 4 * sum(matrix.size for matrix in matrices.values())
    try:
        return within(options, budget, importance)
    except ValueError as error:
        raise ValueError(f"share is too small: {error}") from error


def _check_importance(importance, matrices):
    """Return a number, zero or more, for each layer; None if none is given."""
    if importance is None:
        return None
    importance = check_mapping(importance, "importance")
    if set(importance) != set(matrices):
        raise ValueError(f"importance must have a number, at least zero, for each of {', '.join(matrices)}")
    return {name: check_scalar(importance[name], f"importance[{name!r}]") for name in matrices}


def roots_of(matrices, activations, moments):
    """Roots of the second moments of what layers are given, the identity where nothing is known."""
    for what, given in (("activations", activations), ("moments", moments)):
        unknown = sorted(set(given) - set(matrices))
        if unknown:
            raise ValueError(
                f"{what} must be of layers to compress, {', '.join(matrices)}; found {unknown[0]!r}"
            )
    roots = {}
    for name, matrix in matrices.items():
        roots[name] = np.eye(matrix.shape[1])
        for what, given, moment_of in (
            ("activations", activations, second_moment), ("moments", moments, check_matrix),
        ):  # fmt: skip
            if name not in given:
                continue
            moment = moment_of(given[name], f"{what}[{name!r}]")
            if moment.shape[1] != matrix.shape[1]:
                raise ValueError(
                    f"{what}[{name!r}] must have {matrix.shape[1]} columns, as a weight of shape {matrix.shape} "
                    f"takes, found {moment.shape[1]}"
                )
            roots[name] = _root_of(moment, f"{what}[{name!r}]")
    return roots


def _root_of(moment, name):
    try:
        return root_of(moment)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def within(options, budget, importance=None):
    """`choose` with the bytes that coding takes in place of those counted."""
    aim = budget
    while True:
        chosen = {
            name: o._replace(size=len(encode(o.packed)))
            for name, o in choose(options, aim, importance).items()
        }
        over = sum(o.size for o in chosen.values()) - budget
        if over <= 0:
            return chosen
        aim -= over + 1
