"""A smaller first convolution for small pictures, as networks for CIFAR have it."""

from torch import nn


def replace_stem(model: nn.Module, *, kernel: int, stride: int, pool: bool) -> nn.Conv2d:
    """Give a ResNet another `conv1`, without bias and padded by half of its kernel; without `pool`, no max-pool.

    Returns the new convolution, with torch's initial weights. Raises ValueError for a model that has no `conv1` and
    `maxpool`.
    """
    first = getattr(model, "conv1", None)
    if not isinstance(first, nn.Conv2d) or not isinstance(getattr(model, "maxpool", None), nn.Module):
        raise ValueError("this model has no conv1 and maxpool to replace")
    replaced = nn.Conv2d(first.in_channels, first.out_channels, kernel, stride, padding=kernel // 2, bias=False)
    model.conv1 = replaced
    if not pool:
        model.maxpool = nn.Identity()
    return replaced
