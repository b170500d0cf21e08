"""Every reader: right about what was drawn, and neither crashing nor mislabelling when the tree is corrupted."""

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emotion import registry
from emotion.data import mimic
from emotion.data.facts import Facts
from emotion.data.preparation import Preparation
from emotion.data.store import prepare
from emotion.data.table import SampleTable
from emotion.errors import DataError
from emotion.registry import entries
from emotion.schema.data import DataConfig

COUNT, SEED = 32, 5
OPTIONS: dict[str, dict[str, Any]] = {"csv": {"split": "split", "group": "person"}, "lfw_ms": {"part": "all"}}
# The files whose lines are rows, with the number of lines above them.
LISTS = {
    "affectnet": (
        ("Manually_Annotated_file_lists/training.csv", 1),
        ("Manually_Annotated_file_lists/validation.csv", 0),
    ),
    "expw": (("data/label/label.lst", 0),),
    "expw_cleaned": (("label_expw.csv", 0),),
    "ferplus": (("fer2013new.csv", 1),),
    "raf_db": (("basic/EmoLabel/list_patition_label.txt", 0),),
    "lfw_ms": (("data/legend.csv", 1),),
    "csv": (("faces.csv", 1),),
}

Tree = Callable[[str], tuple[Path, mimic.Drawn]]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTION_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    @cache
    def make(form: str) -> tuple[Path, mimic.Drawn]:
        folder = tmp_path_factory.mktemp(form) / "drawn"
        return folder, mimic.draw(form, folder, COUNT, SEED)

    return make


def reader(form: str) -> ModuleType:
    module = registry.builder("data", mimic.DATA.get(form, form))
    assert isinstance(module, ModuleType)
    return module


def read(form: str, folder: Path, **options: Any) -> SampleTable:
    table = reader(form).read(folder, **OPTIONS.get(form, {}) | options)
    assert isinstance(table, SampleTable)
    return table


def named(table: SampleTable) -> dict[str, str]:
    """The expression of each sample."""
    return {sample: table.classes[label] for sample, label in table.frame.select("id", "label").iter_rows()}


def ours() -> dict[str, type[DataConfig]]:
    return {
        name: entry.schema  # type: ignore[misc]
        for name, entry in entries("data").items()
        if (entry.builder or "").startswith("emotion.data")
    }


def test_every_data_set_can_be_drawn() -> None:
    assert {mimic.DATA.get(form, form) for form in mimic.FORMS} == set(ours()) - {"drawn"}


@pytest.mark.parametrize("name", ["drawn", *(n for n in mimic.FORMS if n not in mimic.DATA)])
def test_every_reader_knows_its_facts(name: str) -> None:
    module = reader(name)
    facts = module.FACTS
    assert isinstance(facts, Facts)
    assert all(
        (facts.title, facts.citation, facts.licence, facts.source, facts.layouts, facts.crop, facts.group)
    )
    for parts in facts.counts.values():
        assert all(len(counts) == len(facts.classes) for counts in parts.values())


@pytest.mark.parametrize("form", mimic.FORMS)
def test_the_table_is_what_was_drawn(form: str, tree: Tree) -> None:
    folder, drawn = tree(form)
    table = read(form, folder)
    assert named(table) == drawn.labels
    assert Counter(table.rejected["reason"].to_list()) == drawn.quirks


@pytest.mark.parametrize("form", mimic.FORMS)
def test_the_configuration_s_options_reach_the_reader(form: str, tree: Tree) -> None:
    folder, _ = tree(form)
    config = ours()[mimic.DATA.get(form, form)](name=mimic.DATA.get(form, form), **OPTIONS.get(form, {}))
    options = config.reader_options()
    module = reader(form)
    assert module.read(folder, **options).frame.equals(read(form, folder).frame)
    assert module.signature(folder, **options) == module.signature(folder, **options)


@pytest.mark.parametrize("form", mimic.FORMS)
def test_it_may_lie_in_a_folder_below_and_be_moved(form: str, tree: Tree, tmp_path: Path) -> None:
    """Ids don't depend on where the root is, and spaces and foreign letters in its name don't matter."""
    folder, _ = tree(form)
    moved = tmp_path / "Überraschung 笑 (1)" / "drawn"
    shutil.copytree(folder, moved, copy_function=os.link)
    below = folder if form == "csv" else moved.parent  # a csv is looked for in the folder itself
    assert named(read(form, below)) == named(read(form, folder))


