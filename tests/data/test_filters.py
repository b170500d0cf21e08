"""Filters against the libraries' own results and by hand, on images that are hard to filter."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import exposure, filters, morphology

from emotion.data.drawn import DrawnFaces
from emotion.data.filters import Filter, Values
from emotion.data.preparation import Preparation
from emotion.errors import DataError
from emotion.schema import validate
from emotion.schema.images import ClaheFilter, EdgesFilter, NoFilter

RNG = np.random.default_rng(0)
ROW, COLUMN = np.mgrid[:48, :48]
EDGES = [Filter("edges", {"operator": name}) for name in ("prewitt", "scharr", "sobel", "roberts")]
THRESHOLDS = [Filter("threshold", {"method": name}) for name in ("yen", "isodata", "mean")]
GREY = [
    Filter("clahe", {"clip_limit": 0.01}),
    Filter("clahe", {"clip_limit": 0.99}),
    Filter("equalize", {"radius_px": None}),
    Filter("equalize", {"radius_px": 30}),
    Filter("normalize"),
    Filter("standardize"),
]
EVERY = [*GREY, *EDGES, *THRESHOLDS]


def names(found: object) -> str:
    assert isinstance(found, Filter)
    return "-".join([found.name, *map(str, found.options.values())])


def faces() -> list[np.ndarray]:
    drawn = DrawnFaces(count=20)
    return [Preparation(48, 1)(drawn.read(number))[:, :, 0] for number in range(20)]


def barely() -> dict[str, np.ndarray]:
    """Images that are not constant, but nearly so, or vanish in the middle of what looks at neighbours."""
    flat = np.full((48, 48), 100, np.uint8)
    found = {
        "two halves": flat + (COLUMN > 23),
        "checkerboard": flat + (ROW + COLUMN) % 2,
        "stripes": flat + COLUMN % 2,
        "ramp": ROW + COLUMN,
        "black and white": 255 * (COLUMN > 23),
        "noise": RNG.integers(0, 256, (48, 48)),
        "weak noise": RNG.integers(100, 102, (48, 48)),
    }
    for name, place, value in (
        ("corner", (0, 0), 101),
        ("last corner", (47, 47), 99),
        ("middle", (24, 20), 101),
        ("bright", (5, 40), 255),
        ("dark", (30, 3), 0),
    ):
        found[name] = flat.copy()
        found[name][place] = value
    return {name: image.astype(np.uint8) for name, image in found.items()}


def constant(images: list[np.ndarray]) -> bool:
    """Whether any of them is."""
    return any(np.ptp(image) == 0 for image in images)


@pytest.mark.parametrize("found", EVERY, ids=names)
def test_no_image_becomes_constant(found: Filter) -> None:
    for name, image in barely().items():
        assert not constant([found(image)]), name
    assert not constant([found(image) for image in faces()])


@pytest.mark.parametrize("found", [Filter("edges", {"operator": "sobel"}, as_published=True)], ids=names)
def test_study_b_s_truncation_would_be_noticed(found: Filter) -> None:
    assert constant([found(image) for image in faces()])


def test_rounding_a_weak_edge_down_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Filter("edges", {"operator": "sobel"})
    assert not constant([found(barely()["middle"])])
    dense = Filter("edges", {"operator": "sobel"})
    values = found._values
    monkeypatch.setitem(dense.__dict__, "_values", Values(values.function, values.low, values.high))
    assert constant([dense(barely()["middle"])])


@pytest.mark.parametrize("found", [*GREY, *EDGES], ids=names)
def test_many_grey_levels_are_left(found: Filter) -> None:
    for image in faces():
        assert len(np.unique(found(image))) >= 0.4 * len(np.unique(image))


@pytest.mark.parametrize("found", THRESHOLDS, ids=names)
def test_a_threshold_leaves_black_and_white(found: Filter) -> None:
    for image in faces():
        assert np.unique(found(image)).tolist() == [0, 255]
        above = image > getattr(filters, f"threshold_{found.options['method']}")(image)
        assert np.array_equal(found(image) == 255, above)


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("found", EVERY, ids=names)
def test_a_constant_image_stays_constant(found: Filter, level: int, as_published: bool) -> None:
    """Without a warning of a division by zero, which the suite would take for an error, and so without NaN."""
    found = Filter(found.name, found.options, as_published)
    flat = np.full((48, 48), level, np.uint8)
    assert np.isfinite(found._values.function(flat)).all()
    assert np.ptp(found(flat)) == 0


@pytest.mark.parametrize("found", EDGES, ids=names)
def test_edges_never_leave_their_range(found: Filter) -> None:
    """The largest response of all black-and-white 3 × 3 neighbourhoods, which a magnitude's maximum is among."""
    largest = max(
        float(
            found._values.function(255 * ((number >> np.arange(9)) & 1).reshape(3, 3).astype(np.uint8)).max()
        )
        for number in range(512)
    )
    assert 0.7 < largest <= found._values.high + 1e-12


def test_values_are_the_libraries() -> None:
    image = faces()[0]
    assert np.array_equal(Filter("equalize", {"radius_px": None})(image), cv2.equalizeHist(image))
    local = filters.rank.equalize(image, morphology.disk(30))
    assert np.array_equal(Filter("equalize", {"radius_px": 30})(image), local)
    adapted = exposure.equalize_adapthist(image, clip_limit=0.02)
    assert np.array_equal(Filter("clahe", {"clip_limit": 0.02})(image), np.rint(255 * adapted))
    low, high = int(image.min()), int(image.max())
    expected = np.rint((image.astype(float) - low) * 255 / (high - low))
    assert np.abs(Filter("normalize")(image) - expected).max() <= 1


