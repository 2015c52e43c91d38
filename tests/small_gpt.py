"""A small GPT on bytes: two layers, 242,000 parameters, the token embedding tied to the head. Plain torch, no download.

It is trained in seconds on the source text of Python's own standard library.
"""

import inspect
import json
import string
import textwrap

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

CONTEXT, WIDTH, HEADS, BYTES = 64, 96, 4, 128
TEXT = "".join(inspect.getsource(module) for module in (inspect, json, string, textwrap)).encode("ascii", "ignore")


class Block(nn.Module):
    """Attention to what came before, then a perceptron; both on normalised input, added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.heads, self.join = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.perceptron = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, time, width]."""
        batch, time, _ = x.shape
        parts = self.heads(self.norms[0](x)).view(batch, time, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.join(attended.transpose(1, 2).reshape(batch, time, WIDTH))
        return x + self.perceptron(self.norms[1](x))


class SmallGPT(nn.Module):
    """Logits [batch, time, bytes] of the next byte, for bytes [batch, time]."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(BYTES, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks, self.norm = nn.Sequential(Block(), Block()), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, BYTES, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: int64 [batch, time]."""
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def batches(count: int, seed: int, part: str = "train") -> list[tuple[Tensor, Tensor]]:
    """Random stretches of the text, each with the same stretch one byte on; the last tenth is for validation."""
    data = torch.frombuffer(bytearray(TEXT), dtype=torch.uint8).long()
    border = len(data) * 9 // 10
    data = data[:border] if part == "train" else data[border:]
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, len(data) - CONTEXT - 1, (count, 16), generator=generator)
    windows = starts[:, :, None] + torch.arange(CONTEXT + 1)
    return [(data[window[:, :-1]], data[window[:, 1:]]) for window in windows]


def loss_of(model: nn.Module, tokens: Tensor, following: Tensor) -> Tensor:
    """Mean cross-entropy, in nats per byte."""
    return cross_entropy(model(tokens).flatten(0, 1), following.flatten())


@torch.no_grad()
def validation_loss(model: nn.Module) -> float:
    """Mean over validation batches that are always the same."""
    return sum(loss_of(model, *batch).item() for batch in batches(8, 0, "validation")) / 8


def trained_gpt(seed: int, steps: int) -> SmallGPT:
    """A model after so many steps of AdamW."""
    torch.manual_seed(seed)
    model = SmallGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for batch in batches(steps, seed):
        optimizer.zero_grad()
        loss_of(model, *batch).backward()
        optimizer.step()
    return model
