"""Where MLflow keeps its runs: the clone's own database, or what MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from pipeline.base.results import repository

VARIABLE, SQLITE, OWN = "MLFLOW_TRACKING_URI", "sqlite:///", "mlflow.db"


@dataclass(frozen=True)
class Place:
    """uri: for MLflow, absolute. database: the SQLite file, None for a server or a folder. own: whether it is ours."""

    uri: str
    database: Path | None = None
    own: bool = False

    @property
    def artifacts(self) -> Path | None:
        """The folder of the runs' files, beside an SQLite file; any other place has one of its own."""
        return self.database and self.database.with_name("mlartifacts")

    @property
    def lock(self) -> Path:
        """What processes of this machine hold while they ask for a run and log it."""
        return Path(f"{self.database or repository() / OWN}.lock")

    @property
    def is_server(self) -> bool:
        """Whether other machines may write there at the same time."""
        return self.uri.lower().startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """For messages: without a name and password that stand in the address."""
        scheme, found, rest = self.uri.partition("://")
        server, slash, path = rest.partition("/")
        return f"{scheme}{found}{server.rpartition('@')[2]}{slash}{path}"

    def without_password(self, said: str) -> str:
        """What another program says, without the address as it was given."""
        return said.replace(self.uri, self.name)

    @property
    def unusable(self) -> str:
        """Why MLflow would write to another file than the database; empty where it would not."""
        if self.database is None or not set("%?") & set(str(self.database)):
            return ""
        return f"{self.name}: a path with % or ?, which have a meaning in addresses; set {VARIABLE} to another place"


def place() -> Place:
    """The place for this process. A relative path is relative to the clone, also from a queued experiment's folder."""
    given = os.environ.get(VARIABLE, "").strip()
    if given and not given.startswith(SQLITE):
        return Place(given)
    written, mark, options = given.removeprefix(SQLITE).partition("?")
    path = (repository() / (unquote(written) or OWN)).resolve()
    return Place(f"{SQLITE}{path}{mark}{options}", path, own=path == repository() / OWN)
