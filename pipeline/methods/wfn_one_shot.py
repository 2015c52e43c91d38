"""WFN without its rounds: a single clustering pass over the trained network, and no training. An ablation."""

from __future__ import annotations

from pipeline.base.settings import InputError
from pipeline.comparing.task import Outcome, Task
from pipeline.network.models import fixable_parameters, names_of
from wfn.clustering import cluster
from wfn.free import read_weights, write_weights_

BITS = None


def quantise(task: Task) -> Outcome:
    """Fix every weight at once within the quantiser's `delta`."""
    delta, fixing = task.quantiser.delta, task.settings.fixing
    if delta is None:
        raise InputError("baselines.quantisers: wfn_one_shot needs a delta, as in {method: wfn_one_shot, delta: 0.01}")
    parameters = fixable_parameters(task.model, fixing.parameters, batch_norm=fixing.fix_batch_norm)
    clustering = cluster(
        read_weights(parameters),
        fraction=1.0,
        delta=delta,
        zero_threshold=fixing.zero_threshold,
        distance=fixing.distance,
    )
    write_weights_(parameters, clustering.values)
    return Outcome([], [names_of(task.model, parameters)])
