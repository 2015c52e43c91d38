"""Weight fixing around any training loop: rounds of "train towards the centres, then fix a further share of them"."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wfn.compiling import uncompiled
from wfn.method.centres import LARGEST, Distance, ladder
from wfn.method.clustering import Mode, cluster
from wfn.method.order import StepOrder
from wfn.method.parameters import Include, Source, choose, flat, rounded
from wfn.method.part import FREE, Part
from wfn.method.processes import from_first, in_all, mean_over_processes
from wfn.method.regulariser import Regulariser
from wfn.method.rounds import FRACTIONS, Outcome, Round, plan
from wfn.method.step_hooks import check_optimizer, held_by, trained, unwatch, watch

# Of a gradient that the pull adds.
STRONGEST = LARGEST / 8


class WeightFixer:
    """Gives the weights of a model, or of any list of parameters, few values that all of them share.

        fixer = WeightFixer(model, delta=0.01)
        fixer.attach(optimizer)
        for round in fixer.rounds():
            for x, y in loader if round.trains else ():
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                fixer.pull_(loss)
                optimizer.step()
            fixer.fix_()

    parameters: a module, or parameters, named or not. Weights of float32, float64, bfloat16 and float16 are clustered
    as float32 and written back in their own type; where a model has several types, values are rounded to all of them,
    so that they stay shared. Parameters that want no gradient are fixed and not trained.
    delta: the mean relative distance between weights and their value in the last round; alpha: the regulariser's share
    of the task loss, 0 for none; fractions: share of the weights fixed after each round, rising to 1; zero_threshold,
    mode, distance: as in `cluster`; temperature: as in `Regulariser`; include, exclude: which parameters, as `choose`
    in wfn/method/parameters.py says.

    The model's code and the optimiser's stay as they are: hooks around the optimiser's step take the gradients of fixed
    weights away before it and put their values back after it, so they do not move by one bit, whatever the optimiser
    keeps of the past.

    With torch.distributed, every process makes the same calls; the first one clusters, all hold its result.

    Raises ValueError for arguments out of range and for a parameter that cannot be fixed, which it names.
    """

    def __init__(
        self,
        parameters: Source,
        *,
        delta: float,
        alpha: float = 0.4,
        fractions: Sequence[float] = FRACTIONS,
        zero_threshold: float = 2**-7,
        mode: Mode = "recluster",
        distance: Distance = "relative",
        temperature: float = 0.05,
        include: Include | None = None,
        exclude: str | Sequence[str] = (),
    ) -> None:
        if not 0 <= alpha < math.inf:
            raise ValueError(f"alpha = {alpha}: must be finite and not negative")
        self._plan = plan(delta, fractions)
        self._alpha = alpha
        self._clustering: dict[str, Any] = {"zero_threshold": zero_threshold, "mode": mode, "distance": distance}
        self._pulling: dict[str, Any] = {
            "zero_threshold": zero_threshold,
            "temperature": temperature,
            "distance": distance,
        }
        cluster(_vector(), 1.0, delta, **self._clustering)  # refuses bad arguments before any work
        Regulariser([0.0], **self._pulling)
        self._parts = [Part(name, parameter) for name, parameter in choose(parameters, include, exclude).items()]
        self._module = parameters if isinstance(parameters, nn.Module) else None
        sizes = [float(part.parameter.detach().abs().max()) for part in self._parts if part.parameter.numel()]
        ladder(delta, zero_threshold, max((size for size in sizes if size <= LARGEST), default=0.0))
        self._size = sum(part.parameter.numel() for part in self._parts)
        self._regulariser: Regulariser | None = None
        self._centres = _vector()
        self._order: StepOrder | None = None
        self._codebook, self._usage = np.empty(0, np.float32), np.empty(0, np.int64)
        self.outcomes: list[Outcome] = []
        self._loaded = 0  # how often a state was loaded

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that are fixed, by name."""
        return {part.name: part.parameter for part in self._parts}

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Watch an optimiser over the model's own parameters; several, and new ones in later rounds, may be attached.

        It takes the place of another fixer of the same parameters that watched this optimiser.
        Raises TypeError for anything but a torch.optim.Optimizer (of a wrapper, attach what it wraps), ValueError for
        one that has none of the parameters, or goes up the gradients (`maximize`), and RuntimeError as `fix_` does for
        parameters that have been replaced.
        """
        check_optimizer(optimizer)
        self._check_parameters()
        if not held_by(optimizer, self._parts):
            raise ValueError("attach: the optimiser has none of the parameters that are fixed")
        self.detach(optimizer)
        self._order = self._order or StepOrder()
        self._order.watch(part.parameter for part in trained(self._parts))
        self._order.forget_scalers()
        watch(optimizer, self._parts, self._order, lambda: self._regulariser is not None)

    def detach(self, optimizer: torch.optim.Optimizer) -> None:
        """Let an optimiser alone from now on: fixed weights move with its steps. Nothing happens where none watches."""
        unwatch(optimizer, self._parts)

    def rounds(self) -> Iterator[Round]:
        """The rounds that are still to come, after a `load_state_dict` in one of them those after that state.

        Raises RuntimeError where one is left without its `fix_`.
        """
        while len(self.outcomes) < len(self._plan):
            round_, loaded = self._plan[len(self.outcomes)], self._loaded
            yield round_
            if len(self.outcomes) == round_.index and self._loaded == loaded:
                raise RuntimeError(f"round {round_.index} has ended without fix_()")

    @uncompiled
    def pull_(self, loss: Tensor | float) -> Tensor:
        """Add the pull towards the centres to the gradients of the free weights, and none to those of fixed ones.

        loss: the task loss whose gradients are there, 0-dimensional. The regulariser L_reg, the mean over the free
        weights, enters as a * L_reg with a = alpha * |loss| / L_reg held constant, so that it always weighs alpha
        times the task loss. Returns L_reg, 0-dimensional; 0 in the first round, which has no centres yet. Nothing
        waits for the device. Where every parameter is frozen there is nothing to pull, and L_reg is 0 as well.

        The order of a step: backward (several times where gradients are accumulated; `loss` is then what they add up
        to), with a GradScaler `scaler.unscale_(optimizer)`, `pull_`, clipping, the optimiser's step. Any other order
        raises RuntimeError, here or at that step; of gradients that are still scaled at the second step at the latest.
        """
        if self._order is None:
            raise RuntimeError("pull_: no optimiser is attached; attach(optimizer) comes first")
        task = torch.as_tensor(loss).detach()
        if task.numel() != 1:
            raise ValueError(f"pull_: loss: one number is needed, not {tuple(task.shape)}")
        wanting, regulariser = trained(self._parts), self._regulariser
        if not wanting:
            return torch.zeros((), dtype=torch.float32)
        self._order.watch((part.parameter for part in wanting), late=True)
        self._order.pulling()
        if regulariser is None:
            for part in wanting:
                part.hold_()
            return torch.zeros((), dtype=torch.float32)
        device = wanting[0].parameter.device
        losses = [part.slopes_(regulariser).to(device) for part in wanting]
        count = sum(part.free_count for part in wanting)
        pull = torch.stack(losses).sum() / max(1, count)
        task = mean_over_processes(task.reshape(()).to(device, pull.dtype)).abs()
        strength = torch.where(pull > 0, self._alpha * task / pull / max(1, count), 0.0)
        # Of weights next to nothing, with a threshold smaller still, the slope is about 1 / |w|: gradients stay finite.
        strength = strength.clamp(max=STRONGEST / max(1.0, regulariser.steepest))
        for part in wanting:
            part.pull_(strength.to(part.parameter.device))
        return pull.float()

    @torch.no_grad()
    def fix_(self) -> Outcome:
        """End the round: cluster, and write the values of all weights that are fixed now into the model.

        Warns of a matrix, or a filter bank, all of whose weights have become zero.

        Raises RuntimeError after the last round, where fixed weights have moved, because a step was made by an
        optimiser that is not attached, and where the module has another parameter by now; ValueError, naming the
        parameter, for weights that are not finite.
        """
        if len(self.outcomes) == len(self._plan):
            raise RuntimeError(f"fix_: all {len(self._plan)} rounds are over")
        round_, start = self._plan[len(self.outcomes)], time.perf_counter()
        in_all(self._check_before_fixing)
        values, fixed, chosen, over_budget = from_first(lambda: self._cluster(round_))
        self._codebook, self._usage = np.unique(values[fixed].numpy(), return_counts=True)
        had_values = [bool(part.parameter.any()) for part in self._parts]
        self._hold_(values, fixed)
        for part in self._parts:
            part.restore_()
        shares = self._usage / max(1, self._usage.sum())
        outcome = Outcome(
            round_.index,
            round_.fraction,
            round_.delta,
            fixed=float(self._usage.sum()) / max(1, self._size),
            centres=len(chosen),
            distinct=len(self._codebook),
            entropy=max(0.0, float(-(shares * np.log2(shares)).sum())),
            over_budget=over_budget / max(1, self._size),
            seconds=time.perf_counter() - start,
        )
        self.outcomes.append(outcome)
        self._aim_at(chosen)
        for part, had in zip(self._parts, had_values, strict=True):
            if had and part.parameter.ndim > 1 and not part.parameter.any():
                warnings.warn(
                    f"{part.name}: all of its weights are zero now, below zero_threshold = "
                    f"{self._clustering['zero_threshold']:g}; exclude it, or take a smaller threshold",
                    stacklevel=2,
                )
        return outcome

    def _check_parameters(self) -> None:
        """Raise RuntimeError for a parameter in whose place the module has another one."""
        if self._module is None:
            return
        now = dict(self._module.named_parameters(remove_duplicate=False))
        for part in self._parts:
            if now.get(part.name) is not part.parameter:
                raise RuntimeError(
                    f"{part.name}: is another parameter than when the fixer was made (a layer was replaced, or weights "
                    "were loaded with assign=True); make the fixer after that"
                )

    def check(self) -> None:
        """Raise RuntimeError, which names the parameter, where the model does not have its fixed values any more.

        For the time after the last round, when nothing else looks: before a network is kept or measured.
        """
        self._check_parameters()
        for part in self._parts:
            part.check_held()

    def _check_before_fixing(self) -> None:
        self.check()
        for part in self._parts:
            if not part.parameter.float().isfinite().all():
                raise ValueError(f"{part.name}: holds NaN or infinite weights")

    def _cluster(self, round_: Round) -> tuple[Tensor, Tensor, Tensor, int]:
        """Values [N], fixed [N], centres [k] and how many are over budget of a pass over all weights, on the CPU."""
        weights = torch.cat([flat(part.parameter).float().cpu() for part in self._parts])
        fixed = torch.cat([part.fixed.cpu() for part in self._parts])
        found = cluster(weights, round_.fraction, round_.delta, fixed=fixed, **self._clustering)
        values, chosen = found.values, found.centres
        for part in {part.parameter.dtype: part for part in reversed(self._parts)}.values():
            if part.parameter.dtype in (torch.bfloat16, torch.float16):
                values, chosen = (rounded(each, part.parameter.dtype) for each in (values, chosen))
                if not chosen.isfinite().all():
                    raise ValueError(
                        f"{part.name}: a centre is too large for {part.parameter.dtype}, its type; parameters of other "
                        "types share their values with it"
                    )
        over_budget = sum(step.taken for step in found.steps if step.mean_distance > round_.delta)
        return values, found.fixed, chosen.unique(), over_budget

    def _hold_(self, values: Tensor, fixed: Tensor) -> None:
        """From now on the weights marked in `fixed` [N] are `values` [N], in the order of all parameters."""
        sizes = [part.parameter.numel() for part in self._parts]
        for part, own, marked in zip(self._parts, values.split(sizes), fixed.split(sizes), strict=True):
            part.fix_(own.to(part.parameter.device), marked.to(part.parameter.device))

    def _aim_at(self, centres: Tensor) -> None:
        """Pull to these centres [k] from now on; not where there are none, alpha is 0, or no round is to come."""
        self._centres = centres
        pulls = self._alpha > 0 and len(centres) and len(self.outcomes) < len(self._plan)
        self._regulariser = Regulariser(centres, **self._pulling) if pulls else None

    def codebook(self) -> Tensor:
        """The distinct values [k] of the fixed weights, float32, rising."""
        return torch.from_numpy(self._codebook.copy())

    def usage(self) -> Tensor:
        """How many weights have each value of the codebook [k]."""
        return torch.from_numpy(self._usage.copy())

    def indices(self) -> dict[str, Tensor]:
        """Every weight as an index into the codebook, -1 where it is free: int32, in the parameter's shape, by name."""
        return {part.name: part.indices(self._codebook) for part in self._parts}

    def state_dict(self) -> dict[str, Any]:
        """What a later process needs to go on, as tensors and plain values; beside the model's and the optimiser's."""
        return {
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "codebook": self.codebook(),
            "indices": self.indices(),
            "centres": self._centres,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken. The model's own state is loaded by the caller, before or after.

        Raises ValueError where the state is of other parameters, of another type or of another plan of rounds.
        """
        missing = [key for key in ("outcomes", "codebook", "indices", "centres") if key not in state]
        if missing:
            raise ValueError(f"state: has no {missing[0]}; what state_dict() gave is needed")
        outcomes = [Outcome(**outcome) for outcome in state["outcomes"]]
        if [(done.fraction, done.delta) for done in outcomes] != [
            (round_.fraction, round_.delta) for round_ in self._plan[: len(outcomes)]
        ]:
            raise ValueError("state: its rounds have other fractions or another delta")
        shapes = {name: tuple(indices.shape) for name, indices in state["indices"].items()}
        wrong = shapes.items() ^ {(part.name, tuple(part.parameter.shape)) for part in self._parts}
        if wrong:
            raise ValueError(f"state: {min(wrong)[0]} is not among the parameters, or has another shape there")
        for part in self._parts:
            narrow = part.parameter.dtype in (torch.bfloat16, torch.float16)
            if narrow and not torch.equal(rounded(state["codebook"], part.parameter.dtype), state["codebook"]):
                raise ValueError(f"state: has values that {part.name}, of {part.parameter.dtype}, cannot have")
        self.outcomes, self._loaded = outcomes, self._loaded + 1
        self._codebook = state["codebook"].cpu().numpy()
        flat_indices = [part.in_memory_order(state["indices"][part.name]) for part in self._parts]
        indices = torch.cat(flat_indices).cpu()
        fixed = indices != FREE
        self._usage = np.bincount(indices[fixed].numpy(), minlength=len(self._codebook))
        self._hold_(self.codebook()[indices.clamp(min=0)] if len(self._codebook) else _vector(len(indices)), fixed)
        self._aim_at(state["centres"].cpu())


def _vector(size: int = 0) -> Tensor:
    """Zeros [size], whatever the person's default type and device are."""
    return torch.zeros(size, dtype=torch.float32, device="cpu")


def fix(parameters: Source, *, delta: float, **options: Any) -> WeightFixer:
    """Fix all weights at once, without training: a single clustering pass. Arguments and errors of `WeightFixer`."""
    fixer = WeightFixer(parameters, delta=delta, fractions=(1.0,), **options)
    fixer.fix_()
    return fixer
