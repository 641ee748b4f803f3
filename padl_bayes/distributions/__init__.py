"""The laws of codes and atoms, as NumPyro distributions."""

from padl_bayes.distributions._normaliser import log_normaliser as log_normaliser
from padl_bayes.distributions.l1linf import Envelope as Envelope
from padl_bayes.distributions.l1linf import L1LinfLaplace as L1LinfLaplace
from padl_bayes.distributions.sphere import UniformSphere as UniformSphere
from padl_bayes.distributions.spike_slab import BernoulliGaussian as BernoulliGaussian
from padl_bayes.distributions.spike_slab import BernoulliLaplace as BernoulliLaplace
from padl_bayes.distributions.spike_slab import Gated as Gated
from padl_bayes.distributions.truncated import TruncatedLaplace as TruncatedLaplace
