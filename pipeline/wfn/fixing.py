"""The outer loop: rounds of "train towards the centres, then fix a further share" (method, section 3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn.functional import cross_entropy

from pipeline.config import Finetune, Settings
from pipeline.data import Dataset
from pipeline.evaluation import evaluate
from pipeline.images import Images
from pipeline.models import fixable_parameters, trainable_besides
from pipeline.progress import Steps
from pipeline.training import finite, optimizer_for
from pipeline.wfn.clustering import Clustering, cluster
from pipeline.wfn.free import FreeWeights, read_weights, write_weights_
from pipeline.wfn.regulariser import Regulariser
from pipeline.wfn.summary import describe

Round = dict[str, Any]


def delta_schedule(delta: float, rounds: int) -> list[float]:
    """Budget of every round: delta * (T - t), so that the last of the T rounds uses delta itself."""
    return [delta * (rounds - t) for t in range(rounds)]


def fix_network(
    fabric: Fabric,
    model: nn.Module,
    dataset: Dataset,
    settings: Settings,
    generator: torch.Generator,
    on_round: Callable[[int, Round], None],
) -> list[Round]:
    """Fix the weights of a trained `model` in place; returns one row per round.

    on_round gets each row at once, with its number. model: set up by the fabric.
    Parameters that are not fixed (method, section 2) keep on training.
    """
    fixing, finetune = settings.fixing, settings.finetune
    parameters = fixable_parameters(model, batch_norm=fixing.fix_batch_norm)
    deltas = delta_schedule(settings.delta, len(fixing.fractions))
    clustering: Clustering | None = None
    rounds: list[Round] = []
    epoch_steps = dataset.batch_count(finetune.batch_size)
    with Steps("fix", (len(deltas) - 1) * finetune.epochs * epoch_steps) as progress:
        for t, (fraction, delta) in enumerate(zip(fixing.fractions, deltas, strict=True)):
            start = time.perf_counter()
            losses: Round = {"loss": None, "regulariser": None}
            if clustering is not None:  # the network comes trained: no training before the first round
                losses = _train(
                    fabric,
                    model,
                    FreeWeights(parameters, clustering.fixed),
                    trainable_besides(model, parameters),
                    _regulariser(clustering, settings),
                    _epochs(dataset, settings, generator, progress),
                    finetune,
                    settings.alpha,
                )
            before = evaluate(model, dataset)
            clustering = cluster(
                read_weights(parameters),
                fraction,
                delta,
                zero_threshold=fixing.zero_threshold,
                mode=fixing.clustering,
                fixed=None if clustering is None else clustering.fixed,
                distance=fixing.distance,
            )
            write_weights_(parameters, clustering.values)
            after = evaluate(model, dataset)
            row = {
                "round": t,
                "fraction": fraction,
                "delta_t": delta,
                "fixed": float(clustering.fixed.double().mean()),
                **describe(clustering.values[clustering.fixed].cpu().numpy()),
                "top1_before": before.top1,
                "top1_after": after.top1,
                **losses,
                "seconds": round(time.perf_counter() - start, 3),
            }
            rounds.append(row)
            on_round(t, row)
            progress.say(
                f"fix: round {t + 1}/{len(deltas)}: {row['fixed']:.2%} fixed to {row['centres']} centres, "
                f"{row['entropy']:.2f} bits, top-1 {before.top1:.2f} -> {after.top1:.2f}, {row['seconds']:.1f} s"
            )
    return rounds


def _regulariser(clustering: Clustering, settings: Settings) -> Regulariser | None:
    if settings.alpha == 0:
        return None
    return Regulariser(
        clustering.centres,
        zero_threshold=settings.fixing.zero_threshold,
        temperature=settings.fixing.temperature,
        distance=settings.fixing.distance,
    )


def _epochs(dataset: Dataset, settings: Settings, generator: torch.Generator, progress: Steps) -> Iterator[Images]:
    for _ in range(settings.finetune.epochs):
        for batch in dataset.training_batches(settings.finetune.batch_size, generator):
            yield batch
            progress.advance()


def _train(
    fabric: Fabric,
    model: nn.Module,
    free: FreeWeights,
    others: list[nn.Parameter],
    regulariser: Regulariser | None,
    training: Iterator[Images],
    settings: Finetune,
    alpha: float,
) -> Round:
    """Train with a fresh optimiser until `training` ends; returns the mean losses.

    The loss is CE + a * L_reg with a = alpha * CE / L_reg, held constant: the regulariser always weighs alpha times the
    task loss (method, section 7).
    """
    trained = [free.values, *others]
    optimizer = optimizer_for(trained, settings)
    losses = []
    model.train()
    for batch in training:
        model.zero_grad()
        task = cross_entropy(model(batch.pixels), batch.labels)
        fabric.backward(task)
        free.pull_gradients_()
        task = task.detach()
        pull = torch.zeros_like(task)
        if regulariser is not None:
            pull = regulariser.add_pull_(free.gradients, free.values.detach(), task_loss=task, alpha=alpha)
        nn.utils.clip_grad_norm_(trained, settings.clip_norm)
        optimizer.step()
        free.push_values_()
        losses.append(torch.stack([task, pull]))
    if not losses:
        return {"loss": None, "regulariser": None}
    mean_task, mean_pull = (finite(mean, "fix") for mean in torch.stack(losses).mean(dim=0))
    return {"loss": mean_task, "regulariser": mean_pull if regulariser else None}
