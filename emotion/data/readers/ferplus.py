"""FER+: FER2013's images with ten people's votes each (`fer2013new.csv` beside a `fer2013.csv`)."""

from pathlib import Path

import numpy as np
import polars as pl

from emotion.data.facts import Facts
from emotion.data.images import ImageArray
from emotion.data.layout import existing_root, find_below, locate, tree_digest
from emotion.data.readers import fer2013_csv
from emotion.data.readers.fer2013_facts import CLASSES as FER2013_CLASSES
from emotion.data.readers.fer2013_facts import FACTS as FER2013
from emotion.data.readers.fer2013_facts import USAGE
from emotion.data.readers.ferplus_rules import CLASSES, COLUMNS, Rule, distribution
from emotion.data.table import SampleTable, rejections
from emotion.data.textrows import split_quoted, text_lines, whole_number
from emotion.errors import DataError, LayoutError
from emotion.labels import canonical

NATURAL_SIZE_PX = 48
CHANNELS = 1
_REVISION = "1"

# Images a part (train, val, test), as counted on the published votes.
PUBLISHED = {
    "majority": (25_060, 3_199, 3_153),
    "cross_entropy": (27_956, 3_199, 3_153),
    "probability": (27_956, 3_199, 3_153),
    "multi_target": (27_671, 3_199, 3_153),
}
FACTS = Facts(
    title="FER+ (FER2013 with votes)",
    citation="E. Barsoum, C. Zhang, C. Canton Ferrer, Z. Zhang: Training Deep Networks for Facial Expression "
    "Recognition with Crowd-Sourced Label Distribution. ICMI 2016",
    licence="votes: MIT; images: as FER2013",
    source="the votes are at https://github.com/microsoft/FERPlus; " + FER2013.source,
    layouts=(
        "fer2013new.csv beside fer2013.csv or icml_face_data.csv in its original order, or in folders below",
    ),
    classes=CLASSES,
    crop="images are face crops already",
    group="none known; FER2013 holds many pictures several times",
    cautions=("votes are joined to images by the order of rows: the image names drift.",),
    counted=tuple(
        f"`data.label_rule={rule}`: {' / '.join(f'{n:,}' for n in parts)} images in train / val / test."
        for rule, parts in PUBLISHED.items()
    ),
)
_EXPECTED = "an FER+ download: " + FACTS.layouts[0]
_VOTES = "fer2013new.csv"
_IMAGES = tuple(name for name in fer2013_csv.FILE_NAMES if name != "train.csv")
_CELLS = 2 + len(COLUMNS)
_PEOPLE = (9, 10)  # ten were asked of each image; one published row has nine votes
_BLOCK, _LEAST_IN_BLOCK = (
    500,
    0.35,
)  # a row that is lost and one that is added shift only what lies between them
_LEAST_AGREEMENT = 0.5  # by chance it is 0.19
_NOT_ORIGINAL = (
    "Its rows are not in the order in which it was published (a re-ordered copy, or one made from folders), so the "
    "votes can't be joined. Use the fer2013.csv of Kaggle's competition "
    "challenges-in-representation-learning-facial-expression-recognition-challenge."
)


def signature(root: Path | None, label_rule: Rule = "majority") -> str:
    """A cheap digest of what `read` would read."""
    votes, images = _locate(root)
    return f"ferplus-{_REVISION}-{label_rule}-{tree_digest(votes, images)}"


def read(root: Path | None, label_rule: Rule = "majority") -> SampleTable:
    """The table of FER+: the label is the first of the votes that a rule keeps.

    Args:
        root: a folder that holds the votes and FER2013's csv, next to each other or in folders below.
        label_rule: how the training part's votes become labels: `majority`; `cross_entropy`, whose targets are the
            distributions; `probability`, which samples one label from it at each draw; `multi_target`, all labels
            with 30 % of the votes, by their shares (the original work trains it otherwise, see `ferplus_rules`).
            Validation and test always use majority.

    Raises:
        DataError: a file is missing or broken, or the csv isn't in its original order.
    """
    votes_path, images_path = _locate(root)
    votes, broken = _votes(votes_path)
    images = fer2013_csv.read(images_path)
    total = len(images) + images.rejected.height
    if total != len(votes):
        raise DataError(
            f"expected as many rows in {images_path} as in {votes_path} ({len(votes):,}), found {total:,}. "
            f"{_NOT_ORIGINAL}"
        )
    _require_original_order(images, votes, images_path)
    rejected = list(images.rejected.iter_rows())
    unread = set(images.rejected["id"])
    rejected += [row for row in broken if row[0] not in unread]  # each row is counted once
    kept: list[tuple[int, str, int, str, list[float]]] = []
    for position, (name, split) in enumerate(images.frame.select("id", "split").iter_rows()):
        row = votes[_row(name)]
        if row is None:
            continue  # rejected where it was read
        if split != row[0]:
            detail = f"{row[0]} in the votes, {split} in FER2013"
            rejected.append((name, "parts differ", detail))
            continue
        rule: Rule = label_rule if split == "train" else "majority"
        shares, why = distribution(row[1], rule)
        if shares is None:
            detail = f"votes {', '.join(map(str, row[1]))}"
            rejected.append((name, why, detail))
            continue
        kept.append((position, name, int(shares.argmax()), split, shares.tolist()))
    frame = pl.DataFrame(
        {
            "id": [name for _, name, _, _, _ in kept],
            "label": [label for _, _, label, _, _ in kept],
            "split": [split for _, _, _, split, _ in kept],
            "group": [None] * len(kept),
            "target": [shares for _, _, _, _, shares in kept],
        },
        schema={
            "id": pl.String,
            "label": pl.Int64,
            "split": pl.String,
            "group": pl.String,
            "target": pl.List(pl.Float32),
        },
    )
    pixels = images.source
    assert isinstance(pixels, ImageArray)
    return SampleTable(
        name="ferplus",
        classes=CLASSES,
        frame=frame.drop("target") if label_rule == "majority" else frame,
        source=ImageArray(pixels.images[[position for position, *_ in kept]]),
        rejected=rejections(rejected),
        notes=(*FACTS.cautions, *_compared(frame, label_rule)),
        official=True,
        target_use="sampled" if label_rule == "probability" else "distribution",
    )


