"""MAP against full Bayes: any fits side by side, by what they predict of samples that they have not seen."""

from padl_bayes.comparison.atoms import Activation as Activation
from padl_bayes.comparison.run import compare as compare
from padl_bayes.comparison.table import Comparison as Comparison
from padl_bayes.comparison.table import Row as Row
