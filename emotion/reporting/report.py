"""One self-contained HTML file about a run or several: no network, no library, opens from disk."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from emotion.atomic import write_text
from emotion.errors import DataError, EmotionError
from emotion.reporting import comparison, data_card, judged, numbers, sections, tables
from emotion.reporting.album import Album, ImageLookup
from emotion.reporting.evidence import Subject
from emotion.reporting.page import Folded, Listing, Note, Page, Section
from emotion.runs import RunFolder

# Enough for the three digits that a report shows; `emotion compare` draws more.
RESAMPLES, RESAMPLES_MANY = 2000, 1000

TABLE_FORMATS = {".md": tables.markdown, ".tex": tables.latex}
"""What writes a table alone, by the suffix of the file in small letters."""


def write_report(
    runs: Sequence[RunFolder],
    path: Path,
    images: ImageLookup | None = None,
    *,
    commands: Sequence[str] = (),
    test: bool = False,
) -> Path:
    """Write the report of a run, or one that compares several.

    What is missing or broken in a run is said on the page, and the rest of the report is still made.

    Args:
        images: where galleries get their pictures from; without it they show ids.
        commands: what made these runs, if it is something else than each run's own command.
        test: show test scores when several runs are compared. They are ranked by validation either way, so that
            nobody chooses among runs by their test scores; a single run always shows its own.

    Raises:
        EmotionError: there is nothing to report on, or the file can't be written.
    """
    page = make_page(runs, images, commands=commands, test=test)
    try:
        write_text(path, render(page))
    except OSError as error:
        raise EmotionError(
            f"expected to write the report {path}, found {error.strerror or error}; give a file in a folder that can "
            "be written and has room."
        ) from error
    return path


def make_page(
    runs: Sequence[RunFolder],
    images: ImageLookup | None = None,
    *,
    commands: Sequence[str] = (),
    test: bool = False,
) -> Page:
    """What the report of these runs says, before it becomes HTML, Markdown or LaTeX."""
    if not runs:
        raise DataError(
            "expected at least one run to report on, found none. `emotion runs list` shows your runs."
        )
    subjects = [Subject(run, RESAMPLES if len(runs) == 1 else RESAMPLES_MANY) for run in runs]
    if len(subjects) > 1:
        page = comparison.page(subjects, images, commands=commands, test=test)
    else:
        page = _single(subjects[0], images, commands)
    problems = [problem for subject in subjects for problem in subject.problems]
    return _with_tables(_with_problems(page, problems))


def write_tables(runs: Sequence[RunFolder], path: Path, *, test: bool = False) -> Path:
    """Write the tables of a report alone: Markdown for `.md`, LaTeX for `.tex`.

    Raises:
        EmotionError: another suffix, nothing to report on, or the file can't be written.
    """
    written = TABLE_FORMATS.get(path.suffix.lower())
    if written is None:
        raise EmotionError(f"expected a file that ends in .md or .tex, found {path.name!r}.")
    text = "\n".join(written(table) for table in make_page(runs, test=test).tables())
    try:
        write_text(path, text)
    except OSError as error:
        raise EmotionError(
            f"expected to write the tables {path}, found {error.strerror or error}."
        ) from error
    return path


def render(page: Page) -> str:
    """The page as one HTML document."""
    script = text_of("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    numbering = itertools.count()
    return template("report.html.j2").render(
        page=page,
        style=_environment().from_string(text_of("style.css")).render(),
        script=script,
        script_hash=f"sha256-{digest}",
        names=lambda: f"n{next(numbering)}",
        version=_version(),
        made=datetime.now().astimezone().strftime("%-d %B %Y"),
    )


def _single(subject: Subject, images: ImageLookup | None, commands: Sequence[str]) -> Page:
    album = Album()
    shown = subject.shown
    made: list[Section | None] = [sections.scores(subject)]
    if subject.trained:
        made.append(sections.learning(subject))
    if shown is not None:
        made += [
            judged.confusion(shown),
            judged.classes(shown, data_card.natural_counts(subject, shown.table.classes)),
            judged.roc(shown),
            judged.confidence(shown, subject.parts.get("val") if shown.table.meta.part == "test" else None),
            judged.gallery(shown, subject.run, album, images),
        ]
    made += [
        sections.explanation(subject),
        data_card.data(subject),
        sections.augmentation(subject),
        sections.cost(subject),
        sections.reproduce(subject, commands),
    ]
    return Page(
        title=str(subject.flat.get("name") or f"{subject.model} on {subject.data}"),
        kicker="Report of a run",
        byline=sections.byline(subject),
        finding=sections.finding(subject),
        sections=tuple(section for section in made if section is not None),
        faces=album.faces,
    )


def _with_problems(page: Page, problems: Sequence[str]) -> Page:
    if not problems:
        return page
    notes = tuple(Note(problem) for problem in dict.fromkeys(problems))
    section = Section("missing", "What is missing", "The rest of the report was made without it.", notes)
    return Page(page.title, page.kicker, page.byline, page.finding, (section, *page.sections), page.faces)


def _with_tables(page: Page) -> Page:
    """The page with its tables once more, as text to copy."""
    found = page.tables()
    if not found:
        return page
    section = Section(
        "tables",
        "For papers",
        "The tables of this page, to copy.",
        (
            Folded("Markdown", (Listing("", "\n".join(tables.markdown(table) for table in found).rstrip()),)),
            Folded(
                "LaTeX (booktabs)", (Listing("", "\n".join(tables.latex(table) for table in found).rstrip()),)
            ),
        ),
    )
    return Page(page.title, page.kicker, page.byline, page.finding, (*page.sections, section), page.faces)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(text_of),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": numbers.percent,
        "points": numbers.points,
        "count": numbers.count,
        "abs": abs,
        "float": float,
    }
    return environment


def template(name: str) -> Template:
    """One of templates/, with the filters of a report."""
    return _environment().get_template(name)


def text_of(name: str) -> str:
    """A file of templates/, as it is."""
    return files("emotion.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def _version() -> str:
    try:
        return version("emotion")
    except PackageNotFoundError:
        return "from a checkout"
