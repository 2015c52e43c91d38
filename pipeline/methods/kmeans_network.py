"""One k-means codebook of 2^bits values for the whole network, fine-tuned: what WFN does, with plain clustering.

It covers the parameters that WFN fixes, batch-norm included where `fixing.fix_batch_norm` says so.
"""

from __future__ import annotations

from pipeline.comparing.palette import fine_tuned
from pipeline.comparing.task import Outcome, Task
from pipeline.network.parameters import fixable_parameters

BITS = range(1, 13)


def quantise(task: Task) -> Outcome:
    """Cluster all weights together."""
    return fine_tuned(task, [fixable_parameters(task.model, task.settings.fixing)])
