"""Figures of fits and posteriors.

Every function draws into the axes (or figure) it is given, or into a figure of its own that pyplot knows nothing of,
and returns what it drew into: ``ax.figure.savefig("name.png")`` writes it.
"""

from padl_bayes.plots.activation import activation_log_odds as activation_log_odds
from padl_bayes.plots.activation import activation_probability as activation_probability
from padl_bayes.plots.activation import atoms_per_sample as atoms_per_sample
from padl_bayes.plots.activation import usage as usage
from padl_bayes.plots.atoms import gallery as gallery
from padl_bayes.plots.bands import atom_bands as atom_bands
from padl_bayes.plots.chains import energy as energy
from padl_bayes.plots.chains import rank as rank
from padl_bayes.plots.comparison import comparison as comparison
from padl_bayes.plots.fits import activation_by_fit as activation_by_fit
from padl_bayes.plots.fits import coverage as coverage
from padl_bayes.plots.fits import num_active as num_active
from padl_bayes.plots.reconstruction import code_intervals as code_intervals
from padl_bayes.plots.reconstruction import reconstruction as reconstruction
from padl_bayes.plots.reconstruction import reconstruction_gallery as reconstruction_gallery
from padl_bayes.plots.reliability import reliability as reliability
from padl_bayes.plots.traces import history as history
from padl_bayes.plots.traces import trace as trace
from padl_bayes.plots.tradeoff import frontier as frontier
from padl_bayes.plots.tradeoff import learning_curve as learning_curve
from padl_bayes.plots.tradeoff import predicted_refitted as predicted_refitted
from padl_bayes.plots.tradeoff import storage_breakdown as storage_breakdown
