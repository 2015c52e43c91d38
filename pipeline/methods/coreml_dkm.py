"""coremltools' differentiable k-means (DKM: M. Cho et al., ICLR 2022): palettes per tensor, found while training.

Needs the dependency group `peers`, and patience or a GPU: the library clusters every tensor anew at every step. By
default it leaves small tensors alone.
"""

from __future__ import annotations

from coremltools.optimize.torch.palettization import DKMPalettizer, DKMPalettizerConfig, ModuleDKMPalettizerConfig

from pipeline.comparing.fake_quantisation import few_valued
from pipeline.comparing.task import Outcome, Task

BITS = range(1, 9)
NOTES = "_COREML_"


def quantise(task: Task) -> Outcome:
    """Train the network with palettes in its forward pass."""
    chosen = ModuleDKMPalettizerConfig(n_bits=task.bits)
    palettizer = DKMPalettizer(task.model, DKMPalettizerConfig(global_config=chosen))
    palettizer.prepare(inplace=True)
    optimizer = task.sgd(task.model.parameters())
    task.train(optimizer, task.settings.training_epochs, after_step=palettizer.step)
    palettizer.finalize(inplace=True)
    for module in task.model.modules():  # notes for the library's converter, which would count as buffers
        for name in [name for name, _ in module.named_buffers(recurse=False) if name.startswith(NOTES)]:
            delattr(module, name)
    return Outcome(few_valued(task.model, 2**task.bits))
