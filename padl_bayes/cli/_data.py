"""Samples, and fits to samples, that commands are given."""

import click

from padl_bayes.cli._common import combined

N_ATOMS = 128
SLABS = ("bernoulli_laplace", "bernoulli_gaussian")

fitting_options = combined(
    click.option(
        "--n-atoms", type=click.IntRange(1), help=f"Upper bound of a fit to DATA; {N_ATOMS} by default."
    ),
    click.option(
        "--slab", type=click.Choice(SLABS), help=f"Prior of the codes of DATA; {SLABS[0]} by default."
    ),
    click.option("--nonnegative", is_flag=True, default=None, help="Codes of DATA of one sign."),
)


def read_data(data, key, patch_shape, n_patches, image_shape, seed):
    """Samples of a file or of a folder of images, and the shape to draw atoms in."""
    from padl_bayes.reading import N_PATCHES, PATCH_SHAPE, read_matrix, read_patches

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


def read_source(path, reading, fitting, *, image_shape, seed, progress):
    """A fitted estimator and None, or one to fit and samples to fit it to; and the shape to draw atoms in.

    Parameters
    ----------
    path : pathlib.Path
    reading, fitting : dict
        Options of `reading_options` and `fitting_options`, which do not apply to a fit.
    image_shape : tuple of int or None
        That of the fit if None.
    seed : int
    progress : bool
    """
    from padl_bayes._validation import check_training_data
    from padl_bayes.estimator import PADL
    from padl_bayes.runs import holds_fit, image_shape_of, load_fit

    if holds_fit(path):
        given = [name for name, value in (reading | fitting).items() if value is not None]
        if given:
            raise ValueError(f"{given[0]} only applies to data, found the fit {str(path)!r}")
        return load_fit(path).set_params(progress=progress), None, image_shape or image_shape_of(path)
    X, image_shape = read_data(path, **reading, image_shape=image_shape, seed=seed)
    X, _ = check_training_data(X)
    settings = {"n_atoms": N_ATOMS} | {name: value for name, value in fitting.items() if value is not None}
    return PADL(**settings, random_state=seed, progress=progress), X, image_shape
