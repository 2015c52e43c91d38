"""The moving average of a network over the steps of its training, which can be better than where training stopped."""

from __future__ import annotations

from torch import Tensor, nn


class Average:
    """Exponential moving average of a model's parameters and running statistics.

    It begins with the model as it is. decay: share of the average that a step leaves, above 0 and below 1. What never
    moves is its own average, to the last bit; so fixed weights stay what they are. (timm and torch have such averages:
    theirs counts tied parameters twice, or leaves the running statistics behind.)
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        statistics = (buffer for buffer in model.buffers() if buffer.is_floating_point())
        self._current = [*(parameter.detach() for parameter in model.parameters()), *statistics]
        self._average = [tensor.clone() for tensor in self._current]
        self._decay = decay

    def update(self) -> None:
        """Take in the model as it is after a step."""
        for average, current in zip(self._average, self._current, strict=True):
            average.lerp_(current, 1 - self._decay)

    def install_(self) -> None:
        """Put the average into the model."""
        for average, current in zip(self._average, self._current, strict=True):
            current.copy_(average)

    def state(self) -> list[Tensor]:
        """For a checkpoint; `resume` takes it."""
        return self._average

    def resume(self, state: list[Tensor]) -> None:
        """Go on where `state` was taken."""
        for average, kept in zip(self._average, state, strict=True):
            average.copy_(kept)
