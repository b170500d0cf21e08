"""What is known of FER2013 in all its forms: classes, parts and published counts."""

import polars as pl

from emotion.data.facts import Facts
from emotion.labels import label_of

# The csv's codes 0 to 6.
CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
USAGE = {"training": "train", "publictest": "val", "privatetest": "test"}

# As published (Goodfellow et al. 2013) and as counted on the files.
COUNTS = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "val": (467, 56, 496, 895, 653, 415, 607),
    "test": (491, 55, 528, 879, 594, 416, 626),
}
FACTS = Facts(
    title="FER2013",
    citation="I. J. Goodfellow, D. Erhan, P. L. Carrier, A. Courville, et al.: Challenges in Representation Learning: "
    "A Report on Three Machine Learning Contests. ICONIP 2013",
    licence="research; the pictures were found by a search engine and belong to their photographers",
    source="it can be had from https://www.kaggle.com/datasets/msambare/fer2013 (folders) or "
    "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge.",
    layouts=(
        "fer2013.csv, icml_face_data.csv or train.csv",
        "train/<emotion>/Training_<id>.jpg and test/<emotion>/{PublicTest,PrivateTest}_<id>.jpg",
    ),
    classes=CLASSES,
    counts={"": COUNTS},
    crop="images are face crops of 48 pixels already",
    cautions=(
        "the official parts share pictures, so that scores as published are too high: a run's report has its accuracy "
        "with and without the test images that have a twin in training or validation, and `data.exclude=audit.csv` "
        "leaves the twins out of training.",
    ),
    counted=(
        "1,516 groups of identical images (3,369 images); 557 of the groups cross the official parts and 57 carry "
        "contradictory labels. 288 of the 3,589 test images (8.0 %) have an identical one in the training part.",
        "2,271 pairs of near duplicates, 33 of them mirrored. The 60 least alike of the others, 100 drawn at random "
        "and all mirrored ones were looked at: each pair is one picture (`emotion data audit`, 2026-11-30).",
        "12 constant images, 11 of them in the training part.",
        "173 images are no faces: FER+ gives them no name.",
    ),
)
TOTALS = {split: sum(counts) for split, counts in COUNTS.items()}
# Of each part's images: other sets are handed out in FER2013's columns (CK+ as ckextended.csv).
_LEAST_SHARE = 0.95

# (train, val, test) of copies in which images were moved between the parts.
_RESPLITS = {
    (28_821, 7_066, 0): "the 28,821 / 7,066 re-split of Kaggle's face-expression-recognition-dataset",
    (28_821, 0, 7_066): "the 28,821 / 7,066 re-split of Kaggle's face-expression-recognition-dataset",
    (28_709, 0, 7_178): "train and both official tests pooled",
    (28_709, 7_178, 0): "train and both official tests pooled",
    (28_709, 3_589, 0): "train and one of the two official tests",
    (28_709, 0, 3_589): "train and one of the two official tests",
    (28_709, 0, 0): "the competition's train part alone",
}


def class_of(name: str) -> int | None:
    """The code of a class by its name, None where FER2013 has no such class."""
    return label_of(name, CLASSES)


def describe_parts(frame: pl.DataFrame, named: bool, rejected: int) -> tuple[list[str], bool]:
    """What to tell about a table's parts, and whether they are the official ones.

    Args:
        frame: columns label and split.
        named: whether the parts were taken from the official names Training, PublicTest and PrivateTest.
        rejected: number of rows left out, which may explain missing ones.
    """
    counted = frame.group_by("split", "label").len()
    counts = {(split, label): n for split, label, n in counted.iter_rows()}
    totals = tuple(sum(n for (part, _), n in counts.items() if part == split) for split in COUNTS)
    exceeding = any(n > COUNTS[split][label] for (split, label), n in counts.items() if split in COUNTS)
    found = " / ".join(f"{n:,}" for n in totals)
    if frame["split"].null_count():
        resplit = _RESPLITS.get((frame.height, 0, 0))
        what = f"{frame.height:,} images" + (f" ({resplit})" if resplit else "")
        return [
            f"not the official split: this form of FER2013 names no parts; {what} are split by us."
        ], False
    if not named or exceeding or not all(totals):
        resplit = _RESPLITS.get(totals, "an unknown re-split")
        return [
            f"not the official split: train / val / test {found} is {resplit}; official are 28,709 / 3,589 / "
            "3,589. Scores on it can't be compared with published ones."
        ], False
    if totals != tuple(TOTALS.values()):
        left_out = f" (rows left out: {rejected:,})" if rejected else ""
        few = any(n < _LEAST_SHARE * TOTALS[split] for split, n in zip(COUNTS, totals, strict=True))
        also = (
            " That is not the official split: scores on it can't be compared with published ones."
            if few
            else ""
        )
        return [
            f"incomplete: found {found} images in the official parts, 28,709 / 3,589 / 3,589 were published"
            f"{left_out}.{also}"
        ], not few
    return [], True
