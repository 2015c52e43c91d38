"""Weight Fixing Networks: give a whole neural network one small set of weights to share.

`WeightFixer` works around any training loop, `fix` without one; what they are made of can be used by itself: the choice
of values (`cluster`, from `candidate_centres`), and the pull towards them (`Regulariser`). `pack` writes a network of
few values to a file that is really small, `unpack` and `load` read it, `inspect` says what it holds.
"""

from wfn.method.centres import candidate_centres, power_terms
from wfn.method.clustering import Clustering, cluster
from wfn.method.fixer import WeightFixer, fix
from wfn.method.regulariser import Regulariser
from wfn.method.rounds import delta_schedule
from wfn.packed.decode import inspect, unpack
from wfn.packed.encode import pack
from wfn.packed.network.loading import load

__version__ = "0.3.0"
__all__ = [
    "Clustering",
    "Regulariser",
    "WeightFixer",
    "candidate_centres",
    "cluster",
    "delta_schedule",
    "fix",
    "inspect",
    "load",
    "pack",
    "power_terms",
    "unpack",
]
