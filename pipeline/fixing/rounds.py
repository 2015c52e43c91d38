"""The rounds of weight fixing: train towards the centres, measure, fix, measure (method, section 3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.base.errors import DivergedError, InputError
from pipeline.fixing.summary import describe
from pipeline.measuring.evaluation import evaluate
from pipeline.network.parameters import fixable_parameters, trainable_besides
from pipeline.training.device import unwrapped
from pipeline.training.loop import Plan, optimizer_for, train
from pipeline.training.work import Row, Work
from wfn import WeightFixer


class Fixed(NamedTuple):
    """A fixed network: a row per round, its fixed parameters, its values [k], and how many weights have each [k]."""

    rounds: list[Row]
    names: list[str]
    codebook: NDArray[np.float32]
    usage: NDArray[np.int64]


def fix_network(work: Work) -> Fixed:
    """Fix the weights of the work's trained network in place.

    Each round is logged at once. Goes on where the work was broken off. Parameters that are not fixed (method,
    section 2) keep on training. Raises InputError, which names the round, for what the method cannot work with.
    """
    rounds = len(work.settings.fixing.fractions)
    with _named("fix"):
        fixer = fixer_for(work)
    rows: list[Row] = []
    work.around = lambda: {"rows": rows, "fixer": fixer.state_dict()}
    state = work.resume()
    if state is not None:
        rows += state["rows"]
        fixer.load_state_dict(state["fixer"])
        work.progress.say(f"fix: goes on after round {len(rows)}/{rounds}")
        for row in rows:
            work.live.log_step(row["round"], row)
    for round_ in fixer.rounds():
        title = f"fix: round {round_.index + 1}/{rounds}"
        epochs = _train(work, fixer, title) if round_.trains else []
        start = time.perf_counter()
        with _named(title):
            before = evaluate(work.fabric, work.network, work.dataset)
            outcome = fixer.fix_()
            after = evaluate(work.fabric, work.network, work.dataset)
        train_seconds = sum(epoch["seconds"] for epoch in epochs)
        row = {
            "round": round_.index,
            "fraction": round_.fraction,
            "delta_t": round_.delta,
            "fixed": outcome.fixed,
            **describe(fixer.codebook().numpy(), fixer.usage().numpy()),
            "over_budget": outcome.over_budget,
            "top1_before": before.top1,
            "top1_after": after.top1,
            "loss": _mean(epochs, "loss"),
            "regulariser": _mean(epochs, "regulariser") if work.settings.alpha > 0 else None,
            "seconds": round(train_seconds + time.perf_counter() - start, 3),
            "train_seconds": round(train_seconds, 3),
        }
        rows.append(row)
        work.live.log_step(round_.index, row)
        said = [
            f"{title}: {row['fixed']:.2%} fixed to {row['centres']} centres",
            f"{row['entropy']:.2f} bits",
            f"top-1 {before.top1:.2f} -> {after.top1:.2f}",
            f"{row['seconds']:.1f} s",
        ]
        work.keep()
        work.progress.say(", ".join(filter(None, [*said, work.progress.left()])))
        if outcome.over_budget:
            work.progress.say(
                f"{title}: no candidate came within delta_t = {round_.delta:g} of "
                f"{100 * outcome.over_budget:.2g}% of the weights; their values are farther away on average"
            )
    return Fixed(rows, list(fixer.parameters), fixer.codebook().numpy(), fixer.usage().numpy())


@contextmanager
def _named(title: str) -> Iterator[None]:
    """What the library, or a look at the test images, cannot work with is said in a line that begins with a title."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{title}: {error}") from error
    except DivergedError as error:
        raise DivergedError(f"{title}: {error}") from error


def fixer_for(work: Work) -> WeightFixer:
    """The library's fixer as the settings have it, over the network as the fabric runs it."""
    settings, fixing = work.settings, work.settings.fixing
    return WeightFixer(
        fixable_parameters(unwrapped(work.network), fixing),
        delta=settings.delta,
        alpha=settings.alpha,
        fractions=fixing.fractions,
        zero_threshold=fixing.zero_threshold,
        mode=fixing.clustering,
        distance=fixing.distance,
        temperature=fixing.temperature,
    )


def _train(work: Work, fixer: WeightFixer, title: str) -> list[Row]:
    """The training of one round, with a fresh optimiser, towards the centres of the clustering pass before it."""
    chosen = work.settings.finetune
    parameters = list(fixer.parameters.values())
    optimizer = optimizer_for([*parameters, *trainable_besides(work.model, parameters)], chosen)
    fixer.attach(optimizer)
    plan = Plan(
        title,
        "finetune.lr",
        chosen.epochs,
        chosen.batch_size,
        optimizer,
        ema=chosen.ema,
        clip_norm=chosen.clip_norm,
        before_step=partial(_pull, fixer),
        logged=False,
    )
    return train(work, plan)


def _pull(fixer: WeightFixer, loss: Tensor) -> dict[str, Tensor]:
    return {"regulariser": fixer.pull_(loss)}


def _mean(epochs: list[Row], name: str) -> float | None:
    return sum(epoch[name] for epoch in epochs) / len(epochs) if epochs else None
