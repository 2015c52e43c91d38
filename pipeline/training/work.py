"""What a piece of work that trains has at hand, and how it goes on after it was broken off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from pipeline.base.settings import Settings
from pipeline.data.dataset import Dataset
from pipeline.training.checkpoint import Checkpoint, random_states, resumable, set_random_states
from pipeline.training.device import set_up
from pipeline.watching.labels import label_of
from pipeline.watching.progress import Steps
from pipeline.watching.tracking import LiveRun, live_run

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What is to be done: a DVC stage and the settings that decide its result.

    decides: those settings, for settings.json. inputs: files that decide it beside the data set. epochs, batch_size: of
    all its training, for the progress.
    """

    stage: str
    decides: Mapping[str, Any]
    inputs: Sequence[Path]
    epochs: int
    batch_size: int


@dataclass
class Work:
    """A piece of work: the device, the model, the images, and the settings as they are followed.

    trainings: rows of the epochs of each training that has ended, by its title. around: what the work around its
    trainings needs to go on after them, for a checkpoint. names: of the weights and statistics of the model as it came.
    """

    fabric: Fabric
    model: nn.Module
    dataset: Dataset
    settings: Settings
    job: Job
    live: LiveRun
    checkpoint: Checkpoint
    progress: Steps
    generator: torch.Generator = field(init=False)
    names: frozenset[str] = field(init=False)
    trainings: dict[str, list[Row]] = field(default_factory=dict)
    around: Callable[[], dict[str, Any]] = dict

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.settings.seed)
        self.names = frozenset(self.model.state_dict())
        self._state = self.checkpoint.load()

    @cached_property
    def network(self) -> nn.Module:
        """The model as the fabric runs it; set up at first use, when everything that it trains is in its place."""
        return set_up(self.fabric, self.model, self.settings.hardware)

    @property
    def epochs(self) -> list[Row]:
        """Rows of all epochs of the trainings that have ended."""
        return [row for rows in self.trainings.values() for row in rows]

    def resume(self) -> dict[str, Any] | None:
        """Go on where the work was broken off: network and random states as they were.

        Returns what `around` gave then; None where the work begins anew.
        """
        if self._state is None:
            return None
        self.network.load_state_dict(self._state["network"])
        self.generator.set_state(self._state["generator"])
        set_random_states(self._state["random"])
        self.trainings = dict(self._state["trainings"])
        return dict(self._state["around"])

    def ended(self, title: str) -> list[Row] | None:
        """Rows of a training that had ended before the work was broken off; None for any other."""
        rows: list[Row] | None = None if self._state is None else self._state["trainings"].get(title)
        return rows

    def unfinished(self, title: str) -> dict[str, Any] | None:
        """The state of the training in which the work was broken off, once; network and random states are put back."""
        if self._state is None or self._state["training"] is None or self._state["training"]["title"] != title:
            return None
        self.resume()
        state, self._state = self._state["training"], None
        return dict(state)

    def keep(self, training: Callable[[], dict[str, Any]] | None = None) -> None:
        """Keep where the work is, to go on from there: in a `training` of this state, or between trainings."""
        self.checkpoint.keep(
            {
                "network": self.network.state_dict(),
                "generator": self.generator.get_state(),
                "random": random_states(),
                "trainings": self.trainings,
                "around": self.around(),
                "training": training() if training else None,
            }
        )


@contextmanager
def at_work(fabric: Fabric, model: nn.Module, dataset: Dataset, settings: Settings, job: Job) -> Iterator[Work]:
    """A piece of work: logged live, with its progress shown, and with a checkpoint that is removed at its end."""
    steps = job.epochs * dataset.batch_count(job.batch_size)
    with (
        live_run(label_of(job.stage, job.decides), job.decides, fabric.is_global_zero) as live,
        resumable(fabric, {**job.decides, "card": dataset.card}, job.inputs) as checkpoint,
        Steps(job.stage, steps, quiet=not fabric.is_global_zero) as progress,
    ):
        yield Work(fabric, model, dataset, settings, job, live, checkpoint, progress)
