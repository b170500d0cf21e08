"""What is wrong with a data set: twins, contradictions, blank pictures, groups on both sides, imbalance."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from emotion.data import duplicates
from emotion.data.duplicates import Duplicates
from emotion.data.skew import skew_notes
from emotion.data.store import Store
from emotion.data.table import SPLITS

# Standard deviation of the grey levels (0 to 255) below which nothing can be seen in a picture.
BLANK = 4.0
_CHUNK = 1024
FINDINGS = {
    "id": pl.String,
    "finding": pl.String,
    "split": pl.String,
    "label": pl.String,
    "cluster": pl.String,
    "partner": pl.String,
    "value": pl.Float64,
    "detail": pl.String,
    "exclude": pl.Boolean,
}
IDENTICAL, NEAR, MIRRORED = "identical", "near duplicate", "mirrored near duplicate"
CROSSING = "twin in another part"
CONTRADICTORY, NEAR_CONTRADICTORY = "contradictory labels", "near duplicates labelled differently"
SEVERAL_GROUPS, BOTH_SIDES = "one picture, several groups", "group in several parts"
CONSTANT, NEARLY_BLANK, LABEL_ERROR = "constant image", "nearly blank image", "likely label error"
LEFT_OUT = "left out already"


@dataclass(frozen=True)
class Audit:
    """What was found in a store.

    Attributes:
        store: that was looked at.
        found: its duplicates.
        findings: one row an image and finding, as in audit.csv: id, finding, split, label, cluster (first id of the
            cluster), partner (another image that belongs to the finding), value, detail, exclude (proposed).
        counts: numbers by name, in the order in which they are to be told.
        warnings: sentences about the set as a whole.
        brightness: (N,) mean grey level of each image, 0 to 255.
        contrast: (N,) standard deviation of the grey levels.
    """

    store: Store
    found: Duplicates
    findings: pl.DataFrame
    counts: dict[str, int]
    warnings: tuple[str, ...] = ()
    brightness: np.ndarray = field(default_factory=lambda: np.empty(0))
    contrast: np.ndarray = field(default_factory=lambda: np.empty(0))

    def of(self, *kinds: str) -> pl.DataFrame:
        """The findings of these kinds."""
        return self.findings.filter(pl.col("finding").is_in(kinds))


def audit(store: Store) -> Audit:
    """Look at every image of a store.

    `exclude` is proposed for contradictory identical images, for blank ones, and for the copy that is trained on or
    selected by where a twin (identical or near) is in a later part; never for an image of a given test part: it stays
    as published, so that scores can be compared.
    """
    found = duplicates.of_store(store)
    frame = _described(store, found)
    brightness, contrast = grey_levels(store)
    identical, exact_counts = _identical(frame)
    near, near_counts = _near(frame, found)
    parts = [
        identical,
        near,
        *_clusters(frame),
        _groups(frame),
        _blank(frame, contrast),
        _rejected(store),
    ]
    findings = pl.concat(
        [part.select(pl.col(name).cast(kind) for name, kind in FINDINGS.items()) for part in parts]
    )
    counts = {"images": len(store), **exact_counts, **near_counts}
    seen = dict(findings.group_by("finding", maintain_order=True).len().iter_rows())
    counts |= {kind: n for kind, n in seen.items() if kind not in (IDENTICAL, NEAR, MIRRORED, CONTRADICTORY)}
    return Audit(store, found, findings, counts, _warnings(store, found), brightness, contrast)


def label_findings(
    store: Store, ids: Sequence[str], suggested: Sequence[str], margins: Sequence[float]
) -> pl.DataFrame:
    """Findings for likely label errors, in the order given; none is proposed for exclusion: people decide that."""
    known = store.frame.select("id", "split", pl.col("label").replace_strict(_names(store)))
    rows = pl.DataFrame(
        {"id": list(ids), "class": list(suggested), "value": list(margins)},
        schema={"id": pl.String, "class": pl.String, "value": pl.Float64},  # there may be none
    )
    return (
        rows.join(known, on="id", how="left", maintain_order="left")
        .with_columns(
            finding=pl.lit(LABEL_ERROR),
            detail=pl.format("looks like {}", "class"),
            cluster=None,
            partner=None,
            exclude=False,
        )
        .select(pl.col(name).cast(kind) for name, kind in FINDINGS.items())
    )


def grey_levels(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each image's grey levels, both (N,) float64, 0 to 255."""
    means, deviations = np.empty(len(store)), np.empty(len(store))
    for start in range(0, len(store), _CHUNK):
        some = np.arange(start, min(start + _CHUNK, len(store)))
        grey = np.asarray(store.images[some]).mean(axis=3).reshape(len(some), -1)
        means[some], deviations[some] = grey.mean(axis=1), grey.std(axis=1)
    return means, deviations


