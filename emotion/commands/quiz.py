"""`emotion quiz DATA` and `emotion quiz --answers FILE`"""

from pathlib import Path

import numpy as np

from emotion.data.dataset import open_store, split_store
from emotion.data.splits import Split
from emotion.data.store import Store
from emotion.errors import ConfigError, DataError
from emotion.evaluation import predictions
from emotion.evaluation.predictions import Predictions
from emotion.launch import compose
from emotion.reporting import tables
from emotion.reporting.people import agreements, compared
from emotion.reporting.quiz import Answers, Quiz, folder_name, write_person
from emotion.runs import RunFolder
from emotion.training.own_data import as_trained
from emotion.training.progress import preparing


def make(data: str, overrides: list[str], count: int, seed: int, quizzes_dir: Path) -> None:
    """Write the quiz's page and key, and print where the page lies."""
    store, split = _images(data, overrides)
    if not len(split.test):
        raise DataError(f"expected test images in {store.name}, found none.")
    chosen = np.random.default_rng(seed).permutation(split.test)[:count]
    frame = store.frame[chosen]
    quiz = Quiz(
        store.name,
        store.fingerprint,
        tuple(store.classes),
        tuple(frame["id"]),
        tuple(frame["label"]),
        tuple(frame["group"]),
    )
    print(quiz.write(quizzes_dir, [np.asarray(store.images[row]) for row in chosen]))


def _images(data: str, overrides: list[str]) -> tuple[Store, Split]:
    """Of a run folder, or of a data set's name with overrides as `python train.py` takes them."""
    if "/" in data or (Path(data) / "status.json").is_file():
        if overrides:
            raise ConfigError(f"expected nothing behind a run folder, found {' '.join(overrides)}.")
        return as_trained(RunFolder.open(data), say=print)
    config = compose([f"data={data}", *overrides])
    store = open_store(config.data, config.preprocess, config.machine.cache_dir, preparing(print), print)
    return store, split_store(config, store)


def judge(files: list[Path], runs: list[Path], quizzes_dir: Path) -> None:
    """Keep each person's answers as a folder that reads like a run, and print people and runs in one table."""
    given = [Answers.read(file) for file in files]
    names = [folder_name(one.person) for one in given]
    if len(set(names)) < len(names):
        twice = next(one.person for one in given if names.count(folder_name(one.person)) > 1)
        raise DataError(
            f"expected one file a person, found two of {twice}. Two people need two names: change the entry "
            '"person" of one file.'
        )
    quizzes = {one.quiz for one in given}
    if len(quizzes) > 1:
        raise DataError(f"expected answers to one quiz, found some to {len(quizzes)}.")
    keys = sorted(quizzes_dir.glob(f"*-{given[0].quiz[:8]}/key.json"))
    if not keys:
        raise DataError(
            f"expected the key of the quiz {given[0].quiz} in {quizzes_dir.absolute()}, found none. "
            "--quizzes-dir names the folder that the page was written into."
        )
    quiz = Quiz.read(keys[0])
    people: dict[str, Predictions] = {}
    for answers in given:
        folder = write_person(quiz, answers, keys[0].parent)
        people[answers.person] = predictions.read(folder.predictions("test"))
        print(folder.path)
    networks = {
        run.name: predictions.read(run.predictions("test"), quiz.classes) for run in map(RunFolder.open, runs)
    }
    for table in (compared(people, networks), agreements(people, networks)):
        if table is not None:
            print(tables.text(table))
