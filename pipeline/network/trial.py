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
    """Run `model` on some of the `images` [N, C, H, W], predicting and training, and leave it as it was.

    Raises InputError, in one line that names the network and its options, where it does not run on pictures of this
    size, or not on batches of several sizes one after the other, gives anything but one finite number per class, cannot
    be trained, has no weights to fix, or tensors that its file cannot have.
    """
    side = "x".join(map(str, images.shape[1:]))
    key = f"model.name = {settings.name}, model.options = {settings.options}"
    if not any(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()):
        raise InputError(f"{key}: has neither convolutions nor linear layers, whose weights are fixed")
    names = _names(model, key)
    pictures = torch.cat([images] * 3)[:3].cpu()
    with _as_it_was(model):
        for training, count in ((False, 2), (True, 2), (True, 3)):
            model.train(training)
            try:
                with torch.set_grad_enabled(training):
                    output = model(pictures[:count])
                    if training and isinstance(output, Tensor):
                        output.float().sum().backward()
            except Exception as error:  # of any layer of any network
                raise InputError(
                    f"{key}: does not run on pictures of {side} (data.channels, data.pixels): "
                    f"{line_of(error, module_file(settings))}{one_line(error)}"
                ) from error
            _check_output(output, f"{key}: {'in training ' if training else ''}", (count, settings.outputs))
            if not (training or output.isfinite().all()):
                raise InputError(f"{key}: gives {float(output[~output.isfinite()][0])} for pictures of {side}")
        if other := sorted(names ^ _names(model, key)):
            raise InputError(f"{key}: {other[0]} comes or goes when it is used; its file cannot have that")


def _names(model: nn.Module, key: str) -> set[str]:
    """Of all that the network's file will have. Raises InputError for what a file of tensors cannot have."""
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor) or isinstance(value, nn.UninitializedParameter | nn.UninitializedBuffer):
            raise InputError(f"{key}: {name} is a {type(value).__name__}; a tensor with a shape is needed")
    for name, parameter in model.named_parameters():
        narrow = parameter.is_floating_point() and parameter.dtype not in (torch.float32, torch.float64)
        if narrow or parameter.is_complex():
            raise InputError(f"{key}: {name} is {parameter.dtype}; torch.float32 is needed")
    return set(state)


def _check_output(output: object, key: str, shape_wanted: tuple[int, int]) -> None:
    classes = shape_wanted[1]
    wanted = f"one number for each of the {classes} classes of model.num_classes is needed, [pictures, {classes}]"
    if not isinstance(output, Tensor):
        raise InputError(f"{key}gives a {type(output).__name__}; {wanted}")
    if output.shape != shape_wanted or not output.is_floating_point():
        shape = ", ".join(map(str, output.shape[1:]))
        raise InputError(f"{key}gives [pictures, {shape}]; {wanted}")


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """What is done inside changes neither buffers, gradients nor mode of a model, nor torch's random state."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    was_training = {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        model.zero_grad(set_to_none=True)
        for name, buffer in model.named_buffers():
            if name in before:
                buffer.copy_(before[name])
        for module, training in was_training.items():
            module.training = training
