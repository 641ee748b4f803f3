"""What a file may hold: names and the types they stand for. Nothing else is made when a file is read."""

from padl_bayes.alignment import Alignment
from padl_bayes.calibration import Calibration
from padl_bayes.estimator import PADL
from padl_bayes.inference.gibbs import GibbsDraws
from padl_bayes.inference.gibbs.transition import GibbsState
from padl_bayes.inference.nuts import NutsDraws
from padl_bayes.inference.results import EmFit, MapFit, SaemFit
from padl_bayes.inference.svi import SviFit
from padl_bayes.sparse_coding import SparseCode
from padl_bayes.tradeoff.channel import SpikeSlab
from padl_bayes.tradeoff.frontier import Frontier, Point
from padl_bayes.tradeoff.sources import Source

RECORDS: dict[str, type] = {
    "Alignment": Alignment,
    "Calibration": Calibration,
    "EmFit": EmFit,
    "Frontier": Frontier,
    "GibbsDraws": GibbsDraws,
    "GibbsState": GibbsState,
    "MapFit": MapFit,
    "NutsDraws": NutsDraws,
    "Point": Point,
    "SaemFit": SaemFit,
    "Source": Source,
    "SparseCode": SparseCode,
    "SpikeSlab": SpikeSlab,
    "SviFit": SviFit,
}
ESTIMATORS = {"PADL": PADL}