def _compared(frame: pl.DataFrame, rule: Rule) -> tuple[str, ...]:
    found = tuple(frame.filter(split=part).height for part in ("train", "val", "test"))
    if found == PUBLISHED[rule]:
        return ()
    counts, published = (" / ".join(f"{n:,}" for n in numbers) for numbers in (found, PUBLISHED[rule]))
    return (f"not the published counts: {counts} images by the rule {rule}, {published} were published.",)


def _locate(root: Path | None) -> tuple[Path, Path]:
    """The votes and FER2013's csv."""
    try:
        place = locate(
            root,
            _EXPECTED,
            lambda folder: bool(_named(folder, _IMAGES) and _named(folder, (_VOTES,))),
            FACTS.source,
            1,
        )
    except LayoutError:
        given = existing_root(root, _EXPECTED)
        lone = _named(given, (_VOTES,)) if given.is_dir() else []
        if not lone:
            raise
        raise DataError(
            f"expected fer2013.csv or icml_face_data.csv, in its original order, beside {lone[0]}: FER+ has votes and "
            f"no images of its own; {FACTS.source}"
        ) from None
    votes, images = _named(place, (_VOTES,)), _named(place, _IMAGES)
    if len(votes) > 1 or len(images) > 1:
        found = ", ".join(str(path.relative_to(place)) for path in votes + images)
        raise DataError(
            f"expected one {_VOTES} and one csv of FER2013 in {place}, found {found}. Keep one of each."
        )
    return votes[0], images[0]


def _named(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The files of these names at or right below a folder, one a folder."""
    found = find_below(folder, lambda below: any((below / name).is_file() for name in names), depth=1)
    return [next(below / name for name in names if (below / name).is_file()) for below in found]


def _row(sample_id: str) -> int:
    """The row, from 0, that an id of `fer2013_csv` names."""
    return int(sample_id.rpartition("-")[2]) - 1


def _votes(path: Path) -> tuple[list[tuple[str, np.ndarray] | None], list[tuple[str, str, str]]]:
    """Part and votes of each row, None for a broken one; and the broken ones. Blank rows at the end are none."""
    rows: list[tuple[str, np.ndarray] | None] = []
    broken: list[tuple[str, str, str]] = []
    lines = text_lines(path, blank=True)  # a row that was blanked keeps its place
    number, header = next(lines, (0, ""))
    names = [cell.strip().lower() for cell in split_quoted(header)]
    if names[2:] != [name.lower() for name in COLUMNS]:
        raise DataError(
            f"expected the columns Usage, Image name, {', '.join(COLUMNS)} in {path}; found "
            f"{', '.join(names)[:200] or 'an empty file'}. Download it again: {FACTS.source}"
        )
    body = list(lines)
    while body and not body[-1][1].strip(" \t,"):
        body.pop()
    for number, line in body:
        cells = split_quoted(line)
        counts = [whole_number(cell) for cell in cells[2:]]
        part = USAGE.get(cells[0].strip().lower()) if cells else None
        sample_id, where = f"row-{len(rows) + 1:05d}", f"{path.name}:{number}"
        good = [count for count in counts if count is not None and count >= 0]
        if len(cells) != _CELLS or len(good) != len(COLUMNS) or sum(good) not in _PEOPLE:
            expected = f"expected {len(COLUMNS)} counts of ten people's votes"
            broken.append((sample_id, "broken votes", f"{where}: {expected}"))
            rows.append(None)
        elif part is None:
            broken.append((sample_id, "unknown Usage", f"{where}: Usage is {cells[0]!r}"))
            rows.append(None)
        else:
            rows.append((part, np.array(good, np.int64)))
    return rows, broken


def _require_original_order(
    images: SampleTable, votes: list[tuple[str, np.ndarray] | None], path: Path
) -> None:
    """Raises DataError where the votes and FER2013's own labels agree no more than by chance."""
    to_fer2013 = {
        column: FER2013_CLASSES.index(canonical(name))
        for column, name in enumerate(CLASSES)
        if canonical(name) in FER2013_CLASSES
    }
    agreeing: list[bool] = []
    for name, label in images.frame.select("id", "label").iter_rows():
        row = votes[_row(name)]
        if row is not None and int(row[1].argmax()) in to_fer2013:
            agreeing.append(to_fer2013[int(row[1].argmax())] == label)
    blocks = [agreeing[start : start + _BLOCK] for start in range(0, len(agreeing), _BLOCK)]
    least = min((sum(block) / _BLOCK for block in blocks if len(block) == _BLOCK), default=1.0)
    share = sum(agreeing) / len(agreeing) if agreeing else 0.0
    if share < _LEAST_AGREEMENT or least < _LEAST_IN_BLOCK:
        where = "" if share < _LEAST_AGREEMENT else f", and only {least:.0%} of some {_BLOCK} in a row"
        raise DataError(
            f"expected the votes of FER+ to agree with the labels in {path}, found that {share:.0%} of "
            f"{len(agreeing):,} do{where} (19% would by chance). {_NOT_ORIGINAL}"
        )
