"""One drawn face: from a person, the strengths of facial action units and a view to pixels.

Coordinates are those of a face seen from the front: x to the image's right, y down, the origin between the
eyes' line and the tip of the nose. The chin lies at y = 1.05, the hair's top at -1.25. Shapes are collected
in these coordinates, turned and placed in one go, and painted from back to front.
"""

import functools
import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

UNIT = 0.39  # one unit of the face in image widths, at scale 1
_BITS = 4  # binary places of the coordinates given to OpenCV
PARTS = ("brows", "eyes", "nose", "mouth")

Colour = tuple[float, float, float]

# Right halves of hairlines, from the temple to the middle of the forehead; x in face widths, y in units.
_HALF_HAIRLINES = {
    "short": [(0.97, -0.28), (0.86, -0.60), (0.50, -0.80), (0.0, -0.84)],
    "fringe": [(0.99, -0.02), (0.90, -0.45), (0.55, -0.60), (0.0, -0.63)],
    "parted": [(1.00, 0.20), (0.93, -0.35), (0.60, -0.70), (0.0, -0.97)],
    "receding": [(0.99, -0.20), (0.93, -0.55), (0.70, -0.95), (0.0, -0.88)],
    "cap": [(1.10, -0.38), (0.84, -0.56), (0.40, -0.66), (0.0, -0.68)],
}
_LEFT_PARTING = [(-0.42, -0.93), (-0.84, -0.62), (-0.97, -0.25)]
HAIRLINES = {
    "side": np.array([(0.97, -0.20), (0.90, -0.52), (0.62, -0.62), (0.1, -0.72), *_LEFT_PARTING]),
    **{name: np.array(half + [(-x, y) for x, y in half[-2::-1]]) for name, half in _HALF_HAIRLINES.items()},
}


class Style(NamedTuple):
    """How a head is covered."""

    hairline: str | None
    volume: float = 1.0  # hair's outline over the skull's
    down: float | None = None  # y to which hair reaches behind the face, None = not below the ears
    rim: str = "smooth"  # or spikes, curls


STYLES = {
    "bald": Style(None),
    "buzz": Style("short", 1.02),
    "short": Style("short", 1.10),
    "side": Style("side", 1.14),
    "spiky": Style("short", 1.12, rim="spikes"),
    "receding": Style("receding", 1.04),
    "fringe": Style("fringe", 1.14, 0.55),
    "bob": Style("side", 1.18, 0.75),
    "long": Style("parted", 1.14, 1.6),
    "buns": Style("parted", 1.06),
    "afro": Style("short", 1.42, 0.30, rim="curls"),
    "beanie": Style("cap", 1.12),
    "scarf": Style("cap", 1.14, 1.6),
}
COVERED = {"beanie", "scarf"}  # styles that are cloth, not hair

_T = np.linspace(-1.0, 1.0, 13)  # along a mouth or an eye, from the image's left to its right
_BULGE = (1.0 - _T**2) ** 0.6  # a lens-shaped opening
_CUPID = _BULGE * (1.0 - 0.22 * np.exp(-((_T / 0.18) ** 2)))  # the upper lip's dent
_ROUND = np.linspace(0.0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_ROUND), np.sin(_ROUND)], axis=1)
_BROW_TAPER = np.array([0.42, 0.50, 0.40, 0.12])
_SIDES = (-1.0, 1.0)  # the image's left and right
_SHOULDERS = np.array([(-1.7, 2.2), (-1.45, 1.42), (-0.4, 1.22), (0.4, 1.22), (1.45, 1.42), (1.7, 2.2)])
_NECK = np.array([(-0.42, 0.6), (0.42, 0.6), (0.46, 1.35), (0.0, 1.5), (-0.46, 1.35)])
_BRIDGE = np.array([(-0.035, -0.1), (0.035, -0.1), (0.05, 0.2), (-0.05, 0.2)])
_BEARD_EDGE = np.array(
    [(-0.84, 0.30), (-0.56, 0.44), (-0.36, 0.52), (0.0, 0.44), (0.36, 0.52), (0.56, 0.44), (0.84, 0.30)]
)
_MOUSTACHE = np.array(
    [
        (-0.17, 0.44),
        (0, 0.42),
        (0.17, 0.44),
        (0.32, 0.56),
        (0.14, 0.52),
        (0, 0.51),
        (-0.14, 0.52),
        (-0.32, 0.56),
    ]
)
# one half of a scarf beside the face; x in face widths
_SCARF = np.array(
    [(0.9, -0.7), (0.93, -0.1), (0.9, 0.35), (0.62, 0.85), (0, 1.08), (0.5, 1.4), (1.2, 0.9), (1.2, -0.3)]
)


