"""The plan of the rounds, and what each of them did (method, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Share of all weights fixed after each round: the authors' default.
FRACTIONS = (0.3, 0.6, 0.8, 0.9, 0.95, 0.975, 0.99, 0.9975, 0.999, 1.0)


@dataclass(frozen=True)
class Round:
    """One round to come: train where `trains` says so, then `WeightFixer.fix_`.

    index: from 0. fraction: share of all weights that are fixed after it. delta: its budget, the mean relative
    distance. trains: not in the first round, which clusters the trained network as it comes.
    """

    index: int
    fraction: float
    delta: float

    @property
    def trains(self) -> bool:
        """Whether weights are trained before they are fixed."""
        return self.index > 0


@dataclass(frozen=True)
class Outcome:
    """What a round did.

    fixed: share of all weights that are fixed now. centres: chosen by its clustering pass. distinct: different values
    of the fixed weights. entropy: of these values, in bits per weight. over_budget: share of all weights that got their
    value at a mean distance above delta, because no candidate could take any within it; a few far-off ones among them
    may cost accuracy. seconds: of the clustering pass and its writing.
    """

    index: int
    fraction: float
    delta: float
    fixed: float
    centres: int
    distinct: int
    entropy: float
    over_budget: float
    seconds: float


def delta_schedule(delta: float, rounds: int) -> list[float]:
    """Budget of every round: delta * (T - t), so that the last of the T rounds uses delta itself."""
    return [delta * (rounds - t) for t in range(rounds)]


def plan(delta: float, fractions: Sequence[float]) -> list[Round]:
    """All rounds. Raises ValueError for fractions that do not rise to 1, and for a budget that is out of range."""
    try:
        fractions, delta = tuple(float(fraction) for fraction in fractions), float(delta)
    except (TypeError, ValueError):
        raise ValueError(f"delta = {delta!r}, fractions = {fractions!r}: a number, and a list of numbers") from None
    rising = all(low < high for low, high in zip((0.0, *fractions), fractions, strict=False))
    if not fractions or not rising or fractions[-1] != 1:
        raise ValueError(f"fractions = {list(fractions)}: must rise from above 0 and end at 1")
    if not 0 < delta < 1 / len(fractions):
        raise ValueError(
            f"delta = {delta}: must lie between 0 and {1 / len(fractions):g}, both excluded, because the first of "
            f"{len(fractions)} rounds has that many times delta"
        )
    deltas = delta_schedule(delta, len(fractions))
    return [Round(index, *pair) for index, pair in enumerate(zip(fractions, deltas, strict=True))]
