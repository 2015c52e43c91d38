"""What an engine does for a sweep. Queues, retries and the health of machines are its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from pipeline.base.errors import InputError
from pipeline.base.settings import Settings
from pipeline.spreading.cell import Cell, News, Outcome, Source


class Needs(NamedTuple):
    """What one cell takes of a machine. cores: None for all that it has."""

    cores: int | None
    gpus: int


class Engine(Protocol):
    """Makes cells, each after those that it waits for."""

    def refusals(self, source: Source) -> list[str]:
        """Which of the machines that are known already can make no stage, and why; asked before anything is made."""

    def start(self, source: Source, cells: Sequence[Cell], waits: Mapping[str, set[str]]) -> None:
        """Hand over all cells, in an order in which none comes before one that it waits for."""

    def news(self) -> Sequence[News | Outcome]:
        """What has happened since; waits for a moment where nothing has."""

    def stop(self) -> None:
        """Have whatever is at work stop, and nothing else begin; returns once it has."""

    def close(self) -> None:
        """Give back what the engine holds, in whatever state it is."""


def needs_of(settings: Settings, gpus: bool) -> Needs:
    """What the settings ask for. gpus: whether the machines have any. Raises InputError for several machines a cell."""
    hardware = settings.hardware
    if hardware.nodes > 1:
        raise InputError(f"hardware.nodes = {hardware.nodes}: a cell has one machine; allowed here: 1 (docs/scale.md)")
    if gpus and hardware.accelerator in ("auto", "cuda"):
        return Needs(1, hardware.devices)
    return Needs(settings.threads and settings.threads * hardware.devices, 0)
