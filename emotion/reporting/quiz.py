"""The quiz: a page on which a person names the expressions of test images, and what becomes of the answers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from emotion import atomic
from emotion.errors import DataError
from emotion.evaluation import metrics, predictions
from emotion.evaluation.predictions import Predictions
from emotion.reporting.album import picture_address
from emotion.reporting.evidence import PERSON
from emotion.reporting.report import template, text_of
from emotion.runs import FORMAT as RUN_FORMAT
from emotion.runs import RunFolder

FORMAT = 1
EDGE_PX = 336


@dataclass(frozen=True)
class Quiz:
    """What the page asks, and the key to it, which the page doesn't hold.

    Attributes:
        data, fingerprint: the data set, and the prepared data that the images are from.
        ids, labels, groups: of each image, in the order of the page.
    """

    data: str
    fingerprint: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    groups: tuple[str | None, ...]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits; the same for the same images in the same order."""
        content = json.dumps([self.data, self.fingerprint, self.classes, self.ids])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def folder_name(self) -> str:
        return f"{self.data}-{self.digest[:8]}"

    @classmethod
    def read(cls, path: Path) -> Quiz:
        """
        Raises:
            DataError: no key lies there, or one of an unknown format.
        """
        content = _json(path, "a quiz's key.json")
        known: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in content.items() if key != "format"
        }
        try:
            return cls(**known)
        except TypeError as error:
            raise DataError(f"{path}: expected a quiz's key, found other entries ({error}).") from error

    def write(self, quizzes_dir: Path, pixels: Sequence[np.ndarray]) -> Path:
        """Write the page and the key into a folder of their own, and return the page.

        Args:
            pixels: uint8 (H, W, C) of each image.
        """
        there = quizzes_dir / self.folder_name
        atomic.write_text(there / "quiz.html", self.page(pixels))
        atomic.write_json(there / "key.json", {"format": FORMAT, **asdict(self)})
        return there / "quiz.html"

    def page(self, pixels: Sequence[np.ndarray]) -> str:
        """One HTML document that needs nothing else."""
        script = text_of("quiz.js")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        content = {
            "format": FORMAT,
            "quiz": self.digest,
            "classes": self.classes,
            "images": [
                {"id": name, "src": picture_address(image, EDGE_PX)}
                for name, image in zip(self.ids, pixels, strict=True)
            ],
        }
        return template("quiz.html.j2").render(
            quiz=self,
            content=content,
            script=script,
            script_hash=f"sha256-{digest}",
            style=text_of("quiz.css"),
        )


@dataclass(frozen=True)
class Answers:
    """What one person said, as the page saves it."""

    person: str
    quiz: str
    answers: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Answers:
        """
        Raises:
            DataError: the file isn't what the page saves.
        """
        content = _json(path, "answers that a quiz saved")
        missing = [name for name in ("person", "quiz", "answers") if name not in content]
        if missing:
            raise DataError(f"{path}: expected person, quiz and answers, found no {', '.join(missing)}.")
        answers = content["answers"]
        if not isinstance(answers, dict) or not all(isinstance(said, str) for said in answers.values()):
            raise DataError(f"{path}: expected the name of an expression for each image in answers.")
        return cls(str(content["person"]).strip(), str(content["quiz"]), answers)

    def table(self, quiz: Quiz) -> Predictions:
        """The answers as a prediction table: probability 1 for what was said. Images without an answer are left out.

        Raises:
            DataError: they belong to another quiz, name something unknown, or there are none.
        """
        if self.quiz != quiz.digest:
            raise DataError(f"expected answers to the quiz {quiz.digest}, found some to {self.quiz}.")
        strange = [*(self.answers.keys() - set(quiz.ids)), *(set(self.answers.values()) - set(quiz.classes))]
        if strange or not self.person:
            raise DataError(
                f"expected a person's answers to images of the quiz out of {', '.join(quiz.classes)}, found "
                f"{strange[0] if strange else 'no name'}."
            )
        rows = [row for row, name in enumerate(quiz.ids) if name in self.answers]
        if not rows:
            raise DataError(f"expected answers of {self.person}, found none.")
        said = [quiz.classes.index(self.answers[quiz.ids[row]]) for row in rows]
        return predictions.from_arrays(
            [quiz.ids[row] for row in rows],
            [quiz.labels[row] for row in rows],
            np.eye(len(quiz.classes), dtype=np.float32)[said],
            quiz.classes,
            predictions.Meta(quiz.data, "test", folder_name(self.person)),
            groups=[quiz.groups[row] for row in rows],
        )


def folder_name(person: str) -> str:
    """
    >>> folder_name("Ada L.")
    'person-ada-l'
    """
    return "person-" + re.sub(r"[^\w]+", "-", person.lower()).strip("-")


def write_person(quiz: Quiz, answers: Answers, there: Path) -> RunFolder:
    """A folder that reads like a finished run, so that a person is a row wherever runs are compared.

    Raises:
        DataError: as `Answers.table`.
    """
    table = answers.table(quiz)
    folder = RunFolder(there / table.meta.run)
    scores = metrics.to_json(metrics.compute(table.labels, table.probabilities, table.classes))
    config = {"name": answers.person, "fold": None, "data": {"name": quiz.data}, "model": {"name": PERSON}}
    facts = {"name": quiz.data, "classes": list(quiz.classes), "fingerprint": quiz.fingerprint, "notes": []}
    predictions.write(folder.predictions("test"), table)
    atomic.write_text(folder.file("config.yaml"), yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    atomic.write_json(folder.file("splits.json"), {"format": RUN_FORMAT, "strategy": "quiz", "data": facts})
    atomic.write_json(folder.file("metrics.json"), {"format": RUN_FORMAT, "test": scores, "cost": {}})
    atomic.write_json(folder.file("environment.json"), {"format": RUN_FORMAT})  # nothing to say of a person's
    status = {
        "format": RUN_FORMAT,
        "state": "finished",
        "identity": f"{quiz.digest}/{answers.person}",
        "attempt": 1,
    }
    atomic.write_json(folder.file("status.json"), {**status, "epoch": 0, "epochs": 0})
    return folder


def _json(path: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"expected {what} in {path}, found nothing that can be read: {error}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"expected {what} of format {FORMAT} in {path}, found something else.")
    return content
