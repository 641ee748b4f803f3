"""Exact Gibbs sampling of `models.padl`."""

from .kernel import Gibbs as Gibbs
from .run import GibbsDraws as GibbsDraws
from .run import gibbs_nbytes as gibbs_nbytes
from .run import sample_gibbs as sample_gibbs
from .transition import GibbsState as GibbsState
