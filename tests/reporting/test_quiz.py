"""The quiz: played by keyboard in a browser, closed, opened again and finished; and what becomes of the answers."""

import dataclasses
import json
import re
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from emotion.commands.quiz import judge
from emotion.commands.runs import show_run
from emotion.errors import DataError, RunError
from emotion.evaluation import predictions
from emotion.evaluation.agreement import cohen_kappa, fleiss_kappa
from emotion.reporting.evidence import Subject
from emotion.reporting.numbers import MISSING
from emotion.reporting.page import Sheet
from emotion.reporting.people import agreements, compared
from emotion.reporting.quiz import Answers, Quiz, write_person
from emotion.reporting.ranking import rank
from emotion.reporting.report import make_page, render
from emotion.runs import RunFolder
from tests.reporting.fakes import FER2013, make_run
from tests.reporting.test_browser import BROWSER, QUIET

COUNT = 12


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "runs", count=60)


@pytest.fixture
def quiz(run: RunFolder) -> Quiz:
    """Twelve of the test images of a run."""
    table = predictions.read(run.predictions("test"))
    return Quiz(
        "fer2013",
        "abc",
        FER2013,
        tuple(table.ids[:COUNT]),
        tuple(table.labels[:COUNT].tolist()),
        (None,) * COUNT,
    )


def pixels(count: int) -> list[np.ndarray]:
    return [np.full((48, 48, 1), 20 * k, np.uint8) for k in range(count)]


def answers_file(quiz: Quiz, folder: Path, person: str, right: int) -> Path:
    """Answers of which the first `right` are right and the others one class further."""
    said = {
        name: quiz.classes[(label + (row >= right)) % len(quiz.classes)]
        for row, (name, label) in enumerate(zip(quiz.ids, quiz.labels, strict=True))
    }
    path = folder / f"{person}.json"
    path.write_text(json.dumps({"format": 1, "quiz": quiz.digest, "person": person, "answers": said}))
    return path


