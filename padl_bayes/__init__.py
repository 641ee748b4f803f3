"""Parsimoniously activated dictionary learning with uncertainty."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import arviz_io as arviz_io
    from . import datasets as datasets
    from . import distributions as distributions
    from . import exceptions as exceptions
    from . import imaging as imaging
    from . import inference as inference
    from . import models as models
    from . import plots as plots
    from . import tradeoff as tradeoff
    from .agreement import Reliability as Reliability
    from .agreement import posterior_atoms as posterior_atoms
    from .agreement import reappearance as reappearance
    from .agreement import reliability as reliability
    from .alignment import align as align
    from .alignment import match as match
    from .alignment import recovered as recovered
    from .calibration import calibrate_alpha as calibrate_alpha
    from .comparison import compare as compare
    from .estimator import PADL as PADL
    from .exceptions import ConvergenceWarning as ConvergenceWarning
    from .exceptions import NotFittedError as NotFittedError
    from .persistence import load as load
    from .persistence import save as save
    from .sparse_coding import SparseCode as SparseCode
    from .sparse_coding import sparse_code as sparse_code
    from .sparse_coding import sparse_code_path as sparse_code_path
    from .versions import show_versions as show_versions

__version__ = "0.1.0"

# Imported when they are asked for: the help of the command line and its completion need no JAX.
_MODULES = (
    "arviz_io", "datasets", "distributions", "exceptions", "imaging", "inference", "models", "plots", "tradeoff",
)  # fmt: skip
_HOMES = {
    "agreement": ("Reliability", "posterior_atoms", "reappearance", "reliability"),
    "alignment": ("align", "match", "recovered"),
    "calibration": ("calibrate_alpha",),
    "comparison": ("compare",),
    "estimator": ("PADL",),
    "exceptions": ("ConvergenceWarning", "NotFittedError"),
    "persistence": ("load", "save"),
    "sparse_coding": ("SparseCode", "sparse_code", "sparse_code_path"),
    "versions": ("show_versions",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted([*_MODULES, *_HOME_OF])


def __getattr__(name):
    if name in _HOME_OF:
        found = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = found
        return found
    if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
