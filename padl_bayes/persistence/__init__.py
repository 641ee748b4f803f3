"""`save` and `load`: fits, codes and posteriors in files that execute nothing when they are read.

``docs/format.md`` describes the three formats: an .npz with a JSON header, netCDF for posteriors, and the entropy-coded
one of `padl_bayes.tradeoff.codec`.
"""

from pathlib import Path

from padl_bayes._files import write_whole
from padl_bayes.arviz_io import from_netcdf, to_netcdf
from padl_bayes.persistence.archive import MAGIC as ARCHIVE
from padl_bayes.persistence.archive import read_archive, write_archive
from padl_bayes.persistence.kinds import ESTIMATORS, RECORDS
from padl_bayes.tradeoff.codec import MAGIC as CODED
from padl_bayes.tradeoff.codec import Codec, decode, encode
from padl_bayes.tradeoff.compress import compress
from padl_bayes.tradeoff.storage import Stored

NETCDF = b"\x89HDF"


def save(obj, path, *, codec=None, overwrite=False):
    """Write a fit, codes or a posterior to a file, which appears only once it is complete.

    Parameters
    ----------
    obj : object
        A `PADL`; what `fit_em`, `fit_map`, `fit_svi`, `fit_saem`, `sample_nuts`, `sample_gibbs`, `sparse_code`,
        `tradeoff.frontier` or `calibrate_alpha` returns; a posterior of ArviZ; or what `tradeoff.compress` or
        `tradeoff.quantise` returns, which is written by the codec in any case.
    path : str or os.PathLike
        Taken as it is, whatever its ending. The file of a `PADL` holds its samples too, as `PADL.sample_posterior`
        goes on from them; that of its ``fit_`` does not.
    codec : "padl" or tradeoff.Codec, optional
        Keep the dictionary and sparse codes of a fit only, rounded and entropy-coded: a hundredth of the bytes or
        less. `load` gives back what `tradeoff.compress` of the fit returns, to the bit: with a `tradeoff.Codec` at
        its ``precision``, with "padl" at the default, which is that of the operating point where the fit has one.
        Needs constriction (``pip install 'padl-bayes[codec]'``).
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileExistsError
        ``path`` exists and ``overwrite`` is false, or it is a folder.
    FileNotFoundError
        Its folder does not exist.
    ImportError
        The codec without constriction.
    TypeError, ValueError
        An object that files do not hold, or that the codec cannot store.

    Examples
    --------
    >>> import os, tempfile, numpy as np, padl_bayes as pb
    >>> data = pb.datasets.bars(n_samples=200, seed=0)
    >>> est = pb.PADL(n_atoms=12, nonnegative=True).fit(data.X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pb.save(est, os.path.join(folder, "bars.padl"))
    ...     again = pb.load(path)
    >>> np.array_equal(again.transform(data.X), est.transform(data.X))
    True
    """
    if hasattr(obj, "to_netcdf"):
        if codec is not None:
            raise TypeError("codec stores the dictionary and codes of a fit, found a posterior: leave it out")
        return to_netcdf(obj, path, overwrite=overwrite)
    if codec is not None and not isinstance(obj, Stored):
        obj = compress(obj, precision=_precision(codec))
    if isinstance(obj, Stored):
        return write_whole(path, lambda file: file.write_bytes(encode(obj)), overwrite=overwrite)
    name = type(obj).__name__
    if (RECORDS | ESTIMATORS).get(name) is not type(obj):
        known = ", ".join(sorted(RECORDS | ESTIMATORS))
        raise TypeError(f"obj must be a posterior of ArviZ, Stored or one of {known}, found {name}")
    from padl_bayes import __version__

    return write_whole(path, lambda file: write_archive(obj, file, __version__), overwrite=overwrite)


def _precision(codec):
    """Step of the codes that a codec asks for; None for the default."""
    if isinstance(codec, str) and codec == "padl":
        return None
    if not isinstance(codec, Codec):
        raise TypeError(f"codec must be None, 'padl' or a tradeoff.Codec, found {codec!r}")
    return codec.precision


def load(path):
    """Read a file of `save`.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    object
        Of the type that was saved, with the same numbers to the bit; a `tradeoff.Stored` if a codec was used.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is something else, damaged, incomplete, or of a newer format version; the message names it.
    ImportError
        It needs constriction.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path {str(path)!r} is no file")
    if not path.is_file():
        raise ValueError(f"path {str(path)!r} is no file but a folder or device")
    with open(path, "rb") as file:
        start = file.read(4)
    if start == ARCHIVE:
        return read_archive(path)
    if start == NETCDF:
        return from_netcdf(path)
    if start == CODED:
        try:
            return decode(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"path {str(path)!r} cannot be read: {error}") from error
    what = "is empty" if not start else "is no file of padl_bayes.save, or damaged"
    raise ValueError(f"path {str(path)!r} {what}")