def test_standardize_by_hand() -> None:
    image = np.array([[0, 0], [2, 2]], np.uint8)  # -1 and 1 deviations, of ±4
    assert Filter("standardize")(image).tolist() == [[96, 96], [159, 159]]
    assert Filter("standardize", as_published=True)(image).tolist() == [[127, 127], [129, 129]]


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("found", EVERY, ids=names)
def test_a_byte_says_which_value_it_stands_for(found: Filter, as_published: bool) -> None:
    found = Filter(found.name, found.options, as_published)
    low, high = found.value_range
    for image in faces()[:4]:
        values = found._values.function(image).astype(float)
        expected = np.trunc(values) if as_published else values.clip(low, high)
        back = low + found(image).astype(float) * (high - low) / 255
        assert np.abs(back - expected).max() <= (0 if as_published else (high - low) / 255)


@pytest.mark.parametrize("found", [Filter("equalize", {"radius_px": 30}), *THRESHOLDS], ids=names)
def test_cutting_whole_numbers_changes_nothing(found: Filter) -> None:
    """So that study B has one row of each, as published and correct."""
    assert np.array_equal(_values(found), _values(Filter(found.name, found.options, as_published=True)))


def test_cutting_other_numbers_changes_them() -> None:
    found = Filter("standardize")
    assert not np.array_equal(_values(found), _values(Filter(found.name, found.options, as_published=True)))


def _values(found: Filter) -> np.ndarray:
    """What reaches a network of faces: the values that the stored bytes stand for."""
    low, high = found.value_range
    return np.stack([low + found(image).astype(float) * (high - low) / 255 for image in faces()])


def test_the_preparation_filters_last_and_what_is_grey() -> None:
    colour = RNG.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    filtered = Preparation(48, 3, filter=EDGES[2])(colour)
    grey = Preparation(48, 1)(colour)[:, :, 0]
    assert filtered.shape == (48, 48, 3)
    assert all(np.array_equal(filtered[:, :, channel], EDGES[2](grey)) for channel in range(3))


@pytest.mark.parametrize("found", EVERY, ids=names)
def test_a_preparation_with_a_filter_survives_a_checkpoint(found: Filter) -> None:
    preparation = Preparation(48, 1, crop_px=40, filter=Filter(found.name, found.options, True))
    plain = preparation.to_dict()
    assert plain["format"] == 2  # so that an older version doesn't predict without it
    again = Preparation.from_dict(plain)
    assert again == preparation
    image = faces()[3]
    assert np.array_equal(again(image), preparation(image))


def test_an_older_preparation_has_no_filter() -> None:
    old = {"format": 1, "size_px": 48, "channels": 1, "margin": 0.0}
    assert Preparation.from_dict(old) == Preparation(48, 1)
    assert Preparation(48, 1).to_dict() == old
    with pytest.raises(DataError, match="found format 3"):
        Preparation.from_dict(old | {"format": 3})


def test_a_configuration_names_its_filter() -> None:
    assert Filter.of(NoFilter()) is None
    assert Filter.of(ClaheFilter(clip_limit=0.5, margin=0.1)) == Filter("clahe", {"clip_limit": 0.5})
    section = validate(
        {"preprocess": {"name": "edges", "operator": "roberts", "as_published": True}}
    ).preprocess
    assert Filter.of(section) == Filter("edges", {"operator": "roberts"}, as_published=True)
    assert Filter.of(EdgesFilter()) == EDGES[2]


@pytest.fixture(scope="module")
def fer2013(emotion_data: Path) -> list[np.ndarray]:
    files = sorted((emotion_data / "fer2013").glob("*/*/*.jpg"))[::30]
    return [np.asarray(Image.open(file)) for file in files]


@pytest.mark.parametrize(
    ("found", "share"),
    [
        *((Filter("edges", {"operator": name}), 0.0) for name in ("prewitt", "scharr", "sobel", "roberts")),
        (Filter("normalize"), 0.008),
        # 1.5 % of all 35,887; 300 images have a standard error of 0.2 points, so that a sample may well show 1.8 %
        (Filter("clahe", {"clip_limit": 0.99}), 0.0155),
    ],
    ids=str,
)
def test_what_study_b_s_truncation_left(found: Filter, share: float, fer2013: list[np.ndarray]) -> None:
    cut = Filter(found.name, found.options, as_published=True)
    images = np.stack([cut(image) for image in fer2013])
    assert set(np.unique(images)) <= {0, 1}
    assert (images != 0).mean() == pytest.approx(share, abs=0.003)


def test_study_b_s_deviations_were_whole_numbers(fer2013: list[np.ndarray]) -> None:
    """Of all 35,887 images −7 to 24; but for one nearly black image with a spot, the largest is 9."""
    images = np.stack([Filter("standardize", as_published=True)(image) for image in fer2013])
    low, _ = Filter("standardize", as_published=True).value_range
    assert -6 <= images.min() + low <= -3
    assert 3 <= images.max() + low <= 8


@pytest.mark.parametrize("found", EVERY, ids=names)
def test_no_real_face_becomes_constant(found: Filter, fer2013: list[np.ndarray]) -> None:
    assert not constant([found(image) for image in fer2013[::2] if np.ptp(image)])
