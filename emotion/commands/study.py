"""`emotion study run|table|list`"""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from emotion import atomic
from emotion.errors import ConfigError
from emotion.studies import page
from emotion.studies.outcomes import gather
from emotion.studies.study import Profile, Study, experiments_dir, load, network_of, study_names
from emotion.studies.tasks import Results

WORK = Path("studies")
README = "README.md"


def list_studies() -> None:
    """A line for each study: its name, how many of its rows are measured, its title."""
    for name in study_names():
        study = load(name)
        found = gather(study, _results(name, None, None))
        run = [outcome for outcome in found.outcomes if not outcome.row.not_run]
        measured = sum(outcome.ours is not None for outcome in run)
        print(f"{name:<24} {measured:>2}/{len(run)} rows measured  {study.title}")


def run(
    name: str,
    profile: str,
    rows: str | None,
    seeds: str | None,
    roots: Sequence[str],
    weights: Sequence[str],
    results: Path | None,
    machine: Sequence[str],
    again: bool,
) -> bool:
    """Run what is missing, print and write the table, and say whether every row is measured."""
    study = load(name)
    chosen = _profile(profile)
    named = None if rows is None else tuple(rows.split(","))
    if seeds is not None:
        study = study.with_seeds(chosen, _numbers(seeds, "--seeds"))
    wrong = [override for override in machine if not override.startswith("machine.")]
    if wrong:
        raise ConfigError(
            f"expected overrides of machine.…, found {wrong[0]}: what a row is stands in the study's file."
        )
    datas = sorted({row.data for row in study.rows if row.data})
    from emotion.studies.run import Place, StudyRun

    files = _named_paths(weights, _networks(study), "--weights") if weights else {}
    for network, file in files.items():
        if not file.is_file():
            raise ConfigError(f"--weights {network}: expected a file, found that {file} is none.")
    data_roots = _named_paths(roots, datas, "--data-root")
    for data, root in data_roots.items():
        if not root.exists():
            raise ConfigError(f"--data-root {data}: expected a download, found nothing at {root}.")
    place = Place(data_roots, files, machine, WORK / name)
    kept = _results(name, results, chosen)
    running = StudyRun(study, chosen, kept, place, again)
    whole = running.run(named)
    _write(name, kept, chosen, running.unmeasured)
    return whole


def table(name: str, profile: str | None, results: Path | None) -> None:
    """Print and write the table of what is kept; in a checkout, write the README's, too."""
    if results is not None and not results.is_dir():
        raise ConfigError(f"--results: expected a folder, found that {results} is none.")
    chosen = _profile(profile) if profile else None
    kept = _results(name, results, chosen)
    _write(name, kept, chosen, {})
    readme = experiments_dir() / name / README
    in_checkout = (experiments_dir().parent / ".git").exists()
    if in_checkout and results is None and profile is None and readme.is_file():
        atomic.write_between(readme, page.BEGIN, page.END, readme_block(name))


def readme_block(name: str) -> str:
    """What stands between the marks of a study's README: made from what is committed beside it, and nothing else."""
    committed = experiments_dir() / name / "results"
    return page.readme(gather(load(name), Results(committed, committed)))


def _write(name: str, kept: Results, profile: Profile | None, unmeasured: dict[str, str]) -> None:
    folder = (WORK / name).absolute()
    print(page.write(gather(load(name), kept, profile, unmeasured), folder))
    print(folder / "table.html")


def _results(name: str, results: Path | None, profile: Profile | None) -> Results:
    beside = WORK / name / "results"
    if profile == "smoke" and results is None:
        return Results(beside, beside)  # drawn faces show that rows run; nobody commits their scores
    return Results(results or experiments_dir() / name / "results", beside)


def _profile(name: str) -> Profile:
    for known in get_args(Profile):
        if name == known:
            return known
    raise ConfigError(f"expected a profile ({', '.join(get_args(Profile))}), found {name!r}.")


def _networks(study: Study) -> list[str]:
    """The names of its networks, as weights are named by."""
    typed = {one for row in study.rows for one in row.overrides or () if one.startswith("model=")}
    return sorted(set(map(network_of, typed)))


def _numbers(given: str, option: str) -> list[int]:
    try:
        return [int(text) for text in given.split(",")]
    except ValueError:
        raise ConfigError(f"{option}: expected numbers with commas between, found {given!r}.") from None


def _named_paths(given: Sequence[str], names: Sequence[str], option: str) -> dict[str, Path]:
    """NAME=PATH each; a path alone where there is only one name that it can be for."""
    found = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals and len(names) == 1:
            name, path = names[0], text
        elif not equals or (names and name not in names):
            known = f" ({', '.join(names)})" if names else ""
            raise ConfigError(f"{option}: expected NAME=PATH{known}, found {text!r}.")
        found[name] = Path(path).expanduser()
    return found
