"""What the package raises and warns of by a name of its own. Every warning says what to do about it.

``warnings.simplefilter("ignore", padl_bayes.exceptions.PadlWarning)`` silences all of them.
"""

import sys
import warnings


class NotFittedError(ValueError, AttributeError):
    """The estimator was used before `PADL.fit`."""


class PadlWarning(UserWarning):
    """Any warning of this package."""


class ConvergenceWarning(PadlWarning):
    """Something stopped at its budget, or short of the accuracy that was asked for."""


class AtomBoundWarning(PadlWarning):
    """All ``n_atoms`` atoms are in use: the data may want more."""


class MixingWarning(PadlWarning):
    """Chains do not agree (R-hat), or NUTS diverged: the draws are not yet those of the posterior."""


class EnvelopeWarning(PadlWarning):
    """Codes are clipped at the largest training code of their atom far more often than in training."""


class PrecisionWarning(PadlWarning):
    """float32 is too coarse for what was asked."""


class FeatureNamesWarning(PadlWarning):
    """Only one of the data that were fitted and those that are coded has names for its features."""


class UnboundedPosteriorWarning(PadlWarning):
    """Atoms can explain the data without noise, where the posterior density has no bound."""


class KernelsWarning(PadlWarning, RuntimeWarning):
    """A library of C++ or CUDA kernels cannot be used."""


def not_fitted(message):
    """A `NotFittedError`, and scikit-learn's own as well where scikit-learn is in use."""
    theirs = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", None)
    if theirs is None:
        return NotFittedError(message)
    return type("NotFittedError", (NotFittedError, theirs), {})(message)


def warn(message, category):
    """Warn of the line outside the package that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("padl_bayes."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
