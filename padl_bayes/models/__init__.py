"""NumPyro programs, one a file."""

if __name__ == "models":
    raise ImportError("'models' is a link to padl_bayes/models: write 'import padl_bayes.models' instead")

from padl_bayes.models.hyperpriors import Hyperpriors as Hyperpriors
from padl_bayes.models.hyperpriors import check_hyperpriors as check_hyperpriors
from padl_bayes.models.hyperpriors import hyperpriors_from as hyperpriors_from
from padl_bayes.models.laplace import laplace as laplace
from padl_bayes.models.padl import padl as padl