def _names(store: Store) -> dict[int, str]:
    return dict(enumerate(store.classes))


def _described(store: Store, found: Duplicates) -> pl.DataFrame:
    """The store's frame with class names, and what is known of the cluster of each image."""
    frame = store.frame.with_columns(
        label=pl.col("label").replace_strict(_names(store), return_dtype=pl.String),
        cluster=pl.Series(store.frame["id"].gather(found.clusters)),
        rank=pl.col("split").replace_strict({name: rank for rank, name in enumerate(SPLITS)}, default=None),
    )
    together = {
        "size": pl.len(),
        "labels": pl.col("label").n_unique(),
        "first": pl.col("id").first(),
        "second": pl.col("id").slice(1, 1).first(),
        "last_rank": pl.col("rank").max(),
        "parts": pl.col("split").n_unique(),
        "people": pl.col("group").drop_nulls().n_unique(),
        "said": pl.col("label").unique().sort().str.join(", "),
        "where": pl.col("split").unique().sort().str.join(", "),
    }
    for name, over in (("exact", "digest"), ("near", "cluster")):
        frame = frame.with_columns(
            value.over(over).alias(f"{name}_{key}")
            for key, value in together.items()
            if key not in ("said", "where")
        )
        texts = frame.group_by(over).agg(
            together["said"].alias(f"{name}_said"), together["where"].alias(f"{name}_where")
        )
        frame = frame.join(texts, on=over, how="left", maintain_order="left")
    return frame


