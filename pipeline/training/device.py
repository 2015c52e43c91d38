"""Where the work is done, through Lightning Fabric: one device or several processes, each with a share of every batch.

Batches are those of all processes together, so results do not depend on their number but for the rounding of sums (and
for batch-norm, whose statistics each process takes from its own share).
"""

from __future__ import annotations

import sys
import warnings
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric, is_wrapped
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.base.errors import InputError, first_line
from pipeline.base.settings import Hardware
from pipeline.data.dataset import Share
from pipeline.data.images import Images
from pipeline.training.allocator import keep_freed_memory
from pipeline.training.machine import emulates_bf16


def seed_torch(fabric: Fabric, seed: int) -> None:
    """Seed torch's own random state (dropout and the like draw from it), with another seed in every process."""
    torch.manual_seed(seed + fabric.global_rank)


def seed_epoch(fabric: Fabric, seed: int, epoch: int) -> None:
    """With several processes, seed torch's own random state anew for an epoch, each with a seed of its own.

    A checkpoint holds the first one's state alone; so all go on after a break as they would have without it.
    """
    if fabric.world_size > 1:
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch, fabric.global_rank]).generate_state(1)[0]))


def launch(hardware: Hardware, seed: int, threads: int | None = None) -> Fabric:
    """The device to work on, with torch's own random state seeded (dropout and the like draw from it).

    With several devices or nodes, Fabric's launcher starts the same command once more for every further process, or
    finds those that SLURM or torchrun have started. threads: those of this process on a CPU; None: as many as torch
    finds. Raises InputError for what this machine does not have.
    """
    several = hardware.processes > 1
    asked = f"hardware.accelerator = {hardware.accelerator!r}"
    if several:
        asked += f", devices = {hardware.devices}, nodes = {hardware.nodes}"
    # Lightning says so wherever Slurm is installed; whether several processes work at a stage is in its settings.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    try:
        fabric = Fabric(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.nodes,
            strategy="ddp" if several else "auto",
            precision=hardware.precision,
            # A job of a cluster may have more tasks than this one process wants.
            plugins=None if several else LightningEnvironment(),
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{asked}: not available here ({first_line(error)})") from error
    if fabric.world_size != hardware.processes:
        raise InputError(f"{asked}: {fabric.world_size} processes were started; allowed: devices x nodes")
    if fabric.device.type == "cpu":
        keep_freed_memory()
        if hardware.precision == "bf16-mixed" and fabric.is_global_zero and emulates_bf16():
            line = "no instructions for it, so it is emulated, and slower than 32-true"
            print(f"warning: hardware.precision = 'bf16-mixed': this processor has {line}", file=sys.stderr, flush=True)
        if threads is not None:
            torch.set_num_threads(threads)
    seed_torch(fabric, seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return fabric


def set_up(fabric: Fabric, model: nn.Module, hardware: Hardware) -> nn.Module:
    """`model` as the fabric runs it: on its device, in its precision, its gradients averaged over all processes."""
    if hardware.channels_last:
        model.to(memory_format=torch.channels_last)
    if hardware.compile:
        model.compile()
    return cast(nn.Module, fabric.setup_module(model))


def unwrapped(network: nn.Module) -> nn.Module:
    """The model itself: in the fabric's wrapper its parameters have other names. `network`: set up, or plain."""
    return cast(nn.Module, network.module) if is_wrapped(network) else network


def share_of(fabric: Fabric) -> Share:
    """This process's share of every batch."""
    return Share(fabric.global_rank, fabric.world_size)


def backward(fabric: Fabric, network: nn.Module, batch: Images, parts: int) -> tuple[Tensor, Tensor]:
    """Add the gradients of the mean cross-entropy over all processes' shares of a batch.

    Returns that mean, and how many images of this process's share the network had right, both 0-dimensional.
    network: as `set_up` made it. parts: the batch is worked on in so many parts, which saves memory.
    """
    total = torch.zeros((), device=batch.pixels.device)
    hits = torch.zeros((), dtype=torch.int64, device=batch.pixels.device)
    pieces = list(zip(batch.pixels.chunk(parts), batch.labels.chunk(parts), strict=True))
    for place, (pixels, labels) in enumerate(pieces):
        with fabric.no_backward_sync(cast(_FabricModule, network), enabled=place < len(pieces) - 1):
            logits = network(pixels)
            loss = cross_entropy(logits, labels) * (len(labels) / len(batch))
            fabric.backward(loss)
        total += loss.detach()
        hits += (logits.detach().argmax(1) == labels).sum()
    loss = cast(Tensor, fabric.all_reduce(total, reduce_op="mean")) if fabric.world_size > 1 else total
    return loss, hits


def summed(fabric: Fabric, values: Tensor) -> Tensor:
    """Values of every process, added up."""
    if fabric.world_size == 1:
        return values
    return cast(Tensor, fabric.all_reduce(values.to(fabric.device), reduce_op="sum"))


def equalise_buffers_(fabric: Fabric, model: nn.Module) -> None:
    """Give every process the first one's buffers: running statistics come from each process's own share."""
    if fabric.world_size > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)
