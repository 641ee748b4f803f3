"""Log predictive density of held-out samples, the codes integrated out, averaged over the draws of a posterior."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from padl_bayes.comparison.views import effective_error
from padl_bayes.inference.predictive import estimate_all


class Density(NamedTuple):
    """Log predictive density of each sample (M,), and the Monte-Carlo error of their mean."""

    pointwise: np.ndarray
    mcse: float


def log_density(view, problem, n_codes, random_state, watch=None):
    """Return the `Density` of a `View`: log of the mean over its draws g of p(x | g).

    Notes
    -----
    The draws are the same for all samples, so their errors do not average out over samples: by the delta method the
    mean over samples of the logs has the error of the mean over draws of ``mean_n p(x_n | g) / p(x_n)``.
    """
    found = estimate_all(view.key, problem, view.draws, n_codes, random_state, watch)
    n_draws, n_samples = found.log_density.shape
    pointwise = logsumexp(found.log_density, axis=0) - np.log(n_draws)
    if n_draws == 1:
        return Density(pointwise, float(np.sqrt(np.sum(found.standard_error**2)) / n_samples))
    influence = np.exp(found.log_density - pointwise).mean(axis=1)
    return Density(pointwise, effective_error(influence.reshape(view.chains)))
