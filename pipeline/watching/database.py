"""Whether an SQLite file is a database that MLflow can write, asked before MLflow is imported."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

PATIENCE = 2.0  # seconds until a database that another process writes counts as locked
HALF_SET_UP = re.compile("already exists|duplicate column|no such (table|column)")
FIRST_TABLES = {"experiments", "runs", "tags", "params", "metrics"}  # those that MLflow begins with


class StoreError(Exception):
    """MLflow cannot be written now; the message is one line that says why and what to do."""


class DamagedError(StoreError):
    """An SQLite file of MLflow that nobody can use any more."""


def check(path: Path, thorough: bool = False) -> None:
    """Raise StoreError or DamagedError unless MLflow can write the file, or make it.

    thorough: read all of it, not only its head.
    """
    if path.is_dir():
        raise StoreError(f"{path.name} is a folder; move it away")
    if not path.exists() or not path.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
            connection.execute("begin immediate")
            tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
            if thorough:
                ((found, *_),) = connection.execute("pragma quick_check(1)")
                if found != "ok":
                    raise DamagedError(f"{path.name} is damaged ({' '.join(found.split())})")
            query = "select version_num from alembic_version"
            versions = [version for (version,) in connection.execute(query)] if "alembic_version" in tables else []
    except sqlite3.DatabaseError as error:
        raise named(path, error) from None
    if tables - FIRST_TABLES and not (versions and tables >= FIRST_TABLES):
        raise StoreError(f"{path.name} is another program's database; move it away, or set MLFLOW_TRACKING_URI")
    if tables and not versions:
        raise DamagedError(f"{path.name} is half set up")
    for version in versions:
        if not any(_migrations().glob(f"{version}_*.py")):
            raise StoreError(
                f"{path.name} is a newer MLflow's (revision {version}); use that MLflow, or move the file away"
            )


def named(path: Path, error: sqlite3.DatabaseError) -> StoreError:
    """What SQLite's error means for a person."""
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return DamagedError(f"{path.name} is damaged ({error})")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"{path.name} is locked by another process")
    return StoreError(f"{path.name} cannot be written ({error})")


def set_aside(path: Path) -> Path:
    """Give a damaged database another name, with the journal that belongs to it; returns the name."""
    number = 1
    while (away := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("-journal", "-wal", "-shm", ""):
        part = path.with_name(f"{path.name}{suffix}")
        if part.exists():
            part.rename(f"{away}{suffix}")
    return away


def _migrations() -> Path:
    """The folder in which the installed MLflow has a file for each revision that it knows."""
    spec = find_spec("mlflow")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
