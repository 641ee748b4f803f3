"""Jobs of the command line: data or a fit in, files and a report out."""

from padl_bayes.runs.fit import fit_run as fit_run
from padl_bayes.runs.posterior import left_of_sampling as left_of_sampling
from padl_bayes.runs.posterior import posterior_run as posterior_run
from padl_bayes.runs.posterior import sample_run as sample_run
from padl_bayes.runs.sources import fitted_to as fitted_to
from padl_bayes.runs.sources import holds_fit as holds_fit
from padl_bayes.runs.sources import image_shape_of as image_shape_of
from padl_bayes.runs.sources import load_fit as load_fit
from padl_bayes.runs.tradeoff import tradeoff_run as tradeoff_run
from padl_bayes.runs.transform import transform_run as transform_run
