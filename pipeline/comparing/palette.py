"""Codebooks found by k-means and trained: S. Han, H. Mao, W. Dally, "Deep Compression", ICLR 2016, section 3.

Each weight is an index into a codebook; training moves the codebook's values and never the indices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn

from pipeline.comparing.task import Outcome, Task
from pipeline.network.parameters import trainable_besides

STARTS = 4  # of k-means; the best is kept
HISTOGRAM = 1 << 14  # bins; more distinct weights than that are clustered by their histogram


def k_means(weights: NDArray[np.float32], k: int, seed: int) -> NDArray[np.float32]:
    """At most k values [<= k], rising, with a small sum of squared distances from weights [n] to the nearest value.

    Many weights are clustered by a histogram of equal bins: each bin counts as often as it has weights, at their mean.
    """
    points, counts = np.unique(weights.astype(np.float64), return_counts=True)
    if len(points) > HISTOGRAM:
        edges = np.linspace(points[0], points[-1], HISTOGRAM + 1)
        place = np.clip(np.searchsorted(edges, points, side="right") - 1, 0, HISTOGRAM - 1)
        sums, totals = np.bincount(place, points * counts, HISTOGRAM), np.bincount(place, counts, HISTOGRAM)
        points, counts = sums[totals > 0] / totals[totals > 0], totals[totals > 0]
    if len(points) <= k:
        return np.unique(points).astype(np.float32)
    found = KMeans(k, n_init=STARTS, random_state=seed).fit(points[:, None], sample_weight=counts)
    return np.unique(found.cluster_centers_.astype(np.float32))


def nearest(weights: Tensor, values: Tensor) -> Tensor:
    """Index of the nearest of the rising `values` [k] for weights [n]; halfway goes to the lower."""
    return torch.bucketize(weights, (values[1:] + values[:-1]) / 2)


class Palette:
    """Parameters that take their values from trainable codebooks, one per group of parameters.

    A training step is: backward, `pull_`, optimiser step on `values`, `push_values_`.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]], k: int, seed: int) -> None:
        codebooks: list[Tensor] = []
        self._parts: list[tuple[nn.Parameter, Tensor]] = []
        start = 0
        for group in groups:
            weights = torch.cat([parameter.detach().flatten() for parameter in group])
            values = torch.from_numpy(k_means(weights.cpu().numpy(), k, seed)).to(weights.device)
            for parameter in group:
                self._parts.append((parameter, start + nearest(parameter.detach().flatten(), values)))
            codebooks.append(values)
            start += len(values)
        self.values = nn.Parameter(torch.cat(codebooks))
        self.values.grad = torch.zeros_like(self.values)
        self.push_values_()

    def pull_(self, _: Tensor) -> dict[str, Tensor]:
        """The gradient of a value is the sum over the weights that it stands for (equation 3 there)."""
        gradient = torch.zeros_like(self.values)
        for parameter, indices in self._parts:
            if parameter.grad is not None:
                gradient.index_add_(0, indices, parameter.grad.flatten())
                parameter.grad = None
        self.values.grad = gradient
        return {}

    def push_values_(self) -> None:
        """Copy the codebooks' values into the network."""
        with torch.no_grad():
            for parameter, indices in self._parts:
                parameter.copy_(self.values[indices].view_as(parameter))


def fine_tuned(task: Task, groups: Sequence[Mapping[str, nn.Parameter]]) -> Outcome:
    """One codebook of 2^bits values for each group of parameters, trained together with all other parameters."""
    palette = Palette([list(group.values()) for group in groups], 2**task.bits, task.settings.seed)
    others = trainable_besides(task.model, [parameter for group in groups for parameter in group.values()])
    optimizer = task.as_fixing_trains([palette.values, *others])
    task.train(optimizer, task.settings.training_epochs, before_step=palette.pull_, after_step=palette.push_values_)
    return Outcome([list(group) for group in groups])
