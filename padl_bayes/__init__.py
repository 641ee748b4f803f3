"""Parsimoniously activated dictionary learning with uncertainty."""

import importlib

from . import arviz_io as arviz_io
from . import datasets as datasets
from . import distributions as distributions
from . import exceptions as exceptions
from . import imaging as imaging
from . import inference as inference
from . import models as models
from . import tradeoff as tradeoff
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
from .reliability import Reliability as Reliability
from .reliability import posterior_atoms as posterior_atoms
from .reliability import reappearance as reappearance
from .reliability import reliability as reliability
from .sparse_coding import SparseCode as SparseCode
from .sparse_coding import sparse_code as sparse_code
from .sparse_coding import sparse_code_path as sparse_code_path
from .versions import show_versions as show_versions

__version__ = "0.1.0"


def __getattr__(name):
    # drawing is imported by those who draw
    if name == "plots":
        return importlib.import_module(f"{__name__}.plots")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