class ActionUnits(NamedTuple):
    """Strengths of facial movements, 0 (absent) to 1 (full); in brackets the number in FACS."""

    inner_brow: float = 0.0  # inner brow raised [1]
    outer_brow: float = 0.0  # outer brow raised [2]
    brow_lower: float = 0.0  # brows lowered and drawn together [4]
    lid_raise: float = 0.0  # upper lids raised, white above the iris [5]
    cheek_raise: float = 0.0  # cheeks push up the lower lids [6]
    lid_tighten: float = 0.0  # lids narrowed [7]
    lid_droop: float = 0.0  # upper lids hang [43]
    nose_wrinkle: float = 0.0  # [9]
    upper_lip: float = 0.0  # upper lip raised [10]
    corner_pull: float = 0.0  # lip corners pulled up and outward: the smile [12, 14]
    corner_drop: float = 0.0  # lip corners drawn down [15]
    chin_raise: float = 0.0  # lower lip pushed up [17]
    lip_stretch: float = 0.0  # mouth stretched sideways [20]
    lip_press: float = 0.0  # lips pressed thin [23, 24]
    lips_part: float = 0.0  # [25]
    jaw_drop: float = 0.0  # [26, 27]
    one_sided: float = 0.0  # -1: corner_pull acts on the image's left only, 1: on its right only


@dataclass(frozen=True)
class Person:
    """What stays the same in all images of one person; lengths in units of the face, colours RGB 0..255."""

    width: float
    jaw: float
    chin: float
    length: float
    skin: Colour
    hair: Colour
    style: str
    cloth: Colour
    brow_weight: float
    brow_height: float
    eye_spacing: float
    eye_size: float
    eye_shape: float
    eye_tilt: float
    iris: Colour
    lashes: bool
    nose_width: float
    nose_length: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    lip: Colour
    beard: str
    glasses: str
    frame: Colour
    resting: tuple[float, float, float, float]  # offsets of brow_lower, lid_droop, corner_pull, corner_drop
    play: float  # how strongly this person shows expressions, relative to others


@dataclass(frozen=True)
class View:
    """What is new in each image: pose (radians), place, light, background and the camera's faults."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    gaze: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float] = (-0.6, -0.8)  # unit vector towards the light
    contrast: float = 0.25  # of lit against shaded sides
    exposure: Colour = (1.0, 1.0, 1.0)
    backdrop: tuple[Colour, Colour, Colour, Colour] = ((150, 160, 175),) * 4
    props: tuple[tuple[float, float, float, Colour], ...] = ()  # discs: x, y, radius in image widths, colour
    blur_px: float = 0.0  # at 48 px
    noise: float = 0.0  # half the width of the uniform noise, in grey levels


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """The colour `share` of the way from a to b."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def darken(colour: Colour, factor: float) -> Colour:
    return (min(colour[0] * factor, 255.0), min(colour[1] * factor, 255.0), min(colour[2] * factor, 255.0))