def visited(html: str, folder: Path, actions: str) -> str:
    """The page's source after `actions`, in a browser that remembers earlier visits."""
    page = re.sub(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", html)
    key = (
        "const press = (key) => document.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));"
    )
    (folder / "quiz.html").write_text(page.replace("</body>", f"<script>{key}{actions}</script></body>"))
    command = [str(BROWSER), *QUIET, f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
               "--virtual-time-budget=3000", "--dump-dom", f"file://{folder}/quiz.html"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_it_is_played_by_keyboard_closed_reopened_and_finished(quiz: Quiz, tmp_path: Path) -> None:
    html = quiz.page(pixels(COUNT))
    begin = "document.getElementById('person').value = 'Ada'; document.querySelector('form button').click();"
    first = visited(
        html, tmp_path, begin + "press('1'); press('2'); press('3'); press('ArrowLeft'); press('4');"
    )
    assert "Face 4 of 12, 3 answered" in first
    ten = "for (let i = 0; i < 9; i++) press('7'); press('9');"  # there is no ninth class
    second = visited(html, tmp_path, ten)
    text = re.search(r'<textarea id="text"[^>]*>(.*?)</textarea>', second, re.DOTALL)
    assert not re.search(r'<section id="end" hidden', second)
    # what a textarea holds is not in the source, so the page says it once more
    third = visited(html, tmp_path, "document.title = document.getElementById('text').value;")
    assert text is not None
    saved = json.loads(unescape(re.search(r"<title>(.*?)</title>", third, re.DOTALL)[1]))  # type: ignore[index]
    expected = [FER2013[k] for k in (0, 1, 3, 6, 6, 6, 6, 6, 6, 6, 6, 6)]
    assert saved == {
        "format": 1, "quiz": quiz.digest, "person": "Ada", "answers": dict(zip(quiz.ids, expected, strict=True))
    }  # fmt: skip
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(saved))
    assert (Answers.read(file).table(quiz).predicted == [FER2013.index(name) for name in expected]).all()


def test_the_page_asks_for_nothing_and_tells_nothing(quiz: Quiz) -> None:
    html = quiz.page(pixels(COUNT))
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    content = json.loads(re.search(r'id="content">(.*?)</script>', html, re.DOTALL)[1])  # type: ignore[index]
    assert {key for image in content["images"] for key in image} == {"id", "src"}  # no labels
    assert [image["id"] for image in content["images"]] == list(quiz.ids)


def test_a_person_is_a_row_beside_the_networks(
    quiz: Quiz, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "quizzes"
    quiz.write(there, pixels(COUNT))
    files = [answers_file(quiz, tmp_path, "Ada", 9), answers_file(quiz, tmp_path, "Bob", 6)]
    judge(files, [run.path], there)
    said, kappas = capsys.readouterr().out.split("Agreement, as Cohen's kappa,")
    network = predictions.read(run.predictions("test"))
    own = (network.predicted == network.labels)[:COUNT].mean()
    for who, accuracy in (("Ada", 9 / COUNT), ("Bob", 6 / COUNT), (run.name, own)):
        (line,) = (line for line in said.splitlines() if line.startswith(who))
        assert f"{100 * accuracy:.1f}" in line
    right = np.array(quiz.labels)
    a, b = ((right + (np.arange(COUNT) >= n)) % 7 for n in (9, 6))
    assert ["Bob", f"{cohen_kappa_score(a, b):.2f}", MISSING] in [
        line.split() for line in kappas.splitlines()
    ]
    person = RunFolder.open(there / quiz.folder_name / "person-ada")
    assert Subject(person).parts["test"].values["accuracy"] == 9 / COUNT
    show_run(person.path, there)
    with pytest.raises(RunError, match="never had any: it holds a person's answers"):
        person.require_weights()
    alone = make_page([person])
    assert "Ada" in alone.title
    assert not {"missing", "learning"} & {section.name for section in alone.sections}
    assert "not finished" not in render(alone)
    place = rank([run, person], part="test")
    assert {row[0].text: row[1].sort for row in place.table.rows}["Ada"] == 9 / COUNT
    assert f"On the {COUNT} test images that every person has answered." in place.notes
    bob = RunFolder.open(there / quiz.folder_name / "person-bob")
    page = make_page([run, person, bob])
    assert page.byline[0] == "1 run and 2 people"
    assert "missing" not in {section.name for section in page.sections}
    assert not any(
        "Ada" in cell.text for row in page.tables()[0].rows for cell in row
    )  # of validation images
    (section,) = (section for section in page.sections if section.name == "people")
    scores, agreed = (block.table for block in section.blocks if isinstance(block, Sheet))
    assert {row[0].text: row[2].sort for row in scores.rows} == {"Ada": 9 / 12, "Bob": 6 / 12, run.name: own}
    theirs = network.predicted[:COUNT]
    assert {row[0].text: row[1].sort for row in agreed.rows} == {
        "Ada": None,
        "Bob": pytest.approx(cohen_kappa_score(a, b)),
        run.name: pytest.approx(cohen_kappa_score(theirs, a)),
    }
    with pytest.raises(RunError, match="person-ada is a person, .* --test"):
        rank([run, person])


def test_wrong_answers_are_refused(quiz: Quiz, run: RunFolder, tmp_path: Path) -> None:
    answers = Answers.read(answers_file(quiz, tmp_path, "Ada", 9))
    for broken, said in (
        (Answers("Ada", "0" * 16, answers.answers), "some to 0000"),
        (Answers("Ada", quiz.digest, {quiz.ids[0]: "boredom"}), "boredom"),
        (Answers("", quiz.digest, answers.answers), "no name"),
        (Answers("Ada", quiz.digest, {}), "found none"),
    ):
        with pytest.raises(DataError, match=said):
            write_person(quiz, broken, tmp_path)
    for number, (content, said) in enumerate(
        (
            ({"person": "Ada", "quiz": quiz.digest}, "found no answers"),
            ({"person": "Ada", "quiz": quiz.digest, "answers": {"1": ["anger"]}}, "name of an expression"),
            ({"person": "Ada", "quiz": quiz.digest, "answers": ["anger"]}, "name of an expression"),
        )
    ):
        file = tmp_path / f"broken-{number}.json"
        file.write_text(json.dumps({"format": 1, **content}))
        with pytest.raises(DataError, match=said):
            Answers.read(file)
    other = predictions.read(run.predictions("val"))
    with pytest.raises(DataError, match="two of Ada"):
        judge([answers_file(quiz, tmp_path, "Ada", 9)] * 2, [], tmp_path)
    with pytest.raises(DataError, match="other images"):
        compared({"Ada": answers.table(quiz)}, {"net": other.with_meta(part="test")})


def test_three_people_and_other_orders_of_classes(quiz: Quiz, tmp_path: Path) -> None:
    people = {
        name: Answers.read(answers_file(quiz, tmp_path, name, right)).table(quiz)
        for name, right in (("Ada", 9), ("Bob", 6), ("Cy", 3))
    }
    said = np.array([table.predicted for table in people.values()])
    table = agreements(people, {})
    assert table is not None
    assert table.notes[0].endswith(f"Fleiss' kappa {fleiss_kappa(said.T, 7):.2f}.")
    turned = dataclasses.replace(
        quiz, classes=FER2013[::-1], labels=tuple(6 - label for label in quiz.labels)
    )
    answers = Answers.read(answers_file(quiz, tmp_path, "Di", 9))
    same = dataclasses.replace(answers, quiz=turned.digest).table(turned)
    both = agreements({"Ada": people["Ada"], "Di": same}, {})
    assert both is not None
    assert both.rows[1][1].sort == 1  # the same words
    assert agreements({"Ada": people["Ada"]}, {}) is None


def test_kappas() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 5, (2, 40))
        assert cohen_kappa(a, b, 5) == pytest.approx(cohen_kappa_score(a, b))
    # the worked example of Fleiss' kappa: 14 raters, 10 subjects, 5 categories, 0.210
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    ratings = [np.repeat(np.arange(5), row) for row in counts]
    assert fleiss_kappa(ratings, 5) == pytest.approx(0.210, abs=5e-4)
    assert np.isnan(cohen_kappa([1, 1], [1, 1], 2))
    with pytest.raises(DataError):
        fleiss_kappa([[1], [0]], 2)
