"""Waiting that ends: for another thread's answer, for a server, for a lock that another process holds."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.watching.database import StoreError
from pipeline.watching.place import Place
from wfn.plain_json import parse_json

SILENT = 1.0  # seconds of waiting for a lock until a line says so


def within(seconds: float, name: str, work: Callable[[], Any]) -> Any:
    """What `work` returns or raises; StoreError where that takes longer, and `work` is left to itself.

    A time limit of a connection is for every packet: a server that sends a byte a second would never meet it.
    """
    outcome: list[tuple[Any, BaseException | None]] = []

    def working() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:  # for the thread that waits
            outcome.append((None, error))

    worker = threading.Thread(target=working, daemon=True)
    worker.start()
    worker.join(max(seconds, 0))
    if not outcome:
        raise StoreError(f"{name} does not answer in time")
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def knock(place: Place, seconds: float) -> None:
    """Raise StoreError unless an MLflow server answers; a refusal is MLflow's to explain, which knows the password."""
    query = f"{place.uri.rstrip('/')}/api/2.0/mlflow/experiments/get-by-name?experiment_name=weight-fixing"

    def ask() -> None:
        try:
            with urllib.request.urlopen(query, timeout=seconds) as answer:
                content, status = answer.read(1 << 20), answer.status
        except urllib.error.HTTPError as error:
            content, status = error.read(1 << 20), error.code
        except (OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise StoreError(f"{place.name} does not answer ({reason})") from None
        if status in (401, 403):
            return
        try:
            known = isinstance(parse_json(content.decode()), dict) and status in (200, 404)
        except ValueError:
            known = False
        if not known:
            raise StoreError(f"{place.name} answers with status {status}, and not as MLflow does")

    within(seconds + 0.5, place.name, ask)


@contextmanager
def held(lock: FileLock, seconds: float, say: Callable[[str], None]) -> Iterator[None]:
    """The lock, held; a line after a second says who is waited for, StoreError after so many what cannot be done."""
    name = Path(lock.lock_file).name
    try:
        try:
            lock.acquire(timeout=min(SILENT, seconds), poll_interval=0.02)
        except Timeout:
            say(f"MLflow: {name} is held by another process; waiting for {seconds:.0f} s")
            lock.acquire(timeout=seconds - SILENT, poll_interval=0.02)
    except Timeout:
        raise StoreError(f"{name} has been held by another process for {seconds:.0f} s") from None
    except OSError as error:
        raise StoreError(f"{name} cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()
