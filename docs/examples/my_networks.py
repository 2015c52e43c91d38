"""A network that timm does not have: the ResNet-20 for CIFAR of He et al. (2016), section 4.2.

In a profile:

    model:
      name: cifar_resnet20
      module: docs/examples/my_networks.py

Three stages of three blocks, of 16, 32 and 64 channels; about 0.27 million weights, at 32 x 32 pixels.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from torch import Tensor, nn
from torch.nn.functional import pad, relu


class Block(nn.Module):
    """Two convolutions around which the input passes; where the maps shrink, new channels begin as zeros (option A)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride, self.more = outputs // inputs, outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        around = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + around)


class CifarResNet(nn.Module):
    """6 * blocks + 2 layers with weights."""

    def __init__(self, blocks: int, in_chans: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16] * (blocks + 1) + [32] * blocks + [64] * blocks
        self.blocks = nn.Sequential(*map(Block, widths, widths[1:]))
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_chans, H, W] to [N, num_classes]."""
        return self.fc(self.blocks(relu(self.bn1(self.conv1(x)))).mean((2, 3)))


@register_model
def cifar_resnet20(in_chans: int = 3, num_classes: int = 10, **_: Any) -> CifarResNet:
    """ResNet-20. timm gives in_chans and num_classes of the profile, model.options, and more that is of no use here."""
    return CifarResNet(3, in_chans, num_classes)