def _identical(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    twins = frame.filter(pl.col("exact_size") > 1)
    partner = pl.when(pl.col("id") == pl.col("exact_first")).then("exact_second").otherwise("exact_first")
    listed = twins.with_columns(
        finding=pl.lit(IDENTICAL),
        partner=partner,
        value=1.0,
        detail=pl.format("{} identical images", "exact_size"),
        exclude=False,
    )
    contradictory = twins.filter(pl.col("exact_labels") > 1).with_columns(
        finding=pl.lit(CONTRADICTORY),
        partner=partner,
        value=1.0,
        detail=pl.format("identical images are labelled {}", "exact_said"),
        exclude=pl.col("split").fill_null("") != "test",
    )
    trained = twins.filter(pl.col("split") == "train")["digest"].unique()
    counts = {
        "groups of identical images": twins["digest"].n_unique(),
        "images in them": twins.height,
        "groups that cross parts": twins.filter(pl.col("exact_parts") > 1)["digest"].n_unique(),
        "test images with an identical one in train": twins.filter(
            (pl.col("split") == "test") & pl.col("digest").is_in(trained.implode())
        ).height,
        "groups with contradictory labels": contradictory["digest"].n_unique(),
        "images in those": contradictory.height,
    }
    return pl.concat([listed, contradictory], how="diagonal"), counts


def _near(frame: pl.DataFrame, found: Duplicates) -> tuple[pl.DataFrame, dict[str, int]]:
    """Each image of a confirmed pair once, with the partner most like it; once more if it has mirrored partners."""
    both = pl.concat(
        [
            found.near.select("mirrored", row="first", other="second", value="correlation"),
            found.near.select("mirrored", row="second", other="first", value="correlation"),
        ]
    )
    best = both.sort("value", "other", descending=[True, False]).unique(("row", "mirrored"), keep="first")
    best = best.sort("row", "mirrored")
    rows, others = frame[best["row"].to_list()], frame[best["other"].to_list()]
    listed = rows.with_columns(
        finding=pl.Series(
            best["mirrored"].replace_strict({False: NEAR, True: MIRRORED}, return_dtype=pl.String)
        ),
        partner=others["id"],
        value=best["value"],
        detail=pl.format("{} images of one picture", "near_size"),
        exclude=False,
    )
    inside = frame.filter(pl.col("cluster").is_in(rows["cluster"].implode()))
    counts = {
        "confirmed pairs of near duplicates": found.near.height,
        "of which one is mirrored": found.mirrored,
        "clusters that they make, with identical ones": inside["cluster"].n_unique(),
        "images in these clusters": inside.height,
        "clusters that cross parts": inside.filter(pl.col("near_parts") > 1)["cluster"].n_unique(),
        "clusters labelled differently": inside.filter(pl.col("near_labels") > 1)["cluster"].n_unique(),
        "images in the largest": found.largest,
    }
    different = inside.filter((pl.col("near_labels") > 1) & (pl.col("exact_labels") == 1)).with_columns(
        finding=pl.lit(NEAR_CONTRADICTORY),
        partner=_partner(),
        value=None,
        detail=pl.format("copies of one picture are labelled {}", "near_said"),
        exclude=False,
    )
    return pl.concat([listed, different], how="diagonal"), counts


def _partner() -> pl.Expr:
    return pl.when(pl.col("id") == pl.col("near_first")).then("near_second").otherwise("near_first")


def _clusters(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """Twins in several parts, and under several persons."""
    crossing = frame.filter((pl.col("near_size") > 1) & (pl.col("near_parts") > 1)).with_columns(
        finding=pl.lit(CROSSING),
        partner=_partner(),
        value=None,
        detail=pl.format("{} copies in {}", "near_size", "near_where"),
        exclude=pl.col("rank") < pl.col("near_last_rank"),
    )
    people = frame.filter(pl.col("near_people") > 1).with_columns(
        finding=pl.lit(SEVERAL_GROUPS),
        partner=_partner(),
        value=None,
        detail=pl.format("in the group {}; its copies are in others", pl.col("group").fill_null("none")),
        exclude=False,
    )
    return [crossing, people]


def _groups(frame: pl.DataFrame) -> pl.DataFrame:
    named = frame.filter(pl.col("group").is_not_null())
    where = named.group_by("group").agg(
        pl.col("split").unique().sort().str.join(", ").alias("where"), pl.col("split").n_unique().alias("n")
    )
    return named.join(where.filter(pl.col("n") > 1), on="group", maintain_order="left").with_columns(
        finding=pl.lit(BOTH_SIDES),
        partner=None,
        value=None,
        detail=pl.format("{} is in {}", "group", "where"),
        exclude=False,
    )


def _blank(frame: pl.DataFrame, contrast: np.ndarray) -> pl.DataFrame:
    rows = np.flatnonzero(contrast < BLANK)
    return frame[rows].with_columns(
        finding=pl.Series(np.where(contrast[rows] == 0, CONSTANT, NEARLY_BLANK).tolist(), dtype=pl.String),
        partner=None,
        value=pl.Series(contrast[rows]),
        detail=pl.lit("standard deviation of the grey levels"),
        exclude=pl.col("split").fill_null("") != "test",
    )


def _rejected(store: Store) -> pl.DataFrame:
    """What the reader or the preparation left out already."""
    return store.rejected.select(
        "id",
        finding=pl.concat_str(pl.lit(f"{LEFT_OUT}: "), "reason"),
        split=None,
        label=None,
        cluster=None,
        partner=None,
        value=None,
        detail="detail",
        exclude=False,
    )


def _warnings(store: Store, found: Duplicates) -> tuple[str, ...]:
    said = [*store.notes, *skew_notes(store.labels, store.classes)]
    counts = np.bincount(store.labels, minlength=len(store.classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] > 2 * counts[least]:
        ratio = (
            f"{counts[most] / counts[least]:.0f} times as frequent as"
            if counts[least]
            else "there, but no image of"
        )
        said.append(
            f"Imbalance: {store.classes[most]} ({counts[most]:,} images) is {ratio} {store.classes[least]} "
            f"({counts[least]:,}); a network that always answers {store.classes[most]} has an accuracy of "
            f"{counts[most] / counts.sum():.1%} and a balanced accuracy of {1 / (counts > 0).sum():.1%}."
        )
    if found.largest > duplicates.LARGE_CLUSTER:
        said.append(
            f"One cluster of duplicates has {found.largest} images. Look at it before data.group_by=duplicate ties it."
        )
    return tuple(said)
