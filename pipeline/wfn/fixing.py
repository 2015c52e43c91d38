"""The outer loop: rounds of "train towards the centres, then fix a further share of them" (method, section 3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pipeline.checkpoint import Checkpoint
from pipeline.config import Fixing, Settings
from pipeline.data import Dataset
from pipeline.device import backward, share_of
from pipeline.evaluation import evaluate
from pipeline.images import Images
from pipeline.models import fixable_parameters, trainable_besides
from pipeline.progress import Steps
from pipeline.training import finite, optimizer_for
from pipeline.wfn.clustering import cluster
from pipeline.wfn.free import FreeWeights, read_weights, write_weights_
from pipeline.wfn.regulariser import Regulariser
from pipeline.wfn.summary import describe

Round = dict[str, Any]


def delta_schedule(delta: float, rounds: int) -> list[float]:
    """Budget of every round: delta * (T - t), so that the last of the T rounds uses delta itself."""
    return [delta * (rounds - t) for t in range(rounds)]


def fix_network(
    fabric: Fabric,
    network: nn.Module,
    dataset: Dataset,
    settings: Settings,
    generator: torch.Generator,
    on_round: Callable[[int, Round], None],
    checkpoint: Checkpoint | None = None,
) -> list[Round]:
    """Fix the weights of a trained network in place; returns one row per round.

    network: set up by the fabric. on_round gets each row at once, with its number. Goes on from the checkpoint, where
    there is one. Parameters that are not fixed (method, section 2) keep on training.
    """
    fixing, epochs = settings.fixing, settings.finetune.epochs
    parameters = fixable_parameters(network, fixing.parameters, batch_norm=fixing.fix_batch_norm)
    deltas = delta_schedule(settings.delta, len(fixing.fractions))
    rounds: list[Round] = []
    latest: Fixed | None = None
    unfinished: dict[str, Any] | None = None
    epoch_steps = dataset.batch_count(settings.finetune.batch_size)

    def save(training: _Training | None) -> None:
        if checkpoint and checkpoint.due():
            checkpoint.save(
                {
                    "rounds": rounds,
                    "latest": None if latest is None else latest._asdict(),
                    "network": network.state_dict(),
                    "training": None if training is None else training.state(),
                    "generator": generator.get_state(),
                }
            )

    state = checkpoint.load() if checkpoint else None
    if state is not None:
        rounds = state["rounds"]
        latest = Fixed(**{name: value.to(fabric.device) for name, value in state["latest"].items()})
        network.load_state_dict(state["network"])
        unfinished = state["training"]
        generator.set_state(state["generator"])
        for t, row in enumerate(rounds):
            on_round(t, row)

    done = max(0, len(rounds) - 1) * epochs + (unfinished["epochs"] if unfinished else 0)
    steps, quiet = (len(deltas) - 1) * epochs * epoch_steps, not fabric.is_global_zero
    with Steps("fix", steps, done * epoch_steps, quiet) as progress:
        if state is not None:
            progress.say(f"fix: goes on after round {len(rounds)}/{len(deltas)} and {done} epochs")
        for t in range(len(rounds), len(deltas)):
            start = time.perf_counter()
            training = None
            if latest is not None:  # the network comes trained: no training before the first round
                training = _Training(fabric, network, parameters, latest, settings)
                if unfinished is not None:
                    training.resume(unfinished)
                    start, unfinished = start - unfinished["seconds"], None
                while training.epochs < epochs:
                    training.epoch(dataset, generator, progress)
                    training.seconds = time.perf_counter() - start
                    save(training)
            before = evaluate(fabric, network, dataset)
            latest = _cluster(fabric, parameters, fixing.fractions[t], deltas[t], latest, fixing)
            after = evaluate(fabric, network, dataset)
            row = {
                "round": t,
                "fraction": fixing.fractions[t],
                "delta_t": deltas[t],
                "fixed": float(latest.fixed.double().mean()),
                **describe(read_weights(parameters)[latest.fixed].cpu().numpy()),
                "top1_before": before.top1,
                "top1_after": after.top1,
                **(training.mean_losses() if training else NO_LOSSES),
                "seconds": round(time.perf_counter() - start, 3),
                "train_seconds": round(training.seconds, 3) if training else 0.0,
            }
            rounds.append(row)
            on_round(t, row)
            progress.say(
                f"fix: round {t + 1}/{len(deltas)}: {row['fixed']:.2%} fixed to {row['centres']} centres, "
                f"{row['entropy']:.2f} bits, top-1 {before.top1:.2f} -> {after.top1:.2f}, {row['seconds']:.1f} s"
            )
            save(None)
    return rounds


class Fixed(NamedTuple):
    """What the latest clustering pass left: which weights are fixed, bool [N], and the centres [k]."""

    fixed: Tensor
    centres: Tensor


def _cluster(
    fabric: Fabric,
    parameters: list[nn.Parameter],
    fraction: float,
    delta: float,
    latest: Fixed | None,
    fixing: Fixing,
) -> Fixed:
    """One clustering pass, written into the network: the first process's, for all of them."""
    parts: tuple[Tensor, ...] = ()
    if fabric.is_global_zero:
        found = cluster(
            read_weights(parameters),
            fraction,
            delta,
            zero_threshold=fixing.zero_threshold,
            mode=fixing.clustering,
            fixed=None if latest is None else latest.fixed,
            distance=fixing.distance,
        )
        parts = found.values, found.fixed, found.centres
    if fabric.world_size > 1:
        parts = fabric.broadcast(tuple(part.cpu() for part in parts))
    values, fixed, centres = (part.to(fabric.device) for part in parts)
    write_weights_(parameters, values)
    return Fixed(fixed, centres)


