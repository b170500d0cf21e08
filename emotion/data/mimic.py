"""Drawn data sets on disk: the exact layouts of the published ones, their quirks included, with drawn pictures.

For tests, and for trying a configuration before the real download is there. A tree comes with what a reader must make
of it, so that a reader is checked against what was drawn and not against itself.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from emotion.data.drawn import DrawnFaces
from emotion.errors import DataError
from emotion.labels import EXPRESSIONS

LEAST_COUNT = 8
_EDGE_PX = 48
_FOLDERS = {"anger": "angry", "happiness": "happy", "sadness": "sad"}  # what FER2013's folders are called
# the columns of FER+'s votes, written down here again: a reader isn't checked against its own list
_VOTED = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    *("unknown", "NF"),
)
_BASIC = tuple(name for name in EXPRESSIONS if name != "contempt")


@dataclass
class Drawn:
    """What a tree holds.

    Attributes:
        labels: the expression of each sample that a reader should find, by its id.
        quirks: rows or files that a reader should leave out, by the reason that it should give.
    """

    labels: dict[str, str] = field(default_factory=dict)
    quirks: dict[str, int] = field(default_factory=dict)

    def spoiled(self, reason: str) -> None:
        self.quirks[reason] = self.quirks.get(reason, 0) + 1


def draw(name: str, folder: Path, count: int = 64, seed: int = 0) -> Drawn:
    """Write a drawn data set in the layout of a published one.

    Args:
        name: one of FORMS.
        folder: made if it isn't there; must be empty.
        count: pictures, without those that are broken on purpose.
        seed: another seed is other people.

    Raises:
        DataError: an unknown layout, too few pictures, or a folder that isn't empty or can't be written.
    """
    if name not in FORMS:
        raise DataError(f"expected a layout that can be drawn ({', '.join(FORMS)}), found {name!r}.")
    if count < LEAST_COUNT:
        raise DataError(f"expected a count of at least {LEAST_COUNT}, one picture a class, found {count}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DataError(f"expected an empty folder, {folder} holds files. Choose another, or empty it.")
        drawn = Drawn()
        FORMS[name](folder, drawn, count, seed)
    except OSError as error:
        raise DataError(f"the drawn data set can't be written to {folder}: {error.strerror}.") from error
    return drawn


def _faces(count: int, seed: int, expressions: tuple[str, ...]) -> Iterator[tuple[int, str, np.ndarray]]:
    """Number, expression and picture (48, 48, 3) uint8; the expressions take turns."""
    each = -(-count // len(expressions))
    faces = DrawnFaces(8 * each, _EDGE_PX, classes=8, imbalance=0.0, label_noise=0.0, seed=seed)
    of = [np.flatnonzero(faces.true_labels() == EXPRESSIONS.index(name)) for name in expressions]
    for number in range(count):
        turn, nth = number % len(expressions), number // len(expressions)
        yield number, expressions[turn], faces.read(int(of[turn][nth]))


def _save(path: Path, picture: np.ndarray, form: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(
        path, form, **({"quality": 92} if (form or path.suffix) in ("JPEG", ".jpg") else {})
    )


def _scene(face: np.ndarray, number: int, beside: np.ndarray | None = None) -> tuple[np.ndarray, int, int]:
    """A picture of 80 × 160 pixels that holds a face, in its right half where another one is there already; and the
    face's x and y in it.
    """
    x, y = 5 + number % 25 + (80 if beside is not None else 0), 3 + number % 20
    scene = np.full((80, 160, 3), 40 + number % 100, np.uint8) if beside is None else beside.copy()
    scene[y : y + _EDGE_PX, x : x + _EDGE_PX] = face
    return scene, x, y


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("L"))


def _lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _is_val(number: int, classes: int) -> bool:
    """Every fourth round of the classes, so that each part has each of them."""
    return number // classes % 4 == 3


def _affectnet(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """2017: a header in training.csv only, foreign extensions, no box, a double, several faces, a corrupt row."""
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    lists: dict[str, list[str]] = {"training": [header], "validation": []}
    suffixes = (".jpg", ".JPG", ".jpg", ".png", ".bmp", ".jpeg")
    images = folder / "Manually_Annotated_Images"
    marks = ";".join(f"{value}.5" for value in range(136))
    several: dict[str, list[tuple[str, str]]] = {}
    scene, name = None, ""
    for number, expression, face in _faces(count, seed, EXPRESSIONS):
        second = number % 16 == 2  # in the picture of the face before
        scene, x, y = _scene(face, number, scene if second else None)
        if not second:
            name = f"{1 + number % 7}/{number:04d}{'é' if number == 3 else ''}abc{suffixes[number % len(suffixes)]}"
        several.setdefault(name, []).append((f"{name}#{x},{y},{_EDGE_PX},{_EDGE_PX}", expression))
        foreign = "PNG" if number == 6 else None  # a PNG that is called .jpg
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        _save(images / name, scene, foreign)
        code = EXPRESSIONS.index(expression)
        valence = "-2" if number == 5 else f"{(number % 9) / 10 - 0.4:.4f}"
        row = f"{name},{x},{y},{_EDGE_PX},{_EDGE_PX},{marks},{code},{valence},0.25"
        lists["validation" if _is_val(number, 8) else "training"].append(row)
    for name, faces in several.items():
        drawn.labels.update(faces if len(faces) > 1 else {name: faces[0][1]})
    train = lists["training"]
    first = train[1].split(",")
    train.append(train[1])
    drawn.spoiled("listed twice")
    train.append(",".join([first[0], "-1", "-1", "-1", "-1", *first[5:]]))
    drawn.spoiled("no face box")
    train.append(train[2][: len(train[2]) // 2])
    drawn.spoiled("broken row")
    train.append(",".join(["9/gone.jpg", *first[1:]]))
    drawn.spoiled("missing file")
    train.append(",".join(["../" + first[0], *first[1:]]))
    drawn.spoiled("path leaves the data root")
    rng = np.random.default_rng((seed, count))
    for number in range(24):
        code = 8 + number % 3  # none, uncertain, non-face
        name = f"1/code{code}_{number}.jpg"
        _save(images / name, np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((10, 10, 1))).astype(np.uint8))
        train.append(f"{name},5,5,40,40,{marks},{code},-2,-2")
        drawn.spoiled("not in AffectNet-8")
    for part, rows in lists.items():
        _lines(folder / "Manually_Annotated_file_lists" / f"{part}.csv", rows)


def _affectnet_2021(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """2021: an npy file a value, most of them a string; stems with gaps; an image without labels."""
    for number, expression, face in _faces(count, seed, EXPRESSIONS):
        part = folder / ("val_set" if _is_val(number, 8) else "train_set")
        stem = 3 * number + 1
        _save(part / "images" / f"{stem}.jpg", face)
        values = {
            "exp": str(EXPRESSIONS.index(expression)),
            "val": f"{number / count - 0.5:.4f}",
            "aro": "-2" if number == 2 else "0.125",
        }
        _npy(part / "annotations", stem, values, as_text=number % 5 > 0)
        drawn.labels[f"{part.name}/images/{stem}.jpg"] = expression
    train = folder / "train_set"
    _npy(train / "annotations", 3 * count + 2, {"exp": "1", "val": "0", "aro": "0"}, as_text=True)
    drawn.spoiled("missing file")
    _save(train / "images" / f"{3 * count + 3}.jpg", np.zeros((48, 48, 3), np.uint8))
    _npy(train / "annotations", 3 * count + 3, {"exp": "", "val": "0", "aro": "0"}, as_text=True)
    drawn.spoiled("unknown label")


def _npy(folder: Path, stem: int, values: dict[str, str], as_text: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in values.items():
        np.save(folder / f"{stem}_{name}.npy", np.array(text if as_text else float(text)))
    np.save(folder / f"{stem}_lnd.npy", np.arange(136) / 3)


def _affectnet_plus(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """AffectNet+: a JSON an image; soft labels that may disagree with the human one."""
    folder /= "human_annotated"
    rng = np.random.default_rng((seed, count))
    for number, expression, face in _faces(count, seed, EXPRESSIONS):
        part = "validation_set" if _is_val(number, 8) else "train_set"
        code = EXPRESSIONS.index(expression)
        soft = rng.dirichlet(np.where(np.arange(8) == code, 6.0, 0.5))
        record = {
            "human-label": str(code) if number % 3 == 0 else code,
            "soft-label": [round(float(share), 4) for share in soft],
            "subset": number % 3,
            "meta-data": {"age": 30, "gender": {"female": 0.9, "male": 0.1}, "valence": 0.5, "arousal": -2},
        }
        path = f"{part}/images/{number:06d}.{'png' if number % 4 == 1 else 'jpg'}"
        _save(folder / path, face)
        annotations = folder / part / "annotations"
        annotations.mkdir(parents=True, exist_ok=True)
        (annotations / f"{number:06d}.json").write_text(json.dumps(record))
        drawn.labels[path] = expression
    broken = folder / "train_set" / "annotations" / "broken.json"
    broken.write_text('{"human-label": 3, "soft-la')
    _save(folder / "train_set" / "images" / "broken.jpg", np.zeros((48, 48, 3), np.uint8))
    drawn.spoiled("broken annotation")


def _expw(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """ExpW: several faces a picture, a name with spaces, an inverted box, a double and a contradiction."""
    codes = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    rows: list[str] = []
    scene = None
    for number, expression, face in _faces(count, seed, codes):
        # every fifth face is in the picture of the one before
        picture = number - 1 if number % 5 == 4 else number
        scene, x, y = _scene(face, number, None if picture == number else scene)
        name = f"{'happy man' if picture == 2 else 'angry_asian'}_{picture}.jpg"
        path = folder / "data" / "image" / "origin" / name
        _save(path, scene)
        face_id = number - picture
        rows.append(
            f"{name} {face_id} {y} {x} {x + _EDGE_PX} {y + _EDGE_PX} {50 + number % 50}.5 {codes.index(expression)}"
        )
        drawn.labels[f"{name}#{face_id}"] = expression
    rows += [
        rows[1],
        "gone_1.jpg 0 1 1 40 40 60.0 3",
        "angry_asian_0.jpg 7 40 40 10 10 60.0 3",
        "angry_asian_0.jpg 8",
    ]
    for reason in ("listed twice", "missing file", "no face box", "broken row"):
        drawn.spoiled(reason)
    rows += [f"angry_asian_0.jpg 9 1 1 40 40 60.0 {code}" for code in (2, 3)]
    drawn.spoiled("contradictory labels")
    drawn.spoiled("contradictory labels")
    _lines(folder / "data" / "label" / "label.lst", rows)


def _expw_cleaned(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """ExpW Cleaned: crops; the list says .jpg where the disk has .png."""
    rows: list[str] = []
    for number, expression, face in _faces(count, seed, _VOTED[:7]):
        stem = f"scared_{number // 2}_{number % 2}"
        _save(folder / "crops" / f"{stem}.png", face)
        votes = ",".join(str(10 * (name == expression)) for name in _VOTED)
        rows.append(f'{stem}.{"jpg" if number % 2 else "png"},"(3, 4, 48, 48)",{votes}')
        drawn.labels[f"{stem}.png"] = expression
    rows += ['gone_0.png,"(0, 0, 9, 9)",10,0,0,0,0,0,0,0,0,0', f'scared_0_0.png,"(0, 0, 9, 9)",{"0," * 9}0']
    rows.append('scared_0_0.png,"(3, 4')
    for reason in ("missing file", "no majority", "broken row"):
        drawn.spoiled(reason)
    _lines(folder / "label_expw.csv", rows)


def _fer2013_rows(count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Expression, pixels as text, and Usage."""
    for number, expression, face in _faces(count, seed, _BASIC):
        usage = ("Training", "Training", "PublicTest", "PrivateTest")[number // 7 % 4]
        yield expression, " ".join(map(str, _grey(face).ravel())), usage


_FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


def _fer2013(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """FER2013 as folders: both tests in one; the prefix tells which."""
    for number, expression, face in _faces(count, seed, _BASIC):
        usage = ("Training", "Training", "PublicTest", "PrivateTest")[number // 7 % 4]
        part = "train" if usage == "Training" else "test"
        path = f"{part}/{_FOLDERS.get(expression, expression)}/{usage}_{number}.jpg"
        _save(folder / path, _grey(face))
        drawn.labels[path] = expression


def _ferplus(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """FER+ beside FER2013's csv: names that are off by one, empty or twice; rows without agreement or face."""
    images = ["emotion,pixels,Usage"]
    votes = ["Usage,Image name," + ",".join(_VOTED)]
    for number, (expression, pixels, usage) in enumerate(_fer2013_rows(count, seed)):
        images.append(f"{_FER2013.index(expression)},{pixels},{usage}")
        counts = [0] * 10
        counts[_VOTED.index(expression)] = 7
        counts[(_VOTED.index(expression) + 3) % 8] = 3
        name = "" if number == 4 else f"fer{number + (number > count // 2):07d}.png"
        if number == 4:
            counts = [0] * 9 + [10]
            drawn.spoiled("unknown or no face")
        elif number == 5:
            counts = [2, 2, 2, 2, 2, 0, 0, 0, 0, 0]
            drawn.spoiled("no agreement")
        else:
            drawn.labels[f"row-{number + 1:05d}"] = expression
        votes.append(f"{usage},{name},{','.join(map(str, counts))}")
    _lines(folder / "fer2013.csv", images)
    _lines(folder / "fer2013new.csv", votes)


def _raf_db(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """RAF-DB: codes from 1; five digits in train, four in test."""
    order = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
    rows: list[str] = []
    for number, expression, face in _faces(count, seed, order):
        stem = f"test_{number:04d}" if _is_val(number, 7) else f"train_{number:05d}"
        _save(folder / "basic" / "Image" / "aligned" / f"{stem}_aligned.jpg", face)
        rows.append(f"{stem}.jpg {order.index(expression) + 1}")
        drawn.labels[f"{stem}.jpg"] = expression
    rows += ["train_99999.jpg 3", "train_00001.jpg 0", "train_00001.jpg"]
    for reason in ("missing file", "unknown label", "unknown label"):
        drawn.spoiled(reason)
    _lines(folder / "basic" / "EmoLabel" / "list_patition_label.txt", rows)


_CK_PLUS = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")


def _ck_plus(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """CK+: sequences from neutral to the expression, with the label as a float; every fifth has none."""
    for number, expression, face in _faces(count, seed, _CK_PLUS[1:]):
        person, sequence = f"S{5 + number // 6:03d}", f"{1 + number % 6:03d}"
        calm = np.full_like(face, 128)
        for frame, share in enumerate((0.0, 0.3, 0.6, 0.9, 1.0), start=1):
            mixed = ((1 - share) * calm + share * face).astype(np.uint8)
            name = f"{person}_{sequence}_{frame:08d}"
            _save(folder / "cohn-kanade-images" / person / sequence / f"{name}.png", _grey(mixed))
        labels = folder / "Emotion" / person / sequence
        labels.mkdir(parents=True, exist_ok=True)
        if number % 5 == 4:
            drawn.spoiled("sequence without a label")
            continue
        code = _CK_PLUS.index(expression)
        (labels / f"{person}_{sequence}_{5:08d}_emotion.txt").write_text(f"   {code:.7e}\n")
        drawn.labels[f"{person}_{sequence}_{5:08d}.png"] = expression


def _ck48(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """CK+48: the last three frames of each sequence in class folders."""
    names = {"happiness": "happy"}
    for number, expression, face in _faces(count, seed, _CK_PLUS[1:]):
        name = f"S{10 + number // 9:03d}_{1 + number // 3 % 3:03d}_{14 + number % 3:08d}.png"
        _save(folder / "CK+48" / names.get(expression, expression) / name, _grey(face))
        drawn.labels[name] = expression


def _jaffe(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """JAFFE: everything is in the file name; a README beside the pictures."""
    codes = {
        "anger": "AN",
        "disgust": "DI",
        "fear": "FE",
        "happiness": "HA",
        "neutral": "NE",
        "sadness": "SA",
    }
    for number, expression, face in _faces(count, seed, _BASIC):
        person = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")[number // 7 % 10]
        stem = f"{person}.{codes.get(expression, 'SU')}{1 + number // 70}.{number + 1}"
        _save(folder / "jaffe" / f"{stem}.tiff", _grey(face))
        drawn.labels[stem] = expression
    (folder / "jaffe" / "README").write_text("drawn\n")
    drawn.spoiled("not an image file")


def _lfw_ms(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """LFW-MS: mixed case, a picture listed twice and one that is not listed."""
    rows = ["user.id,image,emotion"]
    for number, expression, face in _faces(count, seed, EXPRESSIONS):
        person = f"Ann_Lee{number // 16}{'-Ö' if number == 1 else ''}"  # two rounds of the expressions each
        name = f"{person}_{number:04d}.jpg"
        _save(folder / "images" / name, face)
        rows.append(f"628,{name},{expression.upper() if number % 9 == 0 else expression}")
        drawn.labels[name] = expression
    _save(folder / "images" / "Un_Listed_0001.jpg", np.zeros((48, 48, 3), np.uint8))
    if count >= 20:  # below, one row is more than the twentieth that the reader bears
        rows.append(rows[1])
        drawn.spoiled("listed twice")
    _lines(folder / "data" / "legend.csv", rows)


def _folder(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """Class folders in split folders, with spaces and non-Latin letters in the names."""
    for number, expression, face in _faces(count, seed, _BASIC):
        part = ("train", "train", "val", "test")[number // 7 % 4]
        path = f"{part}/{_FOLDERS.get(expression, expression).title()}/face {number} 笑顔.png"
        _save(folder / path, face)
        drawn.labels[path] = expression
    (folder / "train" / "Happy" / "Thumbs.db").write_bytes(b"\0\1")
    drawn.spoiled("not an image file")


def _csv(folder: Path, drawn: Drawn, count: int, seed: int) -> None:
    """A csv of pictures: path,label,split,person."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "label", "split", "person"])
    for number, expression, face in _faces(count, seed, _BASIC):
        path = f"pictures/a, b {number}.png"
        _save(folder / path, face)
        rows.writerow(
            [path, expression, ("train", "train", "val", "test")[number // 7 % 4], f"p{number // 9}"]
        )
        drawn.labels[path] = expression
    rows.writerow(["../secret.png", "fear", "train", "p0"])
    drawn.spoiled("path leaves the data root")
    _lines(folder / "faces.csv", text.getvalue().splitlines())


FORMS: dict[str, Callable[[Path, Drawn, int, int], None]] = {
    "affectnet": _affectnet,
    "affectnet_2021": _affectnet_2021,
    "affectnet_plus": _affectnet_plus,
    "expw": _expw,
    "expw_cleaned": _expw_cleaned,
    "fer2013": _fer2013,
    "ferplus": _ferplus,
    "raf_db": _raf_db,
    "ck_plus": _ck_plus,
    "ck48": _ck48,
    "jaffe": _jaffe,
    "lfw_ms": _lfw_ms,
    "folder": _folder,
    "csv": _csv,
}
DATA = {
    "affectnet_2021": "affectnet",
    "affectnet_plus": "affectnet",
    "ck48": "ck_plus",
}  # the name in `data=…`, where it is another
