"""Ray as the engine: on this machine alone, or on the cluster that an address names."""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

# Ray reads them when it is imported. Under `uv run` it would send this folder to the workers, and have each begin with
# `uv run` there; they have what they need, which is asked of them.
os.environ |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}

import ray
from ray.exceptions import RayError
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.ahead.side_by_side import MEMORY
from pipeline.base.errors import InputError, first_line
from pipeline.base.settings import Settings
from pipeline.spreading import cell as on_the_worker
from pipeline.spreading.cell import Cell, News, Outcome, Source, differences, work
from pipeline.spreading.engine import needs_of

P = ParamSpec("P")
T = TypeVar("T")
RETRIES = 3  # of a cell whose machine is lost; one that fails is not made again
MOMENT = 0.5  # seconds
PATIENCE = 5.0  # seconds for a head to answer
AUTO = "auto"  # the cluster that this machine is in
THREAD = ThreadPoolExecutor(1)


def _apart(method: Callable[P, T]) -> Callable[P, T]:
    """Have the engine's thread do it: a signal that arrives inside of Ray's C code would be lost there."""

    @functools.wraps(method)
    def called(*arguments: P.args, **options: P.kwargs) -> T:
        return THREAD.submit(method, *arguments, **options).result()

    return called


class OnRay:
    """Cells as tasks: Ray has them wait for each other and for free cores, and makes those again that it loses."""

    def __init__(self, settings: Settings, address: str | None) -> None:
        self._open(settings, address)
        # Ray takes SIGTERM for a crash, and would abort this process three seconds after it.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))

    @_apart
    def _open(self, settings: Settings, address: str | None) -> None:
        ray.cloudpickle.register_pickle_by_value(on_the_worker)
        if address not in (None, AUTO):
            _knock(str(address))
        place: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
        try:
            ray.init(**place, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--address {address}: {first_line(error)}") from None
        self._machines = [each for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU")]
        resources = [each["Resources"] for each in self._machines]
        needs = needs_of(settings, gpus=any("GPU" in each for each in resources))
        cores = needs.cores or min((each["CPU"] for each in resources), default=1)
        if not any(each["CPU"] >= cores and each.get("GPU", 0) >= needs.gpus for each in resources):
            raise InputError(f"hardware: a network takes {cores:g} cores and {needs.gpus} GPUs; no machine has as many")
        self._options = {"num_cpus": cores, "num_gpus": needs.gpus, "memory": MEMORY, "max_retries": RETRIES}
        # On this machine, with which the sweep ends anyway: on another one the queue might be lost alone.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        self._tasks: dict[Any, str] = {}

    @_apart
    def refusals(self, source: Source) -> list[str]:
        """Asks every machine that has cores."""
        asked = []
        for machine in self._machines:
            there = NodeAffinitySchedulingStrategy(machine["NodeID"], soft=False)
            asked.append(ray.remote(differences).options(num_cpus=0, scheduling_strategy=there).remote(source))
        answers = []
        for each in asked:
            with suppress(RayError):  # of a machine that is gone by now
                answers.append(ray.get(each))
        return [*filter(None, answers)]

    @_apart
    def start(self, source: Source, cells: Sequence[Cell], waits: Mapping[str, set[str]]) -> None:
        """Every cell is given the outcomes of those that it waits for."""
        made: dict[str, Any] = {}
        common = ray.put(source)
        make = ray.remote(lambda source, cell, queue, *before: work(source, cell, queue.put_nowait, before))
        for cell in cells:
            before = [made[each] for each in waits[cell.stage]]
            made[cell.stage] = make.options(**self._options).remote(common, cell, self._queue, *before)
        self._tasks = {task: stage for stage, task in made.items()}

    @_apart
    def news(self) -> Sequence[News | Outcome]:
        """Of each task once that it has ended."""
        return self._news()

    def _news(self) -> Sequence[News | Outcome]:
        ended, _ = ray.wait([*self._tasks], num_returns=len(self._tasks), timeout=MOMENT)
        outcomes = [self._outcome(task) for task in ended]
        try:
            return [*self._queue.get_nowait_batch(self._queue.qsize()), *outcomes]
        except RayError as error:
            raise InputError(f"Ray has lost its queue of news: {first_line(error)}; the same command goes on") from None

    def _outcome(self, task: Any) -> Outcome:
        stage = self._tasks.pop(task)
        try:
            return ray.get(task)
        except RayError as error:
            return Outcome(stage, error=first_line(error))

    @_apart
    def stop(self) -> None:
        """Ray interrupts every task; each has its stage stop, which keeps a checkpoint."""
        for task in self._tasks:
            ray.cancel(task, recursive=False)
        while self._tasks:
            self._news()

    @_apart
    def close(self) -> None:
        """A machine of its own ends; a cluster goes on."""
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises InputError unless something answers there; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise InputError(f"--address {address}: allowed: host:port of Ray's head, or {AUTO}")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: nothing answers there ({error}); is it Ray's head?") from None
