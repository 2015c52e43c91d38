"""A GPT that is trained within a test: two layers, tied embedding and head, 240,576 parameters, Python's own text."""

import sysconfig
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

VOCABULARY, CONTEXT, WIDTH, HEADS, LAYERS, BATCH, RATE = 128, 64, 96, 4, 2, 16, 3e-3
TRAINING = ("argparse", "ast", "difflib", "doctest", "inspect", "pickle", "subprocess", "tarfile", "typing")


class Block(nn.Module):
    """Attention to what came before, then two layers for each position alone; both added to their input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.project = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, WIDTH]
        heads = self.attend(self.norm1(x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # [3, B, HEADS, T, d]
        x = x + self.project(scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.narrow(nn.functional.gelu(self.widen(self.norm2(x))))


class SmallGPT(nn.Module):
    """Logits [B, T, VOCABULARY] of the characters that follow each of `characters` [B, T]."""

    def __init__(self) -> None:
        super().__init__()
        self.characters, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.characters.weight = self.head.weight
        nn.init.normal_(self.positions.weight, std=0.05)

    def forward(self, characters: Tensor) -> Tensor:
        x = self.characters(characters) + self.positions.weight[: characters.shape[1]]
        return self.head(self.norm(self.blocks(x)))


@cache
def text(modules: tuple[str, ...]) -> Tensor:
    """The bytes of modules of the standard library, one after the other [N]; those beyond ASCII as the last one."""
    characters = b"".join(Path(sysconfig.get_path("stdlib"), f"{module}.py").read_bytes() for module in modules)
    return torch.tensor(list(characters)).clamp(max=VOCABULARY - 1)


def training_loss(model: nn.Module, generator: torch.Generator) -> Tensor:
    """Mean loss of one batch of random places of the training text."""
    starts = torch.randint(len(text(TRAINING)) - CONTEXT, (BATCH, 1), generator=generator)
    return _loss(model, text(TRAINING)[starts + torch.arange(CONTEXT + 1)])


def _loss(model: nn.Module, windows: Tensor) -> Tensor:
    return cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


def trained_gpt(seed: int, steps: int) -> SmallGPT:
    """A network after so many steps; the same for the same seed, and the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        generator = torch.manual_seed(seed)
        model = SmallGPT()
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
        for _ in range(steps):
            optimizer.zero_grad()
            training_loss(model, generator).backward()
            optimizer.step()
    return model


@torch.no_grad()
def validation_loss(model: nn.Module) -> float:
    """Mean loss, in nats a character, over the first 8,192 characters of a module that was not trained on."""
    return float(_loss(model, text(("statistics",))[: 128 * CONTEXT + 1].unfold(0, CONTEXT + 1, CONTEXT)))
