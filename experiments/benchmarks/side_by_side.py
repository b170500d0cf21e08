"""Candidates measured in turn, in one run, and what came of it: medians, ranges and ratios with ranges.

A machine's speed drifts with its temperature and its neighbours. Candidates that are measured one after the other
in every round see the same drift, so a ratio is taken within a round and only then summarised.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol

Measured = Mapping[str, Any]
"""One round: `value` in the comparison's unit, and further facts by name (numbers or text)."""


class NotMeasuredError(Exception):
    """A candidate that can't be measured here, and why: a package that isn't installed, no GPU, a crash."""


class Candidate(Protocol):
    """Something that does the work once a round."""

    @property
    def name(self) -> str: ...

    def measure(self) -> Measured:
        """Do the work once.

        Raises:
            NotMeasuredError: it can't be done here.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Unmeasured:
    """A candidate that is known not to run here: its row says why."""

    name: str
    reason: str

    def measure(self) -> Measured:
        raise NotMeasuredError(self.reason)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """
        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, high=3.0)
        """
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Row:
    """A candidate's rounds. `missing` says why there are none; `notes` are facts about all of them together."""

    name: str
    rounds: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    missing: str | None = None

    @property
    def values(self) -> list[float]:
        return [float(measured["value"]) for measured in self.rounds]

    @property
    def spread(self) -> Spread | None:
        return Spread.of(self.values) if self.rounds and not self.missing else None

    def facts(self) -> dict[str, Any]:
        """What else was reported: the median of numbers, the last word of anything else, in order of appearance."""
        found = dict(self.notes)
        for key in dict.fromkeys(key for measured in self.rounds for key in measured if key != "value"):
            seen = [measured[key] for measured in self.rounds if measured.get(key) is not None]
            if seen:
                numbers = all(isinstance(one, int | float) for one in seen)
                found[key] = statistics.median(seen) if numbers else seen[-1]
        return found


@dataclass
class Comparison:
    """Candidates that did the same work.

    Attributes:
        work: what was the same for all: network, batch, images, augmentation.
        unit: of the values.
        better: whether more or less of the unit is wanted.
        ours: the rows that the others are compared with.
        goals: how many times as good as a row each of ours should be, by the row's name; None: not to be
            compared.
        limits: the worst value that a row should have, by its name.
        most: the largest value that a fact of any row should have, by the fact's name.
    """

    title: str
    work: str
    unit: str
    better: Literal["higher", "lower"]
    rows: list[Row]
    ours: tuple[str, ...] = ()
    goals: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Comparison":
        """Of what `to_dict` gave, whatever was added to it since."""
        given = {one.name: plain[one.name] for one in fields(cls)}
        rows = [Row(**{one.name: row[one.name] for one in fields(Row)}) for row in plain["rows"]]
        goals = {name: tuple(wanted) for name, wanted in plain["goals"].items()}
        return cls(**given | {"rows": rows, "ours": tuple(plain["ours"]), "goals": goals})

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def advantage(self, mine: str, row: Row) -> Spread | None:
        """How many times as good as `row` the row `mine` is, each round's ratio on its own; None if one is missing."""
        ours = self.row(mine)
        if ours.missing or row.missing or row.name in self.ours:
            return None
        if dict(zip(self.ours, self.goals.get(row.name, ()), strict=False)).get(mine, 0) is None:
            return None
        ratios = [
            here / there if self.better == "higher" else there / here
            for here, there in zip(ours.values, row.values, strict=True)
        ]
        return Spread.of(ratios) if ratios else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data: every round, and the summaries made from them."""
        found = asdict(self)
        for plain, row in zip(found["rows"], self.rows, strict=True):
            plain["summary"] = row.spread and asdict(row.spread)
            plain["times_as_good"] = {
                mine: asdict(ratio) for mine in self.ours if (ratio := self.advantage(mine, row))
            }
        return found


def side_by_side(
    candidates: Sequence[Candidate],
    rounds: int,
    warmups: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Measure every candidate once a round, in turn, and close them.

    Every round begins with another candidate, so that none is always the one after the heaviest. A candidate that
    fails in any round has no rounds in the end: its row says why.

    Args:
        candidates: with different names.
        rounds: that count.
        warmups: rounds before, whose values are thrown away.
        say: called with a line about each measurement.
    """
    rows = {candidate.name: Row(candidate.name) for candidate in candidates}
    if len(rows) < len(candidates):
        raise ValueError("expected candidates with different names")
    try:
        for number in range(-warmups, rounds):
            first = number % len(candidates)
            for candidate in (*candidates[first:], *candidates[:first]):
                row = rows[candidate.name]
                if row.missing is not None:
                    continue
                try:
                    measured = dict(candidate.measure())
                except NotMeasuredError as error:
                    row.missing, row.rounds = str(error), []
                    say(f"{candidate.name}: {row.missing}")
                    continue
                if number >= 0:
                    row.rounds.append(measured)
                    say(f"{candidate.name}: {measured['value']:.4g} (round {number + 1} of {rounds})")
    finally:
        for candidate in candidates:
            candidate.close()
    return list(rows.values())
