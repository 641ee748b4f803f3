"""Inference engines, one a file."""

if __name__ == "inference":
    raise ImportError(
        "'inference' is a link to padl_bayes/inference: write 'import padl_bayes.inference' instead"
    )

from .em import fit_em as fit_em
from .gibbs import Gibbs as Gibbs
from .gibbs import GibbsDraws as GibbsDraws
from .gibbs import sample_gibbs as sample_gibbs
from .map import fit_map as fit_map
from .minibatch import fit_em_minibatch as fit_em_minibatch
from .nuts import sample_nuts as sample_nuts
from .predictive import log_predictive as log_predictive
from .predictive import pointwise_log_likelihood as pointwise_log_likelihood
from .predictive import posterior_predictive as posterior_predictive
from .results import EmFit as EmFit
from .results import MapFit as MapFit
from .results import SaemFit as SaemFit
from .saem import fit_saem as fit_saem
from .svi import fit_svi as fit_svi
