"""FER+: the published counts from the real votes, and a join that notices when rows have moved."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from emotion.data import mimic
from emotion.data.images import ImageArray
from emotion.data.readers import ferplus
from emotion.data.readers.fer2013_facts import CLASSES as FER2013
from emotion.data.readers.ferplus_rules import CLASSES, Rule, distribution
from emotion.data.recognise import recognise
from emotion.data.table import SampleTable
from emotion.errors import DataError, LayoutError


def shares(votes: list[int], rule: Rule) -> dict[str, float] | str:
    found, why = distribution(np.array(votes, np.int64), rule)
    if found is None:
        return why
    return {name: round(float(share), 3) for name, share in zip(CLASSES, found, strict=True) if share}


# neutral happiness surprise sadness anger disgust fear contempt unknown NF
@pytest.mark.parametrize(
    ("votes", "majority", "cross_entropy", "multi_target"),
    [
        ([10, 0, 0, 0, 0, 0, 0, 0, 0, 0], {"neutral": 1}, {"neutral": 1}, {"neutral": 1}),
        # the single vote is dropped: 6 of 9 is a majority, 9 of 9 are needed for three quarters
        ([6, 3, 1, 0, 0, 0, 0, 0, 0, 0], {"neutral": 1}, {"neutral": 0.667, "happiness": 0.333},
         {"neutral": 0.667, "happiness": 0.333}),
        # 5 of 10 is no majority
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], "no agreement", {"neutral": 0.5, "happiness": 0.5},
         {"neutral": 0.5, "happiness": 0.5}),
        # four equal labels are more than three
        ([0, 2, 2, 2, 2, 0, 0, 0, 0, 0], "no agreement", "no agreement", "no agreement"),
        ([0, 0, 0, 0, 0, 0, 0, 0, 8, 2], "unknown or no face", "unknown or no face", "unknown or no face"),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], "unknown or no face", "unknown or no face", "unknown or no face"),
        # unknown after an emotion ends the search and isn't kept
        ([6, 0, 0, 0, 0, 0, 0, 0, 4, 0], {"neutral": 1}, {"neutral": 1}, {"neutral": 1}),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], "no votes", "no votes", "no votes"),
    ],
)  # fmt: skip
def test_the_rules_by_hand(
    votes: list[int], majority: object, cross_entropy: object, multi_target: object
) -> None:
    assert shares(votes, "majority") == majority
    assert shares(votes, "cross_entropy") == shares(votes, "probability") == cross_entropy
    assert shares(votes, "multi_target") == multi_target


@pytest.mark.parametrize(
    ("rule", "published"),
    [
        ("majority", (25_060, 3_199, 3_153)),
        ("cross_entropy", (27_956, 3_505, 3_505)),
        ("multi_target", (27_671, 3_472, 3_472)),
    ],
)
def test_the_published_counts_from_the_real_votes(
    emotion_data: Path, rule: Rule, published: tuple[int, ...]
) -> None:
    votes, broken = ferplus._votes(emotion_data / "ferplus" / "fer2013new.csv")
    assert (len(votes), broken) == (35_887, [])
    rows = [row for row in votes if row is not None]
    kept = Counter(part for part, counts in rows if distribution(counts, rule)[0] is not None)
    assert tuple(kept[part] for part in ("train", "val", "test")) == published
    assert ferplus.PUBLISHED[rule][0] == published[0]


def test_the_real_re_ordered_csv_is_refused(emotion_data: Path) -> None:
    with pytest.raises(DataError, match=r"18% of 35,\d+ do \(19% would by chance\).* not in the order"):
        ferplus.read(emotion_data)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def write(path: Path, rows: list[str]) -> None:
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mimic.draw("ferplus", tmp_path / "ferplus", 70, 1)
    return tmp_path / "ferplus"


def test_rules_give_targets_to_the_training_part_and_majority_to_the_others(root: Path) -> None:
    table = ferplus.read(root, "cross_entropy")
    train, others = (table.frame.filter(split=part)["target"].to_list() for part in ("train", "val"))
    assert all(sorted(target)[-2:] == pytest.approx([0.3, 0.7]) for target in train)
    assert all(max(target) == 1 for target in others)
    assert table.target_use == "distribution"
    assert ferplus.read(root, "probability").target_use == "sampled"
    assert "target" not in ferplus.read(root, "majority").frame.columns


def test_a_shuffled_csv_is_refused(root: Path) -> None:
    header, *rows = lines(root / "fer2013.csv")
    write(root / "fer2013.csv", [header, *sorted(rows, key=lambda row: row[2:90])])
    with pytest.raises(DataError, match="agree with the labels .* Its rows are not in the order"):
        ferplus.read(root)


def test_a_csv_with_other_rows_is_refused(root: Path) -> None:
    write(root / "fer2013.csv", lines(root / "fer2013.csv")[:-1])
    with pytest.raises(DataError, match=r"expected as many rows in .* \(70\), found 69"):
        ferplus.read(root)


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013new.csv"])
@pytest.mark.parametrize("end", ["\n", "  \n\n", ",,\r\n"])
def test_blank_rows_at_the_end_are_none(root: Path, name: str, end: str) -> None:
    before = ferplus.read(root)
    with (root / name).open("a", newline="") as file:
        file.write(end)
    after = ferplus.read(root)
    assert after.frame.equals(before.frame)
    assert after.rejected.equals(before.rejected)


def test_a_shift_in_the_middle_is_refused() -> None:
    """One row lost and one added leave the number of rows and most of the agreement: only a block shows it."""
    codes = np.random.default_rng(0).integers(0, 7, 2500)
    column = (4, 5, 6, 1, 3, 2, 0)  # FER+'s column of each of FER2013's codes
    frame = pl.DataFrame(
        {
            "id": [f"row-{n + 1:05d}" for n in range(2500)],
            "label": codes,
            "split": ["train"] * 2500,
            "group": None,
        },
        schema_overrides={"group": pl.String},
    )
    images = SampleTable("fer2013", FER2013, frame, ImageArray(np.zeros((2500, 1, 1), np.uint8)))
    votes: list[Any] = [("train", 9 * np.eye(10, dtype=np.int64)[column[code]]) for code in codes]
    ferplus._require_original_order(images, votes, Path("fer2013.csv"))
    shifted = [*votes[:450], votes[1050], *votes[450:1050], *votes[1051:]]
    with pytest.raises(DataError, match=r"(79|80)% of 2,500 do, and only 1\d% of some 500 in a row"):
        ferplus._require_original_order(images, shifted, Path("fer2013.csv"))


def test_folders_have_no_order(root: Path) -> None:
    (root / "fer2013.csv").unlink()
    (root / "train" / "angry").mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"in its original order, beside .*fer2013new.csv: FER\+ has votes and no"
    ):
        ferplus.read(root)
    (root / "fer2013new.csv").unlink()
    with pytest.raises(LayoutError, match=r"expected an FER\+ download.* holds train/"):
        ferplus.read(root)


def test_votes_alone_are_recognised_as_half_of_it(root: Path) -> None:
    (root / "fer2013.csv").unlink()
    with pytest.raises(DataError) as refused:
        recognise(root)
    assert str(refused.value).startswith(
        "expected fer2013.csv or icml_face_data.csv, in its original order, beside"
    )
