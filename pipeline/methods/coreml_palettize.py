"""coremltools' post-training palettization: k-means per tensor without training, with its default options.

Needs the dependency group `peers`.
"""

from __future__ import annotations

import copy

from coremltools.optimize.torch.palettization import (
    ModulePostTrainingPalettizerConfig,
    PostTrainingPalettizer,
    PostTrainingPalettizerConfig,
)

from pipeline.comparing.fake_quantisation import few_valued
from pipeline.comparing.task import Outcome, Task

BITS = range(1, 9)


def quantise(task: Task) -> Outcome:
    """Palettize the trained network."""
    chosen = ModulePostTrainingPalettizerConfig(n_bits=task.bits)
    # A copy, because the library leaves notes for its converter in the network as buffers.
    palettizer = PostTrainingPalettizer(copy.deepcopy(task.model), PostTrainingPalettizerConfig(global_config=chosen))
    task.model.load_state_dict(palettizer.compress(num_kmeans_workers=1).state_dict(), strict=False)
    return Outcome(few_valued(task.model, 2**task.bits))
