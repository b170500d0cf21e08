"""Batches for Lightning from a prepared store."""

import itertools
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from emotion import counter
from emotion.data import augment as augmentation
from emotion.data import sampling as filling
from emotion.data.sampling import ConsecutiveBatches, Draw, EpochBatches
from emotion.data.splits import Split
from emotion.data.store import Store
from emotion.errors import ConfigError, EmotionError
from emotion.registry import Named

Batch = dict[str, torch.Tensor]

_TARGET = 7  # keeps the stream that labels are drawn from apart from those of augmentation and order

_CHUNK_BYTES = 2**26  # brought to the device at a time

_TRIED = 8  # images; a policy may leave some as they are

# In a job of a sweep the default is the fork server, whose workers would import everything again.
_CONTEXT = "fork" if sys.platform == "linux" else None


class ExpressionDataModule(LightningDataModule):
    """Training batches as `sampling` and `augment` make them, evaluation batches unchanged in store order.

    A batch is a dict of `image` (N, H, W, C) uint8, `label` (N,) int64, `index` (N,) int64, the row in the
    store, and `target` (N, K) float32 where the data set has soft labels. Training batches are a function of
    (seed, epoch): worker processes, their number and interruptions don't change them. Where the device augments, a
    training batch leaves the loader as the store has it, beside `changes` (N, P) float32, which are carried out once
    it is on the device. Where the images lie on the device, Lightning's batches leave the loader without them.

    Args:
        store: the prepared data.
        split: its parts.
        batch_size: images a training batch (and rank).
        sampling: the configuration's section: how a training epoch is filled.
        augment: the configuration's section: how training images are changed.
        seed: of order and augmentation.
        workers: processes that augment, or that fetch training images for a GPU. Else none are started, because
            fetching takes less time than handing a batch from process to process; without them a policy that allows
            it augments in a thread, one batch ahead.
        eval_batch_size: images an evaluation batch.
        backend: where the arithmetic of `augment` is done.
        resident: keep all images of the store on the run's device, unless the host augments.
        pinned: hand out batches in page-locked memory, which a GPU fetches faster.

    Attributes:
        first_epoch: set before a run is continued: the epoch that it goes on with.

    Raises:
        ConfigError: `augment` can't change images of the store's shape.
    """

    def __init__(
        self,
        store: Store,
        split: Split,
        *,
        batch_size: int,
        sampling: Named,
        augment: Named,
        seed: int,
        workers: int,
        eval_batch_size: int,
        backend: augmentation.Backend = "host",
        resident: bool = False,
        pinned: bool = False,
    ) -> None:
        super().__init__()
        self.store = store
        self.split = split
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.sampling = filling.build(sampling)
        self.augment = augmentation.build(augment)
        if self.augment is not None:
            _try(self.augment, augment.name, store.size_px, store.channels, backend)
        self.backend = backend
        self.resident = resident and (self.augment is None or backend == "device")
        self._on_device: torch.Tensor | None = None
        self.seed = seed
        self.workers = workers
        self.pinned = pinned
        self.first_epoch = 0

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(
            self._training_batches(), self.augment, self.store.samples_target, images=not self.resident
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self._consecutive("val"), None, images=not self.resident)

    def evaluation_dataloader(self, part: str) -> DataLoader[Batch]:
        """The images of "train", "val" or "test" in store order, unchanged."""
        return self._loader(self._consecutive(part), None)

    def _consecutive(self, part: str) -> ConsecutiveBatches:
        return ConsecutiveBatches(self.split.part(part), self.eval_batch_size)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Do, on the device, what the loader has left to do."""
        if "image" not in batch:
            batch["image"] = self._images_on(batch["index"].device)[batch["index"]]
        if "changes" in batch:
            augment = cast(augmentation.DeviceAugmenter, self.augment)
            batch["image"] = augment.on_device(batch["image"], batch.pop("changes"))
        return batch

    def teardown(self, stage: str) -> None:
        self._on_device = None

    def _images_on(self, device: torch.device) -> torch.Tensor:
        """All images of the store, brought to the device when first asked for."""
        if self._on_device is None or self._on_device.device != device:
            images = self.store.images
            self._on_device = torch.empty(images.shape, dtype=torch.uint8, device=device)
            step = max(1, _CHUNK_BYTES // images[:1].nbytes)
            for first in range(0, len(images), step):
                self._on_device[first : first + step] = torch.from_numpy(
                    np.array(images[first : first + step])
                )
        return self._on_device

    def batch_ids(self, epoch: int, batch: int) -> list[str]:
        """The sample ids of one training batch of this rank, for whoever asks what went wrong in it."""
        batches = self._training_batches()
        batches.epoch = epoch
        draws = next(itertools.islice(batches, batch, None))
        ids: list[str] = self.store.frame["id"].gather([row for row, _, _ in draws]).to_list()
        return ids

    def class_counts(self, part: str) -> np.ndarray:
        """Images of each class in a part, (K,) int64."""
        labels = self.store.labels[self.split.part(part)]
        return np.bincount(labels, minlength=len(self.store.classes)).astype(np.int64)

    def _training_batches(self) -> EpochBatches:
        rows = self.split.train
        return EpochBatches(
            rows,
            self.store.labels[rows],
            self.sampling,
            batch_size=self.batch_size,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            first_epoch=self.first_epoch,
        )

    def _loader(
        self,
        batches: EpochBatches | ConsecutiveBatches,
        augment: augmentation.Augmenter | None,
        sample_target: bool = False,
        images: bool = True,
    ) -> DataLoader[Batch]:
        changed = (
            _Change(augment, self.seed, self.sampling.first_augmented, self.backend) if augment else None
        )
        augments = changed is not None and self.backend != "device"
        # a GPU is to find its next batch ready
        fetches = self.pinned and images and isinstance(batches, EpochBatches)
        workers = self.workers if augments or fetches else 0
        ahead = augments and not workers and augmentation.is_pure(augment)
        return (_Ahead if ahead else DataLoader)(
            _Images(self.store, changed, self.seed, sample_target, images),
            batch_sampler=batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=_CONTEXT if workers else None,
            collate_fn=_as_it_is,
            pin_memory=self.pinned,
        )


class _Ahead(DataLoader[Batch]):
    """Makes the next batch in a thread while the network is busy with the last one."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        batches = super().__iter__()
        with ThreadPoolExecutor(max_workers=1) as thread:
            coming = thread.submit(next, batches, None)
            while (batch := coming.result()) is not None:
                coming = thread.submit(next, batches, None)
                yield batch


