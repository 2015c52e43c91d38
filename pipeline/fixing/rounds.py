"""The outer loop: rounds of "train towards the centres, then fix a further share of them" (method, section 3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pipeline.base.settings import Fixing, Settings
from pipeline.data.dataset import Dataset
from pipeline.fixing.summary import describe
from pipeline.fixing.towards import NO_LOSSES, Fixed, Training
from pipeline.measuring.evaluation import evaluate
from pipeline.network.parameters import fixable_parameters
from pipeline.training.checkpoint import Checkpoint
from pipeline.watching.progress import Steps
from wfn.clustering import cluster
from wfn.free import read_weights, write_weights_

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

    def save(training: Training | None) -> None:
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
                training = Training(fabric, network, parameters, latest, settings)
                if unfinished is not None:
                    training.resume(unfinished)
                    start, unfinished = start - unfinished["seconds"], None
                while training.epochs < epochs:
                    training.epoch(dataset, generator, progress)
                    training.seconds = time.perf_counter() - start
                    save(training)
            losses = training.finish() if training else NO_LOSSES
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
                **losses,
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
