import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageEnhance
from scipy.stats import pearsonr

from emotion.data import duplicates
from emotion.data.drawn import DrawnFaces


def faces(count: int = 60) -> np.ndarray:
    drawn = DrawnFaces(count=count, persons=count, seed=3)
    return np.stack([drawn.read(row) for row in range(count)])


def digests(images: np.ndarray) -> pl.Series:
    return pl.Series([image.tobytes().hex() for image in images])


def copy(image: np.ndarray, kind: str) -> np.ndarray:
    picture = Image.fromarray(image)
    size = picture.size
    if kind == "identical":
        return image.copy()
    if kind == "brighter":
        return np.asarray(ImageEnhance.Brightness(picture).enhance(1.2))
    if kind == "moved":
        return np.pad(image, ((2, 0), (0, 2), (0, 0)), mode="edge")[:-2, 2:]
    if kind == "mirrored":
        return np.asarray(
            ImageEnhance.Brightness(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).enhance(1.2)
        )
    if kind == "smaller":
        return np.asarray(picture.resize((30, 30)).resize(size))
    return np.asarray(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(40))


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("identical", True),
        ("brighter", True),
        ("moved", True),
        ("smaller", True),
        ("mirrored", True),
        ("another view", False),
    ],
)
def test_copies_are_found_and_strangers_are_not(kind: str, found: bool) -> None:
    images = faces()
    images = np.concatenate([images, [copy(images[7], kind)]])
    result = duplicates.find(images, digests(images))
    assert (result.clusters[60] == 7) == found
    assert (result.clusters[:60] == np.arange(60)).all()
    assert result.near["mirrored"].to_list() == [kind == "mirrored"] * result.near.height


def test_a_symmetric_picture_has_no_mirrored_copy() -> None:
    images = faces()
    images = np.concatenate([images, np.maximum(images[:1], images[:1, :, ::-1])])
    images = np.concatenate([images, [copy(images[60], "brighter")]])
    near = duplicates.find(images, digests(images)).near
    assert near.select("first", "second", "mirrored").rows() == [(60, 61, False)]


def test_a_symmetric_picture_s_hash_is_no_matter_of_rounding() -> None:
    """Its odd frequencies across are 0, whatever the order of a sum makes of them."""
    half = np.random.default_rng(0).integers(0, 200, (20, 32, 16), dtype=np.uint8)
    pictures = np.concatenate([half, half[:, :, ::-1]], axis=2)
    brighter = pictures + np.uint8(40)
    bits = duplicates.hashes(pictures)
    assert np.array_equal(bits, duplicates.hashes(brighter))
    assert np.array_equal(bits, duplicates.hashes(pictures[:, :, ::-1]))
    odd = (np.arange(63) + 1) % 2 == 1  # of the frequencies across; the mean's is left out
    assert all(len(set(picture[odd])) == 1 for picture in bits)


def test_the_hash_alone_would_join_strangers() -> None:
    """What the confirmation is for: drawn faces, all alike in pose, whose hashes are close."""
    images = faces()
    grey = np.stack([np.asarray(Image.fromarray(i).convert("L").resize((32, 32))) for i in images])
    bits = duplicates.hashes(grey)
    proposed, _ = duplicates._proposed(bits, bits)
    assert len(proposed) > 0
    assert duplicates.find(images, digests(images)).near.height == 0


def test_proposed_pairs_are_those_of_a_count_of_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    bits = np.random.default_rng(0).random((40, 63)) < 0.5
    bits[20:] = bits[:20] ^ (np.random.default_rng(1).random((20, 63)) < 0.2)
    others = np.roll(bits, 20, axis=0)
    for second in (bits, others):
        pairs, distances = duplicates._proposed(bits, second)
        expected = {
            (i, j): int((bits[i] ^ second[j]).sum())
            for i in range(40)
            for j in range(i + 1, 40)
            if (bits[i] ^ second[j]).sum() <= 14
        }
        assert {(int(i), int(j)): int(d) for (i, j), d in zip(pairs, distances, strict=True)} == expected


def test_correlation_is_pearsons_at_the_best_shift() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 16, 16), dtype=np.uint8)
    pairs = np.array([[0, 1], [2, 3], [4, 5]])
    best = duplicates._correlations(images, pairs, 2)
    for (i, j), value in zip(pairs, best, strict=True):
        middle = images[i, 2:14, 2:14].ravel().astype(float)
        shifted = [
            images[j, y : y + 12, x : x + 12].ravel().astype(float) for y in range(5) for x in range(5)
        ]
        assert value == pytest.approx(max(pearsonr(middle, s)[0] for s in shifted), abs=1e-4)
    turned = np.concatenate([images, images[:, :, ::-1]])
    assert duplicates._correlations(images, pairs, 2, mirrored=True) == pytest.approx(
        duplicates._correlations(turned, np.add(pairs, [0, len(images)]), 2)
    )


def test_a_chain_is_one_cluster_whatever_the_order() -> None:
    own = np.array([0, 1, 2, 3, 3, 5])
    for first, second in (([0, 1, 2], [1, 2, 3]), ([2, 0, 1], [3, 1, 2]), ([3, 2, 1], [2, 1, 0])):
        assert duplicates._joined(own, first, second).tolist() == [0, 0, 0, 0, 0, 5]


def test_blank_images_are_nobodys_near_duplicates() -> None:
    images = np.zeros((5, 48, 48, 1), np.uint8)
    images[1] = 200
    images[2] = 90
    found = duplicates.find(images, digests(images))
    assert found.near.height == 0
    assert found.clusters.tolist() == [0, 1, 2, 0, 0]


def test_nothing_is_alike_in_an_empty_or_single_set() -> None:
    for count in (0, 1):
        images = faces(2)[:count]
        assert duplicates.find(images, digests(images)).near.height == 0
