"""Drawn faces: a data set made of nothing, for demos, tests and studies where the truth must be known.

A face is a *person* (bones, skin, hair, glasses, beard: the same in all images of that person), an
*expression* (strengths of facial action units) and a *view* (pose, light, background: new for each image).
Which action units make which expression follows the tables of the Facial Action Coding System (Ekman, Friesen
and Hager 2002); the strengths are ours. `portrait.py` turns the three into pixels.
"""

import functools
import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import polars as pl

from emotion.data.portrait import STYLES, ActionUnits, Colour, Person, View, blend, darken, draw, part_masks
from emotion.errors import ConfigError
from emotion.labels import EXPRESSIONS

REVISION = 1  # goes up whenever the same parameters give other images or labels
MIN_SIZE_PX, MAX_SIZE_PX = 48, 224
# Purposes of the random streams; changing one changes every picture.
_PLAN, _PERSON, _IMAGE = 0, 1, 2
# From the commonest to the rarest, as in sets collected from the web (FER2013, AffectNet).
_BY_FREQUENCY = ("happiness", "neutral", "sadness", "surprise", "anger", "fear", "disgust", "contempt")

Choice = TypeVar("Choice")

# What each expression looks like at full strength: the ways of showing it, all equally common.
PROTOTYPES: dict[str, tuple[ActionUnits, ...]] = {
    "neutral": (ActionUnits(),),
    "happiness": (
        ActionUnits(corner_pull=0.9, cheek_raise=0.55),
        ActionUnits(corner_pull=1.0, cheek_raise=0.7, lips_part=0.8),
        ActionUnits(corner_pull=1.0, cheek_raise=0.9, lips_part=0.8, jaw_drop=0.45),
    ),
    "sadness": (
        ActionUnits(inner_brow=1.0, brow_lower=0.5, corner_drop=1.0, chin_raise=0.5, lid_droop=0.4),
        ActionUnits(inner_brow=0.9, brow_lower=0.3, corner_drop=0.8, chin_raise=0.9, lid_droop=0.75),
    ),
    "surprise": (
        ActionUnits(inner_brow=1.0, outer_brow=1.0, lid_raise=0.9, jaw_drop=0.6, lips_part=0.3),
        ActionUnits(inner_brow=1.0, outer_brow=1.0, lid_raise=1.0, jaw_drop=1.0, lips_part=0.5),
    ),
    "fear": (
        ActionUnits(
            inner_brow=1.0, outer_brow=0.4, brow_lower=0.7, lid_raise=1.0, lip_stretch=0.9, lips_part=0.9
        ),
        ActionUnits(
            inner_brow=1.0, outer_brow=0.4, brow_lower=0.7, lid_raise=1.0, lip_stretch=1.0, lips_part=0.7,
            jaw_drop=0.3, corner_drop=0.3,
        ),
    ),
    "disgust": (
        ActionUnits(
            nose_wrinkle=1.0, upper_lip=0.9, brow_lower=0.45, lid_tighten=0.7, corner_drop=0.5, chin_raise=0.6
        ),
        ActionUnits(
            nose_wrinkle=1.0, upper_lip=1.0, brow_lower=0.4, lid_tighten=0.8, corner_drop=0.4, lips_part=0.5
        ),
    ),
    "anger": (
        ActionUnits(brow_lower=1.0, lid_raise=0.4, lid_tighten=0.4, lip_press=1.0, chin_raise=0.2),
        ActionUnits(brow_lower=1, lid_raise=0.6, lid_tighten=0.3, lips_part=1, upper_lip=0.4, jaw_drop=0.25),
    ),
    "contempt": (
        ActionUnits(corner_pull=0.95, one_sided=1.0, lid_tighten=0.35, lip_press=0.4),
        ActionUnits(corner_pull=0.95, one_sided=-1.0, lid_tighten=0.35, lip_press=0.4),
    ),
}  # fmt: skip


def _palette(hexes: str) -> tuple[Colour, ...]:
    return tuple(
        (float(code[0]), float(code[1]), float(code[2])) for code in map(bytes.fromhex, hexes.split())
    )


