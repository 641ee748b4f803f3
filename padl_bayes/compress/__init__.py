"""Networks made smaller and cheaper by dictionaries of few atoms: needs ``pip install 'padl-bayes[compress]'``.

Nothing here is imported by ``import padl_bayes``.
"""

from padl_bayes.compress.files import load_weights as load_weights
from padl_bayes.compress.files import read_layers as read_layers
from padl_bayes.compress.files import save_weights as save_weights
from padl_bayes.compress.weights import compress_weights as compress_weights
