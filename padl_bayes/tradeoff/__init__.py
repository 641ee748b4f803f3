"""Sparsity, storage, accuracy: what PADL's two weights cost and buy, computed before it is fitted with them.

`frontier` predicts the surface from one fit, `operating_point` picks weights by name, `generalisation_bound` bounds
what training error hides, `calibrate_alpha` keeps atoms out of noise, `compress` rounds a fit for storage.
"""

from padl_bayes.calibration import Calibration as Calibration
from padl_bayes.calibration import calibrate_alpha as calibrate_alpha
from padl_bayes.calibration import null_excess as null_excess
from padl_bayes.tradeoff.bands import Bands as Bands
from padl_bayes.tradeoff.bands import Choice as Choice
from padl_bayes.tradeoff.bands import bands as bands
from padl_bayes.tradeoff.bands import smallest_dictionary as smallest_dictionary
from padl_bayes.tradeoff.codec import Codec as Codec
from padl_bayes.tradeoff.compress import compress as compress
from padl_bayes.tradeoff.frontier import Frontier as Frontier
from padl_bayes.tradeoff.frontier import Point as Point
from padl_bayes.tradeoff.frontier import frontier as frontier
from padl_bayes.tradeoff.frontier import refine as refine
from padl_bayes.tradeoff.generalisation import GeneralisationBound as GeneralisationBound
from padl_bayes.tradeoff.generalisation import generalisation_bound as generalisation_bound
from padl_bayes.tradeoff.generalisation import sample_losses as sample_losses
from padl_bayes.tradeoff.search import operating_point as operating_point
from padl_bayes.tradeoff.storage import Stored as Stored
from padl_bayes.tradeoff.storage import quantise as quantise
from padl_bayes.tradeoff.storage import storage_bits as storage_bits