_SKIN = _palette(
    "f6d8c2 f0c6a4 e2b288 cc966a aa744e 82563a 5c3c2b"
)  # from light to dark, mixed with the next
_HAIR = _palette("1c1818 36241b 5c3c26 8a5c34 c49c60 964220 969492")
_DARK_HAIR = _palette("120f0f 241a16 969492")
_IRIS = _palette("462c1a 604022 3e668c 4e7452 60686e")
_CLOTH = _palette("bc343a 285ca0 328260 deaa3c 6e488c e6e4de 30343e")
_FRAMES = _palette("1e1e22 5c3422 962830 b0985c")
_BEARDS = ("none", "none", "stubble", "full", "goatee", "moustache")
_GLASSES = ("none", "none", "none", "round", "square")


class _Dice:
    """Random numbers of one stream, all made from the uniform ones: NumPy may change how it makes others."""

    def __init__(self, *key: int) -> None:
        self.rng = np.random.default_rng(key)
        self._numbers = iter(self.rng.random(160).tolist())

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._numbers)

    def near(self, middle: float, spread: float) -> float:
        """Bell-shaped around `middle`, never further off than 1.5 `spread`."""
        return middle + spread * (next(self._numbers) + next(self._numbers) + next(self._numbers) - 1.5)

    def pick(self, choices: tuple[Choice, ...]) -> Choice:
        return choices[int(next(self._numbers) * len(choices))]

    def chance(self, probability: float) -> bool:
        return next(self._numbers) < probability


@functools.lru_cache(maxsize=8192)
def make_person(seed: int, number: int) -> Person:
    """Person `number` of the population `seed`; the same whatever else is asked for."""
    dice = _Dice(seed, _PERSON, number)
    tone = dice.between(0.0, len(_SKIN) - 1.001)
    skin = blend(_SKIN[int(tone)], _SKIN[int(tone) + 1], tone % 1.0)
    contrasting = tuple(hair for hair in _HAIR if abs(sum(hair) - sum(skin)) > 120)
    hair = dice.pick(_DARK_HAIR if tone > 3.5 else contrasting)
    style = dice.pick(tuple(STYLES))
    soft = dice.chance(0.5)  # softer features and make-up against heavier brows and beards
    if soft and style in ("bald", "receding", "buzz"):
        style = dice.pick(("long", "bob", "buns", "fringe", "side"))
    made_up = soft and dice.chance(0.6)
    redness = dice.between(0.45, 0.8) if made_up else dice.between(0.2, 0.4)
    return Person(
        width=dice.near(0.82, 0.06),
        jaw=dice.near(0.80, 0.09),
        chin=dice.near(0.36, 0.10),
        length=dice.near(1.05, 0.06),
        skin=skin,
        hair=darken(hair, dice.between(0.8, 1.2)),
        style=style,
        cloth=dice.pick(_CLOTH),
        brow_weight=dice.near(0.050 if soft else 0.075, 0.016),
        brow_height=dice.near(0.27, 0.025),
        eye_spacing=dice.near(0.345, 0.03),
        eye_size=dice.near(0.185, 0.02),
        eye_shape=dice.near(0.52, 0.08),
        eye_tilt=dice.near(0.0, 0.025),
        iris=dice.pick(_IRIS[:2] if tone > 3.0 else _IRIS),
        lashes=made_up,
        nose_width=dice.near(0.155, 0.035),
        nose_length=dice.near(0.26, 0.03),
        mouth_width=dice.near(0.30, 0.03),
        upper_lip=dice.near(0.050, 0.016),
        lower_lip=dice.near(0.068, 0.020),
        lip=blend(darken(skin, 0.86), (188, 52, 66), redness),
        beard="none" if soft or style == "scarf" else dice.pick(_BEARDS),
        glasses=dice.pick(_GLASSES),
        frame=dice.pick(_FRAMES),
        resting=(dice.near(0, 0.2), dice.near(0, 0.2), dice.near(0, 0.15), dice.near(0, 0.15)),
        play=dice.near(1.0, 0.12),
    )


def _random_colour(dice: _Dice) -> Colour:
    """A muted colour, as walls have."""
    grey, tint = dice.between(50, 215), 40
    return (grey + dice.near(0, tint), grey + dice.near(0, tint), grey + dice.near(0, tint))