@pytest.mark.parametrize("form", mimic.FORMS)
def test_a_sample_s_picture_is_its_own(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The face that was drawn for a sample is what the store holds: file, crop rule and row belong together."""
    faces: list[np.ndarray] = []
    original = mimic._faces

    def recording(*args: Any) -> Iterator[tuple[int, str, np.ndarray]]:
        for number, expression, face in original(*args):
            faces.append(np.asarray(Image.fromarray(face).convert("L")).astype(int))
            yield number, expression, face

    monkeypatch.setattr(mimic, "_faces", recording)
    drawn = mimic.draw(form, tmp_path / "drawn", COUNT, SEED)
    left_out = {"ferplus": {4, 5}, "ck_plus": set(range(4, COUNT, 5))}.get(form, set())
    numbers = dict(zip(drawn.labels, (n for n in range(COUNT) if n not in left_out), strict=True))
    table = read(form, tmp_path / "drawn")
    store = prepare(lambda: table, {"name": form}, Preparation(48, 1), tmp_path / "cache")
    assert len(store) == len(drawn.labels)
    for row, sample in enumerate(store.frame["id"]):
        distance = [np.abs(store.images[row, :, :, 0].astype(int) - face).mean() for face in faces]
        assert int(np.argmin(distance)) == numbers[sample], sample
        assert min(distance) < 10  # what jpg loses


@pytest.mark.parametrize("form", LISTS)
def test_a_label_file_that_is_edited_in_place_is_another_signature(form: str, tmp_path: Path) -> None:
    """Else a store made before the edit would be taken for it."""
    mimic.draw(form, tmp_path / "drawn", COUNT, SEED)
    before = reader(form).signature(tmp_path / "drawn")
    assert reader(form).signature(tmp_path / "drawn") == before
    path = tmp_path / "drawn" / LISTS[form][0][0]
    with path.open("a") as file:
        file.write("\n")
    assert reader(form).signature(tmp_path / "drawn") != before


# Corruptions: what is tried, and what a table is checked against

JUNK = [
    "",
    "-1",
    "99",
    "nan",
    "inf",
    "1e400",
    "..",
    "/etc/passwd",
    "C:\\x",
    "é",
    "\0",
    "\ufeff",
    '"',
    "x" * 300,
]
INSERTED = ['"', "\0", "é", " ", ";", "'", "\\", "\u202e"]
line_corruption = st.tuples(
    st.sampled_from(["cut", "replace", "repeat", "field", "insert", "drop", "swap", "bytes"]),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
file_corruption = st.tuples(
    st.sampled_from(
        ["remove", "halve", "garble", "zip", "empty", "rename", "junk", "loop", "self loop", "folder"]
    ),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)


def corrupt_line(lines: list[bytes], what: str, a: int, b: int, separator: bytes, ordered: bool) -> None:
    at = a % len(lines)
    line = lines[at]
    if what == "cut":
        lines[at] = line[: b % (len(line) + 1)]
    elif what == "replace":
        lines[at] = JUNK[b % len(JUNK)].encode()
    elif what == "repeat" and not ordered:
        lines.insert(b % len(lines), line)
    elif what == "field":
        fields = line.split(separator)
        fields[b % len(fields)] = JUNK[b % len(JUNK)].encode()
        lines[at] = separator.join(fields)
    elif what == "insert":
        place = b % (len(line) + 1)
        lines[at] = line[:place] + INSERTED[b % len(INSERTED)].encode() + line[place:]
    elif what == "bytes":
        place = b % (len(line) + 1)
        lines[at] = line[:place] + b"\xff\xfe\xe9" + line[place:]
    elif what == "drop" and len(lines) > 1 and not ordered:
        del lines[at]
    elif what == "swap" and not ordered:
        lines[at], lines[b % len(lines)] = lines[b % len(lines)], line


def corrupt_file(root: Path, what: str, a: int, b: int) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if not files:
        return
    path = files[a % len(files)]
    data = path.read_bytes()
    beside = path.with_name(f"added {b}")
    if what in ("junk", "folder", "loop", "self loop") and os.path.lexists(beside):
        return
    if what == "junk":
        beside.write_bytes(b"junk")
    elif what == "folder":
        beside.mkdir(exist_ok=True)
    elif what == "loop":
        beside.symlink_to(path.parent)
    elif what == "self loop":
        beside.symlink_to(beside)
    else:
        path.unlink()  # a hard link: the drawn tree keeps its file
        if what == "halve":
            path.write_bytes(data[: len(data) // 2])
        elif what == "garble":
            path.write_bytes(np.random.default_rng(b).bytes(len(data) % 5000))
        elif what == "zip":
            path.write_bytes(b"PK\x03\x04" + data)
        elif what == "empty":
            path.write_bytes(b"")
        elif what == "rename":
            path.with_name(path.name + ".bak").write_bytes(data)


def rows_on_disk(form: str, root: Path) -> int:
    """How many rows a data set has, counted apart from its reader."""
    if form == "ferplus":  # a blank line of votes is a row, because the images go by their place
        return count_lines(root / "fer2013.csv") - 1
    if form in LISTS:
        return sum(
            count_lines(root / name) - header for name, header in LISTS[form] if (root / name).is_file()
        )
    if form == "affectnet_2021":
        return sum(
            name.endswith("_exp.npy") for part in root.iterdir() for name in entries_of(part / "annotations")
        )
    if form == "affectnet_plus":
        return sum(name.endswith(".json") for _, _, files in os.walk(root) for name in files)
    if form == "ck_plus":
        pictures = root / "cohn-kanade-images"
        return sum((person / name).is_dir() for person in pictures.iterdir() for name in entries_of(person))
    if form == "jaffe":
        return sum(not is_folder(root / "jaffe" / name) for name in entries_of(root / "jaffe"))
    if form == "ck48":
        folders = [root / "CK+48" / name for name in entries_of(root / "CK+48")]
        return sum(not is_folder(folder / name) for folder in folders for name in entries_of(folder))
    return sum(
        len(entries_of(folder)) for part in root.iterdir() for folder in part.iterdir() if folder.is_dir()
    )


def entries_of(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def count_lines(path: Path) -> int:
    text = path.read_bytes().decode("utf-8-sig", "replace")
    return sum(bool(line.strip()) for line in re.split("\r\n|\r|\n", text))


def problems(table: SampleTable, drawn: mimic.Drawn, rows: int) -> list[str]:
    """What a reader got wrong about a corrupted tree: invented or mislabelled samples, rows that nobody counted."""
    truth: dict[str, set[str]] = {}
    for sample, expression in drawn.labels.items():
        truth.setdefault(sample, set()).add(expression)
        truth.setdefault(sample.partition("#")[0], set()).add(expression)
    found = []
    for sample, expression in named(table).items():
        known = truth.get(sample) or truth.get(sample.partition("#")[0])
        if known is None:
            found.append(f"{sample} was invented")
        elif expression not in known:
            found.append(f"{sample} is {known}, read as {expression}")
    counted = len(table) + table.rejected.height
    if counted != rows:
        found.append(f"{rows} rows, {counted} accounted for")
    return found


def check(form: str, tree: Tree, corrupt: Callable[[Path], None]) -> None:
    folder, drawn = tree(form)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "drawn"
        shutil.copytree(folder, root, copy_function=os.link)
        corrupt(root)
        try:
            table = read(form, root)
        except DataError:
            return
        assert problems(table, drawn, rows_on_disk(form, root)) == []


@pytest.mark.parametrize("form", LISTS)
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(corruptions=st.lists(line_corruption, min_size=1, max_size=6))
def test_corrupted_lines_cost_themselves_only(
    form: str, tree: Tree, corruptions: list[tuple[str, int, int]]
) -> None:
    def corrupt(root: Path) -> None:
        for what, a, b in corruptions:
            name, header = LISTS[form][a % len(LISTS[form])]
            path = root / name
            lines = path.read_bytes().splitlines()
            body = lines[header:]
            separator = b" " if form in ("expw", "raf_db") else b","
            corrupt_line(body, what, a, b, separator, ordered=form == "ferplus")
            path.unlink()
            path.write_bytes(b"\n".join([*lines[:header], *body]) + b"\n")

    check(form, tree, corrupt)


@pytest.mark.parametrize("form", mimic.FORMS)
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(corruptions=st.lists(file_corruption, min_size=1, max_size=6))
def test_corrupted_files_cost_themselves_only(
    form: str, tree: Tree, corruptions: list[tuple[str, int, int]]
) -> None:
    def corrupt(root: Path) -> None:
        for what, a, b in corruptions:
            corrupt_file(root, what, a, b)

    check(form, tree, corrupt)


@pytest.mark.parametrize("sabotage", ["shifted labels", "a lost row", "an invented sample"])
def test_a_reader_that_mislabels_or_loses_rows_would_be_noticed(sabotage: str, tree: Tree) -> None:
    folder, drawn = tree("raf_db")
    table, rows = read("raf_db", folder), rows_on_disk("raf_db", folder)
    assert problems(table, drawn, rows) == []
    frame = table.frame
    if sabotage == "shifted labels":  # codes from 1 taken for codes from 0
        frame = frame.with_columns(label=(frame["label"] + 1) % 7)
    elif sabotage == "a lost row":
        frame = frame[1:]
    else:
        frame = frame.with_columns(id="x" + frame["id"])
    assert problems(SampleTable("x", table.classes, frame, table.source, table.rejected), drawn, rows)
