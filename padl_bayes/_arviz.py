"""What differs between the two generations of ArviZ, and the netCDF files that both read."""

import datetime
import importlib.metadata
import json
import platform
import warnings
from pathlib import Path

from padl_bayes._files import SEAL_SIZE, check_seal, seal, write_whole

FORMAT_VERSION = 1
_PACKAGES = ("jax", "numpyro", "arviz", "numpy")


def load_arviz():
    """Import ArviZ without the notice that its 0.2x generation gives once a day, and return it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing", category=FutureWarning)
        import arviz
    return arviz


def _inference_data(arviz):
    """Return the class of 0.2x, or None in 1.x, which warns when its module is asked for the attribute."""
    return vars(arviz).get("InferenceData")


def _attribute(name, value):
    """Return ``value`` as something that netCDF keeps: text, a number, or JSON."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (str, float)):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    try:
        return json.dumps(value, default=lambda entry: entry.tolist())
    except (AttributeError, TypeError, ValueError) as error:
        raise TypeError(f"attrs[{name!r}] must be text, a number or fit for JSON: {error}") from None


def attributes(attrs):
    from padl_bayes import __version__

    versions = {f"{name}_version": importlib.metadata.version(name) for name in _PACKAGES}
    standard = {
        "padl_bayes_format": FORMAT_VERSION,
        "padl_bayes_version": __version__,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "inference_library": "padl_bayes",
        "python_version": platform.python_version(),
        **versions,
    }
    return standard | {name: _attribute(name, value) for name, value in (attrs or {}).items()}


def assemble(groups, labels, attrs):
    """Return the groups as what the installed ArviZ works with; ``labels[group, dim]`` goes before ``labels[dim]``."""
    import xarray

    datasets = {}
    for group, variables in groups.items():
        used = [dim for dim in labels if any(dim in dims for dims, _ in variables.values())]
        coords = {dim: labels.get((group, dim), labels[dim]) for dim in used}
        datasets[group] = xarray.Dataset(variables, coords=coords)
    inference_data = _inference_data(load_arviz())
    if inference_data is not None:
        return inference_data(attrs=attrs, **datasets)
    return xarray.DataTree.from_dict({"/": xarray.Dataset(attrs=attrs), **datasets})


def _write(data, path):
    if not hasattr(data, "to_netcdf"):
        raise TypeError(f"data must be what to_arviz returns, found {type(data).__name__}")
    if not hasattr(data, "subtree"):
        data.to_netcdf(str(path), engine="h5netcdf")
        return
    encoding = {
        node.path: {
            name: {"zlib": True} for name, values in node.data_vars.items() if values.dtype.kind in "fiu"
        }
        for node in data.subtree
    }
    data.to_netcdf(path, engine="h5netcdf", encoding=encoding)


def to_netcdf(data, path, *, overwrite=False):
    """Write the result of `to_arviz` as netCDF; the file appears only once it is complete.

    Behind the netCDF stands a digest of it, which other readers ignore.

    Parameters
    ----------
    data : arviz.InferenceData or xarray.DataTree
    path : str or os.PathLike
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
    TypeError
        ``data`` is something else.
    """

    def write(unfinished):
        _write(data, unfinished)
        with open(unfinished, "ab") as file:
            file.write(bytes(SEAL_SIZE))
        seal(unfinished)

    return write_whole(path, write, overwrite=overwrite)


def _read(path):
    arviz = load_arviz()
    if _inference_data(arviz) is not None:
        with arviz.rc_context({"data.load": "eager"}):
            return arviz.from_netcdf(path, engine="h5netcdf")
    with arviz.from_netcdf(path, engine="h5netcdf") as data:
        return data.load()


def from_netcdf(path):
    """Read a file of `to_netcdf` into memory, as what the installed ArviZ works with.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    arviz.InferenceData or xarray.DataTree

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is no netCDF, is damaged, or was written by a newer format version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path {str(path)!r} is no file")
    check_seal(path)
    try:
        data = _read(str(path))
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"path {str(path)!r} is no readable netCDF file, expected one of to_netcdf: {error}"
        ) from error
    version = data.attrs.get("padl_bayes_format", 0)
    if version > FORMAT_VERSION:
        raise ValueError(
            f"path {str(path)!r} has format version {version}, expected at most {FORMAT_VERSION}: "
            f"update padl_bayes to read it"
        )
    return data