def _make_view(dice: _Dice, difficulty: float) -> View:
    stray = 0.35 + 0.9 * difficulty  # how far pose and light stray
    angle = dice.between(-math.pi, 0.0)
    exposure = dice.near(1.0, 0.25 * stray)
    warmth = dice.near(0.0, 0.12 * stray)
    wall = _random_colour(dice)
    corners = tuple(darken(wall, dice.near(1.0, 0.3)) for _ in range(4))
    props = tuple(
        (dice.between(0, 1), dice.between(0, 1), dice.between(0.08, 0.35), _random_colour(dice))
        for _ in range(2)
    )
    return View(
        yaw=dice.near(0.0, 0.40 * stray),
        pitch=dice.near(0.0, 0.20 * stray),
        roll=dice.near(0.0, 0.20 * stray),
        scale=dice.near(1.0, 0.10 * stray),
        shift=(dice.near(0.0, 0.06 * stray), dice.near(0.0, 0.05 * stray)),
        gaze=(dice.near(0.0, 0.5 * stray), dice.near(0.0, 0.3 * stray)),
        light=(math.cos(angle), math.sin(angle)),
        contrast=dice.between(0.1, 0.15 + 0.45 * stray),
        exposure=(exposure * (1 + warmth), exposure, exposure * (1 - warmth)),
        backdrop=(corners[0], corners[1], corners[2], corners[3]),
        props=props,
        blur_px=max(0.0, dice.between(-1.0, 1.2 * difficulty)),
        noise=dice.between(0.0, 5.0 + 40.0 * difficulty),
    )


def _act(dice: _Dice, expression: str, person: Person, difficulty: float) -> ActionUnits:
    """One way in which `person` shows `expression`: the more difficult, the fainter, mixed and untypical."""
    units = np.array(dice.pick(PROTOTYPES[expression]))
    strength = person.play * (1.0 - dice.between(0.0, 0.10 + 0.80 * difficulty))
    mixed = 0.5 * difficulty * dice.between(-1.0, 1.0)
    other = PROTOTYPES[dice.pick(EXPRESSIONS)][0]
    units = strength * units if mixed <= 0 else strength * ((1 - mixed) * units + mixed * np.array(other))
    spread = 0.06 + 0.24 * difficulty
    units += spread * np.array([dice.near(0.0, 1.0) for _ in range(len(units))])
    acted = ActionUnits(*np.clip(units, 0.0, 1.15).tolist())
    rest = person.resting
    return acted._replace(
        brow_lower=max(0.0, acted.brow_lower + difficulty * rest[0]),
        lid_droop=max(0.0, acted.lid_droop + difficulty * rest[1]),
        corner_pull=max(0.0, acted.corner_pull + difficulty * rest[2]),
        corner_drop=max(0.0, acted.corner_drop + difficulty * rest[3]),
        one_sided=max(-1.0, min(1.0, float(units[-1]))),
    )


@dataclass(frozen=True)
class Scene:
    """Everything that one image shows."""

    person: Person
    units: ActionUnits
    view: View


