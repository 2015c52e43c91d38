"""What WFN is compared with: one module a method. Which methods there are is read off the files; none is imported."""

from __future__ import annotations

from pathlib import Path

from pipeline.base.errors import InputError
from pipeline.base.settings import Quantiser


def known_methods() -> list[str]:
    """Names of the methods."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def check_method(name: str, quantiser: Quantiser) -> None:
    """Raise InputError for a quantiser, called `name` in params.yaml, whose method does not exist."""
    if quantiser.method not in known_methods():
        raise InputError(
            f"baselines.quantisers.{name}.method = {quantiser.method!r}: no such method; "
            f"allowed: {', '.join(known_methods())}"
        )
