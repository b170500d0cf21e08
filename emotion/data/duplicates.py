"""Pictures that occur twice: identical pixels, and the same picture stored, cropped, lit or mirrored differently.

A perceptual hash proposes pairs and the correlation of their aligned pixels confirms them. The hash alone is not
enough: at distances that find most copies, it also joins strangers of the same pose, chain by chain.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import polars as pl
from PIL import Image

from emotion import atomic
from emotion.data.store import Store

REVISION = 3  # goes up whenever the same images give other pairs
CONFIRMED = 0.95
LARGE_CLUSTER = 50

# Of 63 bits; found with FER2013, where 16 instead of 14 proposes four times the pairs and confirms 2 % more.
_MAX_DISTANCE = 14
_HASH_EDGE_PX, _HASH_BITS = 32, 8
# (edge, correlation to go on): each look is slower and sharper than the one before, the last one decides. At 48 px
# alone, two photographs of one person in one pose pass (LFW: a third of what is confirmed).
_LOOKS = ((16, 0.85), (48, 0.93), (96, CONFIRMED))
_AT_LEAST_PX = 48
_SHIFT = 1 / 16
_BLOCK, _PAIRS_AT_ONCE, _READ_AT_ONCE = 2048, 4096, 1024
_PAIRS = {
    "first": pl.Int64,
    "second": pl.Int64,
    "distance": pl.Int64,
    "correlation": pl.Float64,
    "mirrored": pl.Boolean,
}


@dataclass(frozen=True)
class Duplicates:
    """What `find` found in N images.

    Attributes:
        near: pairs of different pixels confirmed as one picture: `first` < `second` (rows; of identical images
            the first stands for all), `distance` of the hashes in bits, `correlation`, and whether one has to be
            `mirrored` (left and right exchanged) to show the other.
        clusters: (N,) int64: the lowest row of the cluster that identical and confirmed pairs chain together;
            an image without a duplicate has its own row.
    """

    near: pl.DataFrame
    clusters: np.ndarray

    @property
    def mirrored(self) -> int:
        """How many of the pairs are mirrored."""
        return int(self.near["mirrored"].sum())

    @property
    def sizes(self) -> np.ndarray:
        """(N,) int64: images in the cluster of each image."""
        return np.bincount(self.clusters, minlength=len(self.clusters))[self.clusters]

    @property
    def largest(self) -> int:
        return int(self.sizes.max(initial=0))


def of_store(store: Store) -> Duplicates:
    """The duplicates in a store, computed once and kept beside it."""
    path = store.path.parent / f"duplicates-{REVISION}-{store.fingerprint}.parquet"
    digests = store.frame["digest"]
    if path.is_file():
        near = pl.read_parquet(path, glob=False)
        return Duplicates(near, _clusters(digests, near))
    found = find(store.images, digests)
    with suppress(OSError), atomic.replacing(path) as part:  # it is only for the next time
        found.near.write_parquet(part)
    return found


def find(images: np.ndarray, digests: pl.Series) -> Duplicates:
    """Exact and near duplicates.

    Takes 4 µs for each pair of a thousand images and 0.3 ms an image: a quarter of a minute for 36,000 images, half
    an hour for 300,000.

    Args:
        images: (N, H, W, C) uint8.
        digests: N; equal for identical pixels.
    """
    rows = np.flatnonzero(digests.is_first_distinct().to_numpy())
    small = _grey(images, rows, _HASH_EDGE_PX)
    # an image without contrast has no correlation with anything
    varied = small.max(axis=(1, 2)) > small.min(axis=(1, 2))
    rows, small = rows[varied], small[varied]
    bits = hashes(small)
    straight = _confirmed(images, rows, small, *_proposed(bits, bits), mirrored=False)
    turned = _confirmed(images, rows, small, *_proposed(bits, hashes(small[:, :, ::-1])), mirrored=True)
    # A symmetric picture is like its copy both ways: that is no mirroring.
    turned = turned.join(straight, on=["first", "second"], how="anti")
    near = pl.concat([straight, turned]).sort("first", "second")
    return Duplicates(near, _clusters(digests, near))


def _confirmed(
    images: np.ndarray,
    rows: np.ndarray,
    small: np.ndarray,
    pairs: np.ndarray,
    distances: np.ndarray,
    mirrored: bool,
) -> pl.DataFrame:
    """The proposed pairs whose pixels agree, as `Duplicates.near`.

    Args:
        images: (N, H, W, C) uint8.
        rows: (R,) of them that the pairs are about.
        small: (R, 32, 32) uint8, these in grey.
        pairs: (P, 2) places in `rows`.
        distances: (P,) of their hashes.
        mirrored: the second image of each pair is to be looked at in a mirror.
    """
    looks = [look for look in _LOOKS if look[0] <= max(images.shape[1], _AT_LEAST_PX)]
    values = np.empty(0, np.float32)
    for edge, least in looks:
        least = CONFIRMED if edge == looks[-1][0] else least
        shown, places = np.unique(pairs, return_inverse=True)
        pictures = _shrunk(small[shown], edge) if edge < _HASH_EDGE_PX else _grey(images, rows[shown], edge)
        values = _correlations(pictures, places.reshape(pairs.shape), round(edge * _SHIFT), mirrored)
        kept = values >= least
        pairs, distances, values = pairs[kept], distances[kept], values[kept]
    return pl.DataFrame(
        {
            "first": rows[pairs[:, 0]],
            "second": rows[pairs[:, 1]],
            "distance": distances,
            "correlation": values.astype(np.float64),
            "mirrored": np.full(len(pairs), mirrored),
        },
        schema=_PAIRS,
    )


def hashes(images: np.ndarray) -> np.ndarray:
    """(N, 63) bool: which low frequencies are above their median (pHash, Zauner 2010, without the mean's bit).

    In whole numbers: half of a symmetric picture's frequencies are 0, and which of them the rounding of a processor's
    arithmetic puts above it is no property of the picture.

    Args:
        images: (N, 32, 32) uint8, grey.
    """
    place = np.arange(_HASH_EDGE_PX)
    frequency = np.arange(_HASH_BITS)[:, None]
    basis = np.cos(np.pi * (2 * place + 1) * frequency / (2 * _HASH_EDGE_PX)).astype(np.float32)
    low = np.rint(basis @ images.astype(np.float32) @ basis.T)
    low = low.reshape(len(images), _HASH_BITS**2)[:, 1:]
    return np.asarray(low > np.median(low, axis=1, keepdims=True))


def _proposed(bits: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P, 2) of images, the first's hash in `bits` close to the second's in `others`; the distances (P,).

    Args:
        bits: (N, B) bool.
        others: (N, B) bool: the same hashes, or those of the mirrored images.
    """
    signs, opposite = (np.where(each, np.float32(1), np.float32(-1)) for each in (bits, others))
    length = signs.shape[1]
    found: list[np.ndarray] = []
    for top in range(0, len(signs), _BLOCK):
        for left in range(top, len(signs), _BLOCK):
            agreement = signs[top : top + _BLOCK] @ opposite[left : left + _BLOCK].T
            rows, columns = np.nonzero(agreement >= length - 2 * _MAX_DISTANCE)
            distance = ((length - agreement[rows, columns]) / 2).round().astype(np.int64)
            block = np.stack([rows + top, columns + left, distance], axis=1)
            found.append(block[block[:, 0] < block[:, 1]])
    together = np.concatenate(found) if found else np.empty((0, 3), np.int64)
    return together[:, :2], together[:, 2]


def _correlations(images: np.ndarray, pairs: np.ndarray, shift: int, mirrored: bool = False) -> np.ndarray:
    """(P,) float32: Pearson's correlation of the first image's middle with the best-fitting place in the second.

    Args:
        images: (N, S, S).
        pairs: (P, 2) rows.
        shift: pixels that the second may be moved, each way.
        mirrored: the second has left and right exchanged.
    """
    edge = images.shape[1] - 2 * shift
    best = np.full(len(pairs), -1, np.float32)
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = slice(start, start + _PAIRS_AT_ONCE)
        first, second = images[pairs[some, 0]], images[pairs[some, 1]].astype(np.float32)
        if mirrored:
            second = second[:, :, ::-1]
        middle = first[:, shift : shift + edge, shift : shift + edge].astype(np.float32)
        middle = middle.reshape(len(middle), -1)
        middle -= middle.mean(axis=1, keepdims=True)
        middle /= np.linalg.norm(middle, axis=1, keepdims=True) + np.float32(1e-6)
        for down in range(2 * shift + 1):
            for right in range(2 * shift + 1):
                window = second[:, down : down + edge, right : right + edge].reshape(len(second), -1)
                mean = window.mean(axis=1)
                square = np.einsum("np,np->n", window, window) - mean**2 * window.shape[1]
                product = np.einsum("np,np->n", middle, window)  # the middle's mean is 0
                best[some] = np.maximum(best[some], product / np.sqrt(np.maximum(square, 1)))
    return best


def _shrunk(images: np.ndarray, edge_px: int) -> np.ndarray:
    """(N, edge, edge) float32: means of square blocks."""
    factor = images.shape[1] // edge_px
    blocks = images.reshape(len(images), edge_px, factor, edge_px, factor)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32))


def _grey(images: np.ndarray, rows: np.ndarray, edge_px: int) -> np.ndarray:
    """(R, edge, edge) uint8."""
    small = np.empty((len(rows), edge_px, edge_px), np.uint8)
    for start in range(0, len(rows), _READ_AT_ONCE):
        for place, image in enumerate(images[rows[start : start + _READ_AT_ONCE]], start):
            picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("L")
            small[place] = np.asarray(picture.resize((edge_px, edge_px), Image.Resampling.BILINEAR))
    return small


def _clusters(digests: pl.Series, near: pl.DataFrame) -> np.ndarray:
    first = digests.to_frame("digest").with_row_index("row").select(pl.col("row").min().over("digest"))
    return _joined(
        first["row"].to_numpy().astype(np.int64), near["first"].to_list(), near["second"].to_list()
    )


def _joined(own: np.ndarray, first: Sequence[int], second: Sequence[int]) -> np.ndarray:
    """`own` (N,), the lowest row of each image's cluster, after clusters were joined by pairs."""
    parent = own.copy()

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    for one, other in zip(first, second, strict=True):
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return np.array([root(row) for row in range(len(parent))], np.int64)
