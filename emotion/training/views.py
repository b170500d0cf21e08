"""The loggers of a run: views of its folder that are kept up to date while it is made."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from emotion import registry
from emotion.reporting.album import ImageLookup
from emotion.runs import RunFolder
from emotion.schema import RunConfig
from emotion.schema.machine import LoggerConfig


class View(Protocol):
    """What a registered logger builds: `builder(run, options, images)`.

    Opening one shows what the folder holds already, so a continued run needs no special care.

    Attributes:
        url: where to look.
    """

    url: str | None

    def epoch(self, row: Mapping[str, float], confusion: Sequence[Sequence[int]] | None) -> None:
        """Show a finished epoch: its row of metrics.csv and its confusion matrix of the validation part."""
        ...

    def publish(self) -> None:
        """Show what a finished run has left."""
        ...

    def close(self, exit_code: int) -> None:
        """End it; anything but 0 says that the run didn't finish."""
        ...


class Views:
    """Several views as one. A view that fails is dropped, because the run doesn't need it."""

    def __init__(
        self,
        config: RunConfig,
        run: RunFolder,
        images: ImageLookup,
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._open: list[tuple[str, View]] = []
        wanted = config.logger.chosen() if isinstance(config.logger, LoggerConfig) else []
        for options in wanted:
            with self._forgiving(options.name):
                view: View = registry.builder("logger", options.name)(run, options, images)
                self._open.append((options.name, view))
                say(f"{options.name}: {view.url or 'files in ' + str(run.path)}")

    @contextmanager
    def _forgiving(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a service or its client thinks of
            self._open = [(other, view) for other, view in self._open if other != name]
            self._say(
                f"{name} is not kept up to date any more ({type(error).__name__}: {error}). "
                "The run goes on and its folder has everything."
            )

    def epoch(self, row: Mapping[str, float], confusion: Sequence[Sequence[int]] | None) -> None:
        for name, view in list(self._open):
            with self._forgiving(name):
                view.epoch(row, confusion)

    def publish(self) -> None:
        for name, view in list(self._open):
            with self._forgiving(name):
                view.publish()

    def close(self, exit_code: int) -> None:
        for name, view in list(self._open):
            with self._forgiving(name):
                view.close(exit_code)


@contextmanager
def views(
    config: RunConfig, run: RunFolder, images: ImageLookup, say: Callable[[str], None]
) -> Iterator[Views]:
    """The views of a run while it is worked on; published and closed at the end, closed with what went wrong."""
    opened = Views(config, run, images, say)
    try:
        yield opened
    except KeyboardInterrupt:
        opened.close(130)
        raise
    except BaseException:
        opened.close(1)
        raise
    opened.publish()
    opened.close(0)
