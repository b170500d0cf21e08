"""What a candidate's process runs: `python -m …worker MODULE:FUNCTION DESCRIPTOR ARGUMENTS`.

Imports nothing but the standard library, so that a peer's environment needs nothing of ours.
"""

import importlib
import json
import os
import sys
import time
from typing import Any


class Turns:
    """A candidate's side of the talk: wait for one's turn, do the work, report."""

    def __init__(self, descriptor: int) -> None:
        self._says = os.fdopen(descriptor, "w")

    def wait(self) -> None:
        """Return when it is this candidate's turn; end the process when there will be none."""
        self._say({"ready": True})
        if not sys.stdin.readline():
            os._exit(0)

    def report(self, value: float, **facts: Any) -> None:
        """Args:
        value: in the comparison's unit.
        **facts: further numbers or texts; `images` is the number of images that the turn's processor time was for.
        """
        self._say({"value": value, **facts})

    def missing(self, reason: str) -> None:
        self._say({"missing": reason})

    def _say(self, message: dict[str, Any]) -> None:
        self._says.write(json.dumps(message) + "\n")
        self._says.flush()


class StepClock:
    """Turns of training steps, for any loop that calls `step_done` after each.

    A turn is `skip` steps that aren't counted (the processor's caches and the workers' prefetched batches), then
    `steps` that are. Its value is images per second.

    Args:
        synchronise: makes the device finish what it was given.

    Attributes:
        waited_s: of the turn so far, for the loader; None where nobody counts it.
    """

    waited_s: float | None = None

    def __init__(
        self, turns: Turns, batch: int, skip: int, steps: int, synchronise: Any = lambda: None, **facts: Any
    ) -> None:
        self.turns, self.batch, self.skip, self.steps = turns, batch, skip, steps
        self.synchronise, self.facts = synchronise, facts
        self._done = 0
        self.started = 0.0

    def begin(self) -> None:
        """Wait for the turn. To be called before the first step."""
        self._done = 0
        self.turns.wait()
        if not self.skip:
            self._start()

    def step_done(self) -> None:
        self._done += 1
        if self._done == self.skip:
            self._start()
        elif self._done == self.skip + self.steps:
            self.synchronise()
            seconds = time.perf_counter() - self.started
            if self.waited_s == 0:
                raise RuntimeError(
                    "no wait for the loader was seen: has the training loop's name for it changed?"
                )
            waited = {} if self.waited_s is None else {"% waiting for data": 100 * self.waited_s / seconds}
            self.turns.report(
                self.batch * self.steps / seconds,
                **{"ms a step": 1000 * seconds / self.steps, **self.facts, **waited},
            )
            self.begin()

    def _start(self) -> None:
        self.synchronise()
        if self.waited_s is not None:
            self.waited_s = 0.0
        self.started = time.perf_counter()


def main() -> None:
    function, descriptor, arguments = sys.argv[1:]
    turns = Turns(int(descriptor))
    module, _, name = function.partition(":")
    try:
        getattr(importlib.import_module(module), name)(turns, **json.loads(arguments))
    except ModuleNotFoundError as error:
        turns.missing(f"{error.name} is not installed")


if __name__ == "__main__":
    main()
