"""What a module of this bench gets, and what it yields."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Bench:
    """folder: for everything that is made. seed: of all choices. tries: how many moments or files of each kind."""

    folder: Path
    seed: int
    tries: int

    def choices(self, name: str) -> random.Random:
        """Choices of one part, the same whatever ran before it."""
        return random.Random(f"{self.seed} {name}")


@dataclass(frozen=True)
class Finding:
    """A thing that was tried so many times, and how often it did not end as it must; `faults` says which and how."""

    what: str
    tried: int
    faults: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def survived(self) -> int:
        """Tries that ended as they must."""
        return self.tried - len(self.faults)
