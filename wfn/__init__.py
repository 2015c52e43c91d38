"""Weight Fixing Networks: give a whole neural network one small set of weights to share.

`WeightFixer` works around any training loop, `fix` without one; what they are made of can be used by itself: the choice
of values (`cluster`, from `candidate_centres`), and the pull towards them (`Regulariser`).
"""

from wfn.centres import candidate_centres, power_terms
from wfn.clustering import Clustering, cluster
from wfn.fixer import WeightFixer, fix
from wfn.regulariser import Regulariser
from wfn.rounds import delta_schedule

__version__ = "0.2.0"
__all__ = [
    "Clustering",
    "Regulariser",
    "WeightFixer",
    "candidate_centres",
    "cluster",
    "delta_schedule",
    "fix",
    "power_terms",
]