def _try(
    augment: augmentation.Augmenter, name: str, size_px: int, channels: int, backend: augmentation.Backend
) -> None:
    """Change a few images as training will.

    Raises:
        ConfigError: the policy can't change images of this shape.
    """
    images = np.full((_TRIED, size_px, size_px, channels), 127, np.uint8)
    streams = np.arange(_TRIED, dtype=np.uint64)
    try:
        augment(images, streams)
        if backend == "device":
            policy = cast(augmentation.DeviceAugmenter, augment)
            changes = policy.changes(streams, size_px, size_px).astype(np.float32)
            policy.on_device(torch.from_numpy(images), torch.from_numpy(changes))
    except EmotionError:
        raise
    except Exception as error:  # of whatever library
        raise ConfigError(
            f"augment={name}: expected a policy for {size_px}×{size_px} images of {channels} channels, found that it "
            f"fails: {error}"
        ) from error


@dataclass(frozen=True)
class _Change:
    """How the images of training batches are augmented.

    Args:
        first: the draw number from which on an image is augmented.
    """

    augment: augmentation.Augmenter
    seed: int
    first: int
    backend: augmentation.Backend

    def __call__(
        self, images: np.ndarray, keys: np.ndarray, draw: np.ndarray, epoch: np.ndarray
    ) -> np.ndarray:
        """The changed images; `images` may be changed themselves.

        Args:
            images: (N, H, W, C) uint8.
            keys, draw, epoch: (N,), what the random streams are a function of beside the seed.
        """
        chosen = draw >= self.first
        streams = counter.mix(self.seed, epoch, keys, draw)
        if chosen.all():
            return self.augment(images, streams)
        if chosen.any():
            images[chosen] = self.augment(images[chosen], streams[chosen])
        return images

    def for_device(
        self, edges: tuple[int, int], keys: np.ndarray, draw: np.ndarray, epoch: np.ndarray
    ) -> torch.Tensor:
        """What the device is to do to images of these edges, (N, P) float32."""
        policy = cast(augmentation.DeviceAugmenter, self.augment)
        changes = policy.changes(counter.mix(self.seed, epoch, keys, draw), *edges)
        changes[draw < self.first] = policy.unchanged()
        return torch.from_numpy(changes.astype(np.float32))


class _Images(Dataset[Any]):
    """Whole batches from the store."""

    def __init__(
        self, store: Store, change: _Change | None, seed: int, sample_target: bool, images: bool
    ) -> None:
        self.store = store
        self.change = change
        self.with_images = images
        self.seed = seed
        # here and not in a worker: what they are read with mustn't run after a fork
        self.keys, self.targets = store.keys, store.targets
        self.sample_target = sample_target

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, draw: Draw) -> Batch:
        return self.__getitems__([draw])

    def __getitems__(self, draws: list[Draw]) -> Batch:
        rows, draw, epoch = np.ascontiguousarray(np.array(draws, np.int64).T)
        batch = {"label": torch.from_numpy(self.store.labels[rows]), "index": torch.from_numpy(rows)}
        change, keys = self.change, self.keys[rows]
        if self.with_images:
            images = self.store.images[rows]
            if change is not None and change.backend != "device":
                images = change(images, keys, draw, epoch)
            batch["image"] = torch.from_numpy(np.asarray(images))
        if change is not None and change.backend == "device":
            batch["changes"] = change.for_device(self.store.images.shape[1:3], keys, draw, epoch)
        if self.targets is not None:
            targets = self.targets[rows]
            if self.sample_target:
                targets = sampled(targets, counter.mix(_TARGET, self.seed, epoch, keys, draw))
            batch["target"] = torch.from_numpy(targets)
        return batch


def sampled(targets: np.ndarray, streams: np.ndarray) -> np.ndarray:
    """One class drawn from each distribution, as (N, K) float32 of one-hot rows.

    Args:
        targets: (N, K), one probability a class.
        streams: (N,) uint64, as made by `counter.mix`: they decide the class.
    """
    reached = np.cumsum(targets, axis=1)
    drawn = (counter.uniform(streams, 1) * reached[:, -1:] >= reached).sum(axis=1)
    return np.eye(targets.shape[1], dtype=np.float32)[drawn]


def _as_it_is(batch: Any) -> Any:
    return batch
