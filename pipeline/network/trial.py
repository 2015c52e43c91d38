"""A network tried on two pictures before any work begins: one that was built may still not run, or give no classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.base.errors import InputError, one_line
from pipeline.base.settings import Model
from pipeline.data.module import line_of, module_file


def check_runs(model: nn.Module, images: Tensor, settings: Model) -> None:
    """Run `model` on two of the `images` [N, C, H, W], predicting and training, and leave it as it was.

    Raises InputError, in one line that names the network and its options, where it does not run on pictures of this
    size, gives anything but one finite number per class, or has no weights to fix.
    """
    side = "x".join(map(str, images.shape[1:]))
    key = f"model.name = {settings.name}, model.options = {settings.options}"
    if not any(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()):
        raise InputError(f"{key}: has neither convolutions nor linear layers, whose weights are fixed")
    pictures = torch.cat([images, images])[:2].cpu()
    with _as_it_was(model):
        for training in (False, True):
            model.train(training)
            try:
                output = model(pictures)
            except Exception as error:  # of any layer of any network
                raise InputError(
                    f"{key}: does not run on pictures of {side} (data.channels, data.pixels): "
                    f"{line_of(error, module_file(settings))}{one_line(error)}"
                ) from error
            _check_output(output, f"{key}: {'in training ' if training else ''}", settings.outputs)
            if not (training or output.isfinite().all()):
                raise InputError(f"{key}: gives {float(output[~output.isfinite()][0])} for pictures of {side}")


def _check_output(output: object, key: str, classes: int) -> None:
    wanted = f"one number for each of the {classes} classes of model.num_classes is needed, [pictures, {classes}]"
    if not isinstance(output, Tensor):
        raise InputError(f"{key}gives a {type(output).__name__}; {wanted}")
    if output.shape != (2, classes) or not output.is_floating_point():
        shape = ", ".join(map(str, output.shape[1:]))
        raise InputError(f"{key}gives [pictures, {shape}]; {wanted}")


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """What is done inside changes neither buffers nor mode of a model on the CPU, nor torch's random state there."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    was_training = {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    finally:
        for name, buffer in model.named_buffers():
            if name in before:
                buffer.copy_(before[name])
        for module, training in was_training.items():
            module.training = training