@dataclass(frozen=True)
class DrawnFaces:
    """A data set of drawn faces.

    Image and label of an index are a pure function of the fields and the index: not of the order of reading,
    the process or the images read before. A person looks the same in every set with the same seed.

    Attributes:
        count: Number of images.
        size_px: Their width and height, 48 to 224.
        classes: 7 basic expressions (neutral included), or 8 with contempt.
        imbalance: The commonest class has 1 + imbalance times as many images as the rarest; 0 = all equal.
        label_noise: Share of the labels that are wrong: one of the other classes, each equally likely.
        difficulty: 0 (full, typical expressions, nearly frontal, clean) to 1 (faint, mixed, turned, grainy).
        persons: Number of people, among whom images are shared out evenly and expressions at random; None for
            one person for every ten images.
        seed: Another seed is another population.
    """

    count: int = 2000
    size_px: int = 48
    classes: int = 7
    imbalance: float = 2.0
    label_noise: float = 0.03
    difficulty: float = 0.3
    persons: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        rules = (
            ("count", "at least 1", self.count >= 1),
            ("size_px", f"{MIN_SIZE_PX} to {MAX_SIZE_PX}", MIN_SIZE_PX <= self.size_px <= MAX_SIZE_PX),
            ("classes", "7, or 8 with contempt", self.classes in (7, 8)),
            ("imbalance", "0 (balanced) or more", 0.0 <= self.imbalance < math.inf),
            ("label_noise", "a share from 0 to 1", 0.0 <= self.label_noise <= 1.0),
            ("difficulty", "0 (easy) to 1 (very hard)", 0.0 <= self.difficulty <= 1.0),
            ("persons", "at least 1", self.persons is None or self.persons >= 1),
            ("seed", "0 or more", self.seed >= 0),
        )
        wrong = [f"{key}={getattr(self, key)!r} (expected {rule})" for key, rule, holds in rules if not holds]
        if wrong:
            raise ConfigError(f"drawn faces can't be made with {', '.join(wrong)}: change what is listed.")

    @property
    def class_names(self) -> tuple[str, ...]:
        return EXPRESSIONS[: self.classes]

    @functools.cached_property
    def _plan(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Person, true class and recorded label of every image."""
        rng = np.random.default_rng((self.seed, _PLAN))
        mixed_persons, mixed_classes, mixed_noise = (
            np.argsort(rng.random(self.count), kind="stable") for _ in range(3)
        )
        person = (mixed_persons % (self.persons or max(1, self.count // 10))).astype(np.int32)
        true = np.repeat(np.arange(self.classes, dtype=np.int8), self.class_counts())[mixed_classes]
        label = true.copy()
        flipped = mixed_noise[: round(self.label_noise * self.count)]
        steps = 1 + (rng.random(len(flipped)) * (self.classes - 1)).astype(np.int8)
        label[flipped] = (label[flipped] + steps) % self.classes
        return person, true, label

    def class_counts(self) -> np.ndarray:
        """True images a class (classes,) int64, in the order of `class_names`; they fall geometrically."""
        ranks = np.array([_BY_FREQUENCY.index(name) for name in self.class_names])
        weights = (1.0 + self.imbalance) ** (-ranks / (self.classes - 1))
        exact = self.count * weights / weights.sum()
        counts = np.floor(exact).astype(np.int64)
        largest_remainders = np.argsort(counts - exact, kind="stable")[: self.count - counts.sum()]
        counts[largest_remainders] += 1
        return counts

    def frame(self) -> pl.DataFrame:
        """One row an image: id, label (as recorded: may be wrong), split (null) and group (the person)."""
        person, _, label = self._plan
        index = pl.int_range(self.count, eager=True)
        return pl.DataFrame(
            {
                "id": index.cast(pl.String).str.zfill(7),
                "label": pl.Series(label, dtype=pl.Int64),
                "split": pl.Series([None], dtype=pl.String).new_from_index(0, self.count),
                "group": "person-" + pl.Series(person).cast(pl.String).str.zfill(6),
            }
        )

    def true_labels(self) -> np.ndarray:
        """What the images show (count,) int64, whatever their label says."""
        return self._plan[1].astype(np.int64)

    def scene(self, index: int) -> Scene:
        """What image `index` shows."""
        return self._scene(index)[0]

    def _scene(self, index: int) -> tuple[Scene, _Dice]:
        if not 0 <= index < self.count:
            raise IndexError(f"index {index} is outside 0..{self.count - 1}")
        person = make_person(self.seed, int(self._plan[0][index]))
        dice = _Dice(self.seed, _IMAGE, index)
        view = _make_view(dice, self.difficulty)
        units = _act(dice, EXPRESSIONS[self._plan[1][index]], person, self.difficulty)
        return Scene(person, units, view), dice

    def read(self, index: int) -> np.ndarray:
        """Image `index`: (size_px, size_px, 3) uint8 RGB."""
        scene, dice = self._scene(index)
        image = draw(scene.person, scene.units, scene.view, self.size_px)
        grain = np.frombuffer(dice.rng.bytes(image.size), np.uint8).reshape(image.shape)
        return cv2.addWeighted(image, 1.0, grain, scene.view.noise / 128.0, -scene.view.noise)

    def masks(self, index: int) -> dict[str, np.ndarray]:
        """Where brows, eyes, nose and mouth lie in image `index`: bool (size_px, size_px) each."""
        scene = self.scene(index)
        return part_masks(scene.person, scene.units, scene.view, self.size_px)