@functools.cache
def _spline(count: int, closed: bool) -> np.ndarray:
    """Matrix (samples, count) that turns control points into a Catmull-Rom curve through all of them."""
    steps = 5
    spans = count if closed else count - 1
    matrix = np.zeros((spans * steps + (not closed), count))
    for row in range(len(matrix)):
        span, u = (spans - 1, 1.0) if row == spans * steps else (row // steps, row % steps / steps)
        weights = (
            (-u + 2 * u**2 - u**3) / 2, (2 - 5 * u**2 + 3 * u**3) / 2,
            (u + 4 * u**2 - 3 * u**3) / 2, (-(u**2) + u**3) / 2,
        )  # fmt: skip
        for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
            column = (span + offset) % count if closed else min(max(span + offset, 0), count - 1)
            matrix[row, column] += weight
    return matrix


class _Brush(NamedTuple):
    """How a shape is painted."""

    colour: Colour | None  # None: not at all, the shape only belongs to a part's mask
    width: float | None  # of a line, in face units; None: a filled polygon
    soft: bool  # on the shading layer, where 128 leaves the brightness as it is
    part: str  # the mask that it belongs to


class _Sketch:
    """Shapes of one face in face coordinates, in the order in which they are painted.

    `depth` says how a shape turns with the head: 1 lies on the face's surface, 0 on its silhouette, and what
    is above 1 stands out from the surface by that much.
    """

    def __init__(self) -> None:
        self.brushes: list[_Brush] = []
        self._points: list[np.ndarray] = []
        self._depths: list[float | np.ndarray] = []

    def fill(
        self,
        points: np.ndarray,
        colour: Colour | None,
        depth: float | np.ndarray = 1.0,
        *,
        smooth: bool = False,
        soft: bool = False,
        part: str = "",
    ) -> None:
        """A polygon, or with `smooth` the closed curve through the points."""
        self._add(points, depth, _spline(len(points), True) if smooth else None)
        self.brushes.append(_Brush(colour, None, soft, part))

    def line(
        self,
        points: np.ndarray,
        colour: Colour,
        width: float,
        depth: float | np.ndarray = 1.0,
        *,
        smooth: bool = False,
    ) -> None:
        """An open line, or with `smooth` the curve through the points."""
        self._add(points, depth, _spline(len(points), False) if smooth else None)
        self.brushes.append(_Brush(colour, width, False, ""))

    def _add(self, points: np.ndarray, depth: float | np.ndarray, spline: np.ndarray | None) -> None:
        if spline is not None:
            points = spline @ points
            depth = spline @ depth if isinstance(depth, np.ndarray) else depth
        self._points.append(points)
        self._depths.append(depth)

    def project(self, person: Person, view: View, size_px: int) -> list[np.ndarray]:
        """Every shape as it lies in an image of that size: int32 (n, 2) with `_BITS` binary places."""
        points = np.concatenate(self._points)
        ends = list(itertools.accumulate(len(shape) for shape in self._points))
        starts = [0, *ends[:-1]]
        depth = np.empty(len(points))
        for start, end, value in zip(starts, ends, self._depths, strict=True):
            depth[start:end] = value
        x, y = points[:, 0], points[:, 1]
        bulge = 0.72 * np.sqrt(np.maximum(0.0, 1.0 - (x / person.width) ** 2 - (y / 1.4) ** 2))
        on_surface = np.minimum(depth, 1.0)
        z = on_surface * bulge + (depth - on_surface)
        turned = np.empty_like(points)
        turned[:, 0] = x * (1.0 - (1.0 - math.cos(view.yaw)) * on_surface) + z * math.sin(view.yaw)
        turned[:, 1] = y - z * math.sin(view.pitch)
        unit = UNIT * view.scale * size_px
        cos, sin = unit * math.cos(view.roll), unit * math.sin(view.roll)
        middle = (size_px * (0.5 + view.shift[0]) - 0.5, size_px * (0.52 + view.shift[1]) - 0.5)
        placed = turned @ np.array([[cos, sin], [-sin, cos]]) + middle
        fixed = np.rint(placed * 2.0**_BITS).astype(np.int32)
        return [fixed[start:end] for start, end in zip(starts, ends, strict=True)]


def _xy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    points = np.empty((len(x), 2))
    points[:, 0], points[:, 1] = x, y
    return points


def _band(x: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Outline of the area between two curves over the same x."""
    out = np.empty((2 * len(x), 2))
    out[: len(x), 0], out[: len(x), 1] = x, upper
    out[len(x) :, 0], out[len(x) :, 1] = x[::-1], lower[::-1]
    return out


def _head_outline(person: Person, units: ActionUnits, view: View) -> np.ndarray:
    """Control points (14, 2) of the silhouette, clockwise from the top; the chin follows jaw and turn."""
    w, jaw = person.width, person.jaw * person.width
    chin = person.length + 0.13 * units.jaw_drop - 0.02 * units.chin_raise
    right = np.array(
        [
            (0.55 * w, -1.05),
            (0.95 * w, -0.62),
            (w, -0.1),
            (0.97 * w, 0.3),
            (jaw, 0.68),
            (person.chin, chin - 0.06),
        ]
    )
    right[4:, 1] += 0.06 * units.jaw_drop
    outline = np.concatenate([[(0.0, -1.18)], right, [(0.0, chin)], right[::-1] * (-1.0, 1.0)])
    outline[:, 0] += 0.45 * math.sin(view.yaw) * np.maximum(outline[:, 1], 0.0) ** 2
    return outline


def _dome(width: float, style: Style) -> np.ndarray:
    """Control points of the hair's upper rim, from the image's left temple over the top to the right one."""
    angles = np.linspace(math.pi, 2 * math.pi, 9 if style.rim == "smooth" else 19)
    radius = np.full(len(angles), style.volume)
    if style.rim != "smooth":
        radius[1::2] += 0.13 if style.rim == "spikes" else 0.05
    return _xy(1.02 * width * radius * np.cos(angles), -0.35 + 0.86 * radius * np.sin(angles))


def _hair_outline(person: Person, view: View) -> np.ndarray | None:
    """Outline of the hair (or cap) over the forehead: over the skull, then back along the hairline."""
    style = STYLES[person.style]
    if style.hairline is None:
        return None
    line = HAIRLINES[style.hairline] * (person.width * 1.01, 1.0)
    line[1:-1, 0] += 0.5 * math.sin(view.yaw) * (1.0 - (line[1:-1, 0] / person.width) ** 2)
    dome = _dome(person.width, style)
    if style.rim == "spikes":
        return np.concatenate([dome, _spline(len(line), False) @ line])
    return _spline(len(dome) + len(line), True) @ np.concatenate([dome, line])


class _Mouth(NamedTuple):
    """Curves of a mouth over x, each (13,), and how much of the corners' movement each side makes."""

    x: np.ndarray
    line: np.ndarray  # where closed lips meet
    upper: np.ndarray  # edges of the opening
    lower: np.ndarray
    outer_up: np.ndarray  # edges of the lips
    outer_down: np.ndarray
    shares: tuple[float, float]


def _mouth_shape(person: Person, units: ActionUnits) -> _Mouth:
    left = 1.0 - max(0.0, units.one_sided)
    right = 1.0 + min(0.0, units.one_sided)
    smile, jaw, part, press = units.corner_pull, units.jaw_drop, units.lips_part, min(units.lip_press, 1.0)
    pull = smile * (left + (right - left) * (_T + 1.0) / 2.0)
    half = 1.0 + 0.34 * pull + 0.42 * units.lip_stretch - 0.16 * press - 0.45 * jaw * (1.0 - 0.8 * pull)
    x = person.mouth_width * half * _T
    corner = -0.24 * pull + 0.06 * smile + 0.16 * units.corner_drop + 0.05 * units.lip_stretch
    arch = 0.09 * units.upper_lip + 0.09 * units.chin_raise * (1.0 - 0.6 * part) + 0.05 * units.corner_drop
    line = 0.60 + 0.06 * jaw + corner * np.abs(_T) ** 1.7 - arch * _BULGE
    upper = line - (0.03 * part + 0.10 * jaw * (1.0 - 0.7 * smile) + 0.05 * units.upper_lip * part) * _BULGE
    lower = line + (0.11 * part + 0.36 * jaw + 0.03 * units.lip_stretch * part) * _BULGE
    thin = 1.0 - 0.65 * press - 0.25 * min(smile, 1.0)
    outer_up = upper - person.upper_lip * thin * _CUPID - 0.008
    outer_down = lower + person.lower_lip * thin * (1.0 + 0.25 * units.chin_raise) * _BULGE + 0.008
    return _Mouth(x, line, upper, lower, outer_up, outer_down, (left, right))


def _draw_behind(sketch: _Sketch, person: Person, view: View) -> None:
    """Shoulders, neck, ears and the hair behind the face."""
    style, w = STYLES[person.style], person.width
    cover = person.cloth if person.style in COVERED else person.hair
    sketch.fill(_SHOULDERS, darken(person.cloth, 0.9), 0.0)
    if style.down is not None:
        middle = min(0.3, style.down - 0.1)
        ends = np.array(
            [(1, middle), (0.9, style.down), (0, style.down + 0.05), (-0.9, style.down), (-1, middle)]
        )
        hair = np.concatenate([_dome(w, style), ends * (1.09 * w * style.volume, 1.0)])
        sketch.fill(hair, darken(cover, 0.8), 0.0, smooth=True)
    if person.style == "buns":
        for side in _SIDES:
            sketch.fill(_CIRCLE * 0.3 + (side * 0.83 * w, -1.08), darken(person.hair, 0.9), 0.0)
    if person.style == "scarf":
        sketch.fill(_NECK, darken(person.cloth, 0.85), 0.0)
        return
    sketch.fill(_NECK, darken(person.skin, 0.80), 0.0)
    for side in _SIDES:
        ear = (side * (w + 0.02) - 0.16 * math.sin(view.yaw), 0.02)
        sketch.fill(_CIRCLE * (0.13, 0.21) + ear, darken(person.skin, 0.92), 0.0)
        sketch.fill(_CIRCLE * (0.06, 0.12) + ear, darken(person.skin, 0.72), 0.0)


def _draw_shading(
    sketch: _Sketch, person: Person, units: ActionUnits, view: View, head: np.ndarray, mouth: _Mouth
) -> None:
    """Soft shadows that give form: away from the light, in the eye sockets, on the cheeks, under the lip."""
    lx, ly = view.light
    sketch.fill(head, _grey(1.0 - view.contrast), 0.0, smooth=True, soft=True)
    sketch.fill(head * 0.92 + (0.26 * lx, 0.20 * ly + 0.02), (133, 132, 130), 0.0, smooth=True, soft=True)
    socket = _grey(0.90 - 0.10 * units.brow_lower)
    warm = 2.4 + 4.0 * units.cheek_raise
    for side in _SIDES:
        sketch.fill(_CIRCLE * (0.20, 0.10) + (side * person.eye_spacing, -0.25), socket, soft=True)
        cheek = (side * 0.59 * person.width, 0.26 - 0.06 * units.cheek_raise)
        sketch.fill(_CIRCLE * (0.20, 0.15) + cheek, (136 + warm, 128 - warm, 128 - warm), soft=True)
    away = -1.0 if lx > 0 else 1.0
    wing, tip = away * (person.nose_width + 0.06), person.nose_length + 0.03
    shadow = np.array([(0.02 * away, -0.1), (0.10 * away, -0.05), (wing, tip), (0.0, tip)])
    sketch.fill(shadow, _grey(1.0 - 0.8 * view.contrast), 1.1, soft=True)
    sketch.fill(_BRIDGE - (0.03 * away, 0.0), _grey(1.1), 1.15, soft=True)
    sketch.fill(_CIRCLE * (0.16, 0.05) + (0.0, mouth.outer_down[6] + 0.09), _grey(0.85), soft=True)


def _grey(factor: float) -> Colour:
    """On the shading layer: multiplies the brightness by `factor`."""
    return (128.0 * factor, 128.0 * factor, 128.0 * factor)


def _eye_opening(
    person: Person, units: ActionUnits, side: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and the upper and lower edge (13,) of the eye on one side."""
    tall = person.eye_size * person.eye_shape
    squint = 0.40 * units.lid_tighten + 0.20 * units.cheek_raise
    upper = max(0.06, 1.0 + 0.65 * units.lid_raise - 0.75 * units.lid_droop - squint)
    lower = 0.72 + 0.20 * units.lid_raise - 0.55 * units.lid_tighten - 1.05 * units.cheek_raise
    inner = (1.0 - side * _T) / 2.0  # 1 at the nose, 0 at the temple
    scowl = 0.6 * units.brow_lower * (1.0 - 0.8 * units.inner_brow)
    grief = 0.5 * units.inner_brow * (1.0 - units.lid_raise)
    middle = -0.12 - side * _T * person.eye_tilt
    top = middle - tall * (upper - scowl * inner - grief * (1.0 - inner)) * _BULGE
    bottom = np.maximum(middle + tall * lower * _BULGE, top + 0.10 * tall * _BULGE)
    return side * person.eye_spacing + person.eye_size * _T, top, bottom


def _draw_eye(sketch: _Sketch, person: Person, units: ActionUnits, view: View, side: float) -> None:
    size = person.eye_size
    x, top, bottom = _eye_opening(person, units, side)
    lid = top - (0.59 - 0.21 * units.lid_raise) * size * (0.3 + 0.7 * _BULGE)
    sketch.fill(_band(x, lid, bottom + 0.02 * _BULGE), darken(person.skin, 0.80), part="eyes")
    sketch.fill(_band(x, top, bottom), (244, 243, 240), part="eyes")
    gaze_x, gaze_y = view.gaze
    centre = (side * person.eye_spacing + 0.35 * size * gaze_x, -0.13 + 0.3 * size * gaze_y)
    for radius, colour in ((0.56 * size, person.iris), (0.28 * size, (16.0, 14.0, 14.0))):
        disc = _CIRCLE * radius + centre
        disc[:, 1] = np.clip(disc[:, 1], np.interp(disc[:, 0], x, top), np.interp(disc[:, 0], x, bottom))
        sketch.fill(disc, colour)
    if bottom[6] - top[6] > 0.07:
        sketch.fill(_CIRCLE * 0.028 + centre + (-0.04, -0.045), (255, 255, 255))
    ink = (30.0, 24.0, 22.0) if person.style in COVERED else darken(person.hair, 0.4)
    sketch.line(_xy(x, top), ink, 0.048 if person.lashes else 0.032)
    sketch.line(_xy(x, bottom), darken(person.skin, 0.58), 0.016)
    if person.lashes:
        outer = 12 if side > 0 else 0
        tail = np.array([(-0.05, -0.02), (0.06, -0.05)]) * (side, 1.0) + (x[outer], top[outer])
        sketch.line(tail, ink, 0.03)
    if units.cheek_raise > 0.25:
        sketch.line(_xy(x[3:-3], bottom[3:-3] + 0.05), darken(person.skin, 0.78), 0.02)


def _draw_brow(sketch: _Sketch, person: Person, units: ActionUnits, side: float) -> None:
    lower, inner, outer = units.brow_lower, units.inner_brow, units.outer_brow
    down = 0.17 * lower * (1.0 - 0.75 * min(inner, 1.0)) + 0.05 * units.nose_wrinkle
    height = -0.12 - person.brow_height
    e = person.eye_spacing
    spine = np.array(
        [
            (max(0.13, e - 0.215) - 0.05 * lower, height + 0.03 + down - 0.21 * inner),
            (e - 0.07 - 0.02 * lower, height - 0.01 + 0.75 * down - 0.13 * inner - 0.07 * outer),
            (e + 0.10, height - 0.035 + 0.3 * down - 0.03 * inner - 0.16 * outer),
            (e + 0.26, height + 0.045 - 0.02 * down + 0.03 * inner * (1.0 - outer) - 0.15 * outer),
        ]
    )
    thick = np.zeros((4, 2))
    thick[:, 1] = person.brow_weight * _BROW_TAPER
    outline = np.concatenate([spine - thick, (spine + thick)[::-1]]) * (side, 1.0)
    hair = (52.0, 38.0, 32.0) if person.style in COVERED else person.hair
    sketch.fill(outline, blend(darken(hair, 0.75), person.skin, 0.12), smooth=True, part="brows")


def _draw_forehead(sketch: _Sketch, person: Person, units: ActionUnits) -> None:
    """Wrinkles of raised brows, of brows drawn together and of the nose."""
    raised = max(0.0, units.inner_brow + units.outer_brow - 0.8)
    if raised > 0.1:
        colour = blend(person.skin, darken(person.skin, 0.72), min(raised, 1.0))
        for height, half in ((-0.70, 0.36), (-0.79, 0.30)):
            sketch.line(_xy(half * _T[::3], height + 0.02 * _T[::3] ** 2), colour, 0.02)
    if units.brow_lower > 0.3 or units.nose_wrinkle > 0.3:
        strength = min(1.0, max(units.brow_lower, units.nose_wrinkle))
        colour = blend(person.skin, darken(person.skin, 0.62), strength)
        for side in _SIDES:
            sketch.line(np.array([(side * 0.05, -0.42), (side * 0.045, -0.28)]), colour, 0.022)
    if units.nose_wrinkle > 0.25:
        colour = blend(person.skin, darken(person.skin, 0.6), min(units.nose_wrinkle, 1.0))
        for height in (-0.15, -0.07, 0.01):
            wrinkle = np.array([(-0.09, height + 0.025), (0.0, height), (0.09, height + 0.025)])
            sketch.line(wrinkle, colour, 0.022, 1.12)


def _draw_nose(sketch: _Sketch, person: Person, units: ActionUnits) -> None:
    tip = person.nose_length
    wide = person.nose_width * (1.0 + 0.18 * units.nose_wrinkle)
    wing = tip - 0.02 - 0.07 * units.nose_wrinkle
    right = np.array([(0.6 * wide, tip - 0.12), (wide, wing), (0.8 * wide, wing + 0.05)])
    outline = np.concatenate([[(0.0, tip - 0.19)], right, [(0.0, tip + 0.055)], right[::-1] * (-1.0, 1.0)])
    sketch.fill(outline, darken(person.skin, 0.93), 1.16, smooth=True, part="nose")
    bridge = np.array([(-0.07, -0.16), (0.07, -0.16), (0.10, tip - 0.1), (-0.10, tip - 0.1)])
    sketch.fill(bridge, None, 1.08, part="nose")  # skin that needs no paint, but belongs to the mask
    rim = np.array([(wide, wing - 0.05), (1.02 * wide, wing + 0.01), (0.8 * wide, wing + 0.055)])
    for side in _SIDES:
        sketch.line(rim * (side, 1.0), darken(person.skin, 0.66), 0.024, 1.14, smooth=True)
        nostril = _CIRCLE * (0.045, 0.024) + (side * 0.5 * wide, wing + 0.045)
        sketch.fill(nostril, darken(person.skin, 0.45), 1.14)


def _draw_folds(sketch: _Sketch, person: Person, units: ActionUnits, mouth: _Mouth) -> None:
    """The folds from the nose to the corners of the mouth."""
    strength = max(
        units.corner_pull, 0.9 * units.nose_wrinkle, 0.8 * units.upper_lip, 0.5 * units.lip_stretch
    )
    if strength < 0.15:
        return
    colour = blend(person.skin, darken(person.skin, 0.68), min(strength, 1.0))
    for end, sign, share in zip((0, -1), _SIDES, mouth.shares, strict=True):
        if share > 0.3:
            corner = mouth.x[end] + sign * 0.08
            nose = (sign * (person.nose_width + 0.07), 0.24 - 0.05 * units.nose_wrinkle)
            cheek = ((corner + sign * 0.24) / 2 + sign * 0.07, 0.40)
            sketch.line(np.array([nose, cheek, (corner, mouth.line[end] - 0.04)]), colour, 0.026, smooth=True)


def _draw_mouth(sketch: _Sketch, person: Person, units: ActionUnits, mouth: _Mouth) -> None:
    """Lips, and what an open mouth shows."""
    x, line, upper, lower, outer_up, outer_down, shares = mouth
    sketch.fill(_band(x, outer_up, lower), darken(person.lip, 0.88), part="mouth")
    sketch.fill(_band(x, upper, outer_down), person.lip, part="mouth")
    if lower[6] - upper[6] < 0.035:
        sketch.line(_xy(x, line), darken(person.lip, 0.42), 0.030)
    else:
        sketch.fill(_band(x, upper, lower), (74, 20, 26))
        if units.jaw_drop > 0.35:
            tongue = np.maximum(lower - 0.13 * _BULGE, upper)
            sketch.fill(_band(x[3:-3], tongue[3:-3], lower[3:-3]), (196, 92, 96))
        sketch.fill(_band(x[1:-1], upper[1:-1], np.minimum(upper + 0.085, lower)[1:-1]), (240, 238, 230))
        if units.lip_stretch + units.upper_lip + units.brow_lower > 0.5 and units.jaw_drop < 0.6:
            teeth = np.minimum(np.maximum(lower - 0.075, upper + 0.095), lower)
            sketch.fill(_band(x[1:-1], teeth[1:-1], lower[1:-1]), (226, 222, 212))
    for end, sign, share in zip((0, -1), _SIDES, shares, strict=True):
        if units.corner_pull * share > 0.3:  # the dimple that ends a smile
            dimple = np.array([(x[end], line[end]), (x[end] + sign * 0.045, line[end] - 0.05)])
            sketch.line(dimple, darken(person.lip, 0.5), 0.028)
    if units.chin_raise > 0.4:
        for sign in _SIDES:
            sketch.line(np.array([(sign * 0.05, 0.87), (sign * 0.07, 0.90)]), darken(person.skin, 0.78), 0.03)


def _draw_beard(sketch: _Sketch, person: Person, units: ActionUnits, head: np.ndarray) -> None:
    hair = (60.0, 44.0, 36.0) if person.style in COVERED else darken(person.hair, 0.9)
    if person.beard in ("full", "stubble"):
        colour = hair if person.beard == "full" else blend(person.skin, hair, 0.30)
        jaw = head[3:12]
        outline = np.concatenate([jaw, _BEARD_EDGE * (person.width, 1.0)])
        depth = np.concatenate([np.zeros(len(jaw)), np.ones(len(_BEARD_EDGE))])
        sketch.fill(outline, colour, depth, smooth=True)
    elif person.beard in ("moustache", "goatee"):
        up = 0.05 * units.upper_lip + 0.03 * units.corner_pull
        sketch.fill(_MOUSTACHE - (0.0, up), hair, 1.02, smooth=True)
    if person.beard == "goatee":
        sketch.fill(_CIRCLE * (0.20, 0.17) + (0.0, 0.90 + 0.10 * units.jaw_drop), hair)


def _draw_hair(sketch: _Sketch, person: Person, view: View) -> None:
    outline = _hair_outline(person, view)
    if outline is None:
        return
    cover = person.cloth if person.style in COVERED else person.hair
    if person.style == "buzz":
        cover = blend(cover, person.skin, 0.35)
    sketch.fill(outline, cover, 0.0)
    if person.style == "beanie":
        edge = outline[45:-4]
        sketch.fill(np.concatenate([edge, edge[::-1] - (0.0, 0.17)]), darken(person.cloth, 0.72), 0.0)
    elif person.style == "scarf":
        for side in _SIDES:
            sketch.fill(_SCARF * (side * person.width, 1.0), person.cloth, 0.0, smooth=True)
    else:
        shine = np.array([(-0.45, -0.98), (-0.2, -1.06), (0.1, -1.09)]) * (person.width, 1.0)
        sketch.line(
            shine - (0.1 * view.light[0], 0.0), blend(cover, (255, 255, 255), 0.22), 0.04, 0.0, smooth=True
        )


def _draw_glasses(sketch: _Sketch, person: Person) -> None:
    if person.glasses == "none":
        return
    e = person.eye_spacing
    round_ = person.glasses == "round"
    lens = _CIRCLE * (0.265, 0.245) if round_ else np.clip(_CIRCLE * 1.35, -1.0, 1.0) * (0.275, 0.205)
    lens = np.concatenate([lens, lens[:1]])
    for side in _SIDES:
        sketch.line(lens + np.array((side * e, -0.10)), person.frame, 0.042, 1.04)
        arm = np.array([(side * (e + 0.27), -0.14), (side * person.width, -0.16)])
        sketch.line(arm, person.frame, 0.042, np.array([1.0, 0.0]))
    bridge = np.array([(-e + 0.26, -0.13), (0.0, -0.17), (e - 0.26, -0.13)])
    sketch.line(bridge, person.frame, 0.042, 1.05, smooth=True)


def _compose(person: Person, units: ActionUnits, view: View) -> _Sketch:
    """The whole face, from back to front."""
    sketch = _Sketch()
    head = _head_outline(person, units, view)
    mouth = _mouth_shape(person, units)
    _draw_behind(sketch, person, view)
    sketch.fill(head, person.skin, 0.0, smooth=True)
    _draw_shading(sketch, person, units, view, head, mouth)
    _draw_folds(sketch, person, units, mouth)
    _draw_beard(sketch, person, units, head)
    _draw_forehead(sketch, person, units)
    _draw_nose(sketch, person, units)
    _draw_mouth(sketch, person, units, mouth)
    for side in _SIDES:
        _draw_eye(sketch, person, units, view, side)
    _draw_hair(sketch, person, view)
    for side in _SIDES:
        _draw_brow(sketch, person, units, side)
    _draw_glasses(sketch, person)
    return sketch


def draw(person: Person, units: ActionUnits, view: View, size_px: int) -> np.ndarray:
    """One face as image (size_px, size_px, 3) uint8 RGB without grain, a pure function of its arguments."""
    factor, edges = (4, cv2.LINE_8) if size_px <= 64 else (2, cv2.LINE_AA)
    canvas_px = factor * size_px
    canvas = _ramp(view.backdrop, canvas_px)
    for x, y, radius, colour in view.props:
        middle = (int(x * canvas_px), int(y * canvas_px))
        cv2.circle(canvas, middle, int(radius * canvas_px), colour, cv2.FILLED, cv2.LINE_AA)
    form: np.ndarray = np.full((size_px, size_px, 3), 128, np.uint8)
    sketch = _compose(person, units, view)
    unit = UNIT * view.scale * canvas_px
    for shape, brush in zip(sketch.project(person, view, canvas_px), sketch.brushes, strict=True):
        if brush.colour is None:
            continue
        if brush.soft:
            cv2.fillPoly(form, [shape], brush.colour, cv2.LINE_8, _BITS + factor.bit_length() - 1)
        elif brush.width is None:
            cv2.fillPoly(canvas, [shape], brush.colour, edges, _BITS)
        else:
            cv2.polylines(
                canvas, [shape], False, brush.colour, max(1, round(brush.width * unit)), edges, _BITS
            )
    image: np.ndarray = cv2.resize(canvas, (size_px, size_px), interpolation=cv2.INTER_AREA)
    reach = round(0.075 * size_px) | 1
    form = cv2.blur(cv2.blur(form, (reach, reach)), (reach, reach))
    image = cv2.multiply(image, form, scale=1 / 128)
    image = cv2.multiply(image, _light(view, size_px), scale=1 / 128)
    if view.blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), max(0.2, view.blur_px * size_px / 48))
    return image


def part_masks(person: Person, units: ActionUnits, view: View, size_px: int) -> dict[str, np.ndarray]:
    """Where brows, eyes, nose and mouth lie in the image that `draw` makes: bool (size_px, size_px) each.

    Grown by a forty-eighth of the image's width, because brows are thin and saliency maps are coarse.
    """
    sketch = _compose(person, units, view)
    masks = {part: np.zeros((size_px, size_px), np.uint8) for part in PARTS}
    for shape, brush in zip(sketch.project(person, view, size_px), sketch.brushes, strict=True):
        if brush.part:
            cv2.fillPoly(masks[brush.part], [shape], 1, cv2.LINE_8, _BITS)
    grown = 2 * round(size_px / 48) + 1
    kernel = np.ones((grown, grown), np.uint8)
    return {part: np.asarray(cv2.dilate(mask, kernel) > 0) for part, mask in masks.items()}


def _ramp(corners: tuple[Colour, Colour, Colour, Colour], size_px: int) -> np.ndarray:
    """A smooth surface (size_px, size_px, 3) uint8 between four corner colours."""
    small = np.clip(np.array(corners), 0, 255).astype(np.uint8).reshape(2, 2, 3)
    return cv2.resize(small, (size_px, size_px), interpolation=cv2.INTER_LINEAR)


def _light(view: View, size_px: int) -> np.ndarray:
    lx, ly = view.light
    levels = [128.0 * (1.0 + 0.5 * view.contrast * (sx * lx + sy * ly)) for sy in (-1, 1) for sx in (-1, 1)]
    r, g, b = view.exposure
    first, second, third, fourth = ((level * r, level * g, level * b) for level in levels)
    return _ramp((first, second, third, fourth), size_px)