NO_LOSSES: Round = {"loss": None, "regulariser": None}


class _Training:
    """The training of one round, with a fresh optimiser, epoch by epoch.

    The loss is CE + a * L_reg with a = alpha * CE / L_reg, held constant: the regulariser always weighs alpha times the
    task loss (method, section 7).
    """

    def __init__(
        self, fabric: Fabric, network: nn.Module, parameters: list[nn.Parameter], latest: Fixed, settings: Settings
    ) -> None:
        self._fabric, self._network, self._settings = fabric, network, settings
        self._free = FreeWeights(parameters, latest.fixed)
        self._trained = [self._free.values, *trainable_besides(network, parameters)]
        self._optimizer = optimizer_for(self._trained, settings.finetune)
        self._regulariser = _regulariser(latest.centres, settings)
        self._losses: list[Tensor] = []
        self.epochs = 0
        self.seconds = 0.0

    def state(self) -> dict[str, Any]:
        """For a checkpoint; `resume` takes it."""
        return {
            "epochs": self.epochs,
            "seconds": self.seconds,
            "optimizer": self._optimizer.state_dict(),
            "losses": torch.stack(self._losses),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; the network must be as it was then."""
        self.epochs, self.seconds = state["epochs"], state["seconds"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._losses = list(state["losses"].to(self._free.values.device))

    def epoch(self, dataset: Dataset, generator: torch.Generator, progress: Steps) -> None:
        """Train over all images once."""
        share, size = share_of(self._fabric), self._settings.finetune.batch_size
        self._network.train()
        for batch in dataset.training_batches(size, generator, share):
            self._step(batch)
            progress.advance()
        self.epochs += 1

    def _step(self, batch: Images) -> None:
        free = self._free
        self._network.zero_grad()
        task = backward(self._fabric, self._network, batch, self._settings.hardware.accumulate)
        free.pull_gradients_()
        pull = torch.zeros_like(task)
        if self._regulariser is not None:
            alpha = self._settings.alpha
            pull = self._regulariser.add_pull_(free.gradients, free.values.detach(), task_loss=task, alpha=alpha)
        nn.utils.clip_grad_norm_(self._trained, self._settings.finetune.clip_norm)
        self._optimizer.step()
        free.push_values_()
        self._losses.append(torch.stack([task, pull]))

    def mean_losses(self) -> Round:
        """Mean over all steps of the round; None for a loss that there was not."""
        if not self._losses:
            return NO_LOSSES
        task, pull = (finite(mean, "fix") for mean in torch.stack(self._losses).mean(dim=0))
        return {"loss": task, "regulariser": pull if self._regulariser else None}


def _regulariser(centres: Tensor, settings: Settings) -> Regulariser | None:
    if settings.alpha == 0:
        return None
    return Regulariser(
        centres,
        zero_threshold=settings.fixing.zero_threshold,
        temperature=settings.fixing.temperature,
        distance=settings.fixing.distance,
    )
