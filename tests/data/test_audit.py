"""The audit of a set whose faults were planted, and of the real ones."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emotion.data import audit as auditing
from emotion.data.audit import Audit, audit
from emotion.data.dataset import open_store
from emotion.data.drawn import DrawnFaces
from emotion.data.images import ImageArray
from emotion.data.preparation import Preparation
from emotion.data.readers import fer2013_facts, lfw_ms
from emotion.data.selection import select
from emotion.data.store import Store, prepare
from emotion.data.table import SampleTable, rejections
from emotion.launch import compose
from emotion.reporting import audit_page
from emotion.reporting.report import render
from emotion.schema.data import Fer2013Data
from tests.reporting.page_tree import parse

CLASSES = ("neutral", "anger")
# id, copy of (None: a face of its own), how, label, split, group
PLANTED = [
    ("twin-train", 0, "same", 0, "train", "a"),
    ("twin-test", 0, "same", 0, "test", "b"),
    ("near-val", 1, "brighter", 0, "val", "c"),
    ("near-train", 1, "same", 1, "train", "d"),
    ("odd-one", 2, "same", 0, "train", "e"),
    ("odd-two", 2, "same", 1, "train", "e"),
    ("black", None, "black", 0, "train", "f"),
    ("faint", None, "faint", 0, "test", "g"),
    ("person-train", None, "", 1, "train", "h"),
    ("person-test", None, "", 1, "test", "h"),
    ("mirror-train", 3, "same", 0, "train", "i"),
    ("mirror-also", 3, "mirrored", 0, "train", "i"),
]


@pytest.fixture
def planted(tmp_path: Path) -> Store:
    faces = DrawnFaces(count=40, persons=40, seed=3)
    images = [faces.read(row) for row in range(40)]
    rows = [(f"face-{row:02d}", row % 2, ("train", "val", "test")[row % 3], f"p{row}") for row in range(20)]
    shown = images[20:]
    kept = images[:20]
    for number, (sample, of, how, label, split, group) in enumerate(PLANTED):
        image = shown[number] if of is None else shown[15 + of]
        if how == "brighter":
            image = np.clip(image * 1.15 + 3, 0, 255).astype(np.uint8)
        if how == "mirrored":
            image = image[:, ::-1]
        if how in ("black", "faint"):
            image = np.full_like(image, 20)
        if how == "faint":
            image[:24] += 2
        kept.append(image)
        rows.append((sample, label, split, group))
    frame = pl.DataFrame(
        rows,
        schema={"id": pl.String, "label": pl.Int64, "split": pl.String, "group": pl.String},
        orient="row",
    )
    rejected = rejections([("gone.jpg", "missing file", "not in images/")])
    table = SampleTable("planted", CLASSES, frame, ImageArray(np.stack(kept)), rejected, official=True)
    return prepare(lambda: table, {"name": "planted"}, Preparation(48, 3), tmp_path / "cache")


def ids(found: Audit, kind: str) -> set[str]:
    return set(found.of(kind)["id"])


def test_everything_planted_is_found_and_nothing_else(planted: Store) -> None:
    found = audit(planted)
    assert ids(found, auditing.IDENTICAL) == {"twin-train", "twin-test", "odd-one", "odd-two"}
    assert ids(found, auditing.NEAR) == {"near-val", "near-train"}
    assert ids(found, auditing.MIRRORED) == {"mirror-train", "mirror-also"}
    assert (found.counts["confirmed pairs of near duplicates"], found.counts["of which one is mirrored"]) == (
        2,
        1,
    )
    assert ids(found, auditing.CROSSING) == {"twin-train", "twin-test", "near-val", "near-train"}
    assert ids(found, auditing.CONTRADICTORY) == {"odd-one", "odd-two"}
    assert ids(found, auditing.NEAR_CONTRADICTORY) == {"near-val", "near-train"}
    assert ids(found, auditing.CONSTANT) == {"black"}
    assert ids(found, auditing.NEARLY_BLANK) == {"faint"}
    assert ids(found, auditing.BOTH_SIDES) == {"person-train", "person-test"}
    assert ids(found, auditing.SEVERAL_GROUPS) == {"twin-train", "twin-test", "near-val", "near-train"}
    assert ids(found, f"{auditing.LEFT_OUT}: missing file") == {"gone.jpg"}
    assert not any(sample.startswith("face-") for sample in found.findings["id"])


def test_what_it_proposes_leaves_the_test_part_as_it_is(planted: Store) -> None:
    findings = audit(planted).findings
    proposed = set(findings.filter("exclude")["id"])
    assert proposed == {"twin-train", "near-train", "odd-one", "odd-two", "black"}


def test_partners_and_details_name_the_other(planted: Store) -> None:
    findings = audit(planted).findings
    row = findings.filter((pl.col("id") == "odd-two") & (pl.col("finding") == auditing.CONTRADICTORY)).row(
        0, named=True
    )
    assert (row["partner"], row["detail"]) == ("odd-one", "identical images are labelled anger, neutral")
    near = findings.filter((pl.col("id") == "near-val") & (pl.col("finding") == auditing.NEAR)).row(
        0, named=True
    )
    assert near["partner"] == "near-train"
    assert near["value"] >= 0.95


def test_the_csv_is_what_a_configuration_takes(planted: Store, tmp_path: Path) -> None:
    file = tmp_path / "audit.csv"
    file.write_text(audit(planted).findings.write_csv())
    left = select(planted, Fer2013Data(exclude=file))
    assert set(planted.frame["id"]) - set(left.frame["id"]) == {
        "twin-train",
        "near-train",
        "odd-one",
        "odd-two",
        "black",
    }
    again = audit(left)
    assert ids(again, auditing.CROSSING) == set()
    assert again.counts["groups with contradictory labels"] == 0


def test_an_audit_without_faults_is_quiet(tmp_path: Path) -> None:
    store = open_store(compose(["data.count=60"]).data, compose([]).preprocess, tmp_path)
    assert audit(store).findings.height == 0


def test_the_page_shows_the_pictures(planted: Store) -> None:
    html = render(audit_page.make(audit(planted)))
    page = parse(html)
    assert {"summary", "identical", "crossing", "near", "near-labels", "groups", "blank"} <= {
        node.attributes.get("id") for node in page.find("section")
    }
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "odd-one" in html
    assert html.count("data:image/webp") == len(audit_page.make(audit(planted)).faces)


@pytest.mark.slow
def test_real_fer2013(emotion_data: Path, tmp_path: Path) -> None:
    """The counts that were made by hand from the files, from nothing prepared."""
    config = compose(["data=fer2013", f"data.root={emotion_data / 'fer2013'}"])
    found = audit(open_store(config.data, config.preprocess, tmp_path))
    shutil.rmtree(tmp_path)
    counts = found.counts
    assert counts["groups of identical images"] == 1516
    assert counts["images in them"] == 3369
    assert counts["groups that cross parts"] == 557
    assert counts["groups with contradictory labels"] == 57
    assert counts["test images with an identical one in train"] == 288  # 8.0 % of 3,589
    assert counts["confirmed pairs of near duplicates"] > 2000
    assert 20 < counts["of which one is mirrored"] < 50  # 33, all of them looked at
    assert found.found.largest < 50
    told = " ".join(fer2013_facts.FACTS.counted)  # the data card
    for key, what in (
        ("groups of identical images", "groups of identical images"),
        ("images in them", "images"),
        ("groups that cross parts", "of the groups cross"),
        ("groups with contradictory labels", "carry"),
        ("test images with an identical one in train", "of the 3,589 test"),
        ("confirmed pairs of near duplicates", "pairs of near"),
        ("of which one is mirrored", "of them mirrored"),
        ("constant image", "constant images"),
    ):
        assert f"{counts[key]:,} {what}" in told


@pytest.mark.slow
def test_real_lfw_ms(emotion_data: Path, tmp_path: Path) -> None:
    study = lfw_ms.read(emotion_data / "lfw_ms")
    assert len(study) == 12_758
    assert study.frame["group"].n_unique() == 5_606
    config = compose(["data=lfw_ms", f"data.root={emotion_data / 'lfw_ms'}", "data.part=all"])
    found = audit(open_store(config.data, config.preprocess, tmp_path))
    shutil.rmtree(tmp_path)
    left_out = found.findings.filter(pl.col("finding").str.starts_with(auditing.LEFT_OUT))
    assert len(found.store) + left_out.height == 13_690
    assert left_out["finding"].value_counts(sort=True).rows() == [
        (f"{auditing.LEFT_OUT}: listed twice", 7),
        (f"{auditing.LEFT_OUT}: contradictory labels", 2),
    ]
    assert set(left_out.filter(pl.col("finding").str.ends_with("labels"))["id"]) == {"Avinash_30.jpg"}
