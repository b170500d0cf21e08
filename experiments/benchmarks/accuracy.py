"""What is learnt: validation accuracy after a few epochs, a comparison a seed."""

from emotion.training.environment import code_version
from emotion.training.folder import now

from .bench import AUGMENTATION, KERAS, OURS, PLAIN, Bench, has_gpu
from .epoch import batch_size, faces, main_candidates
from .side_by_side import Comparison, Row


def measure(bench: Bench) -> list[Comparison]:
    """`minivgg` as in the family epoch. What the results have is kept, whatever work it was, and not done again.

    But for ours: of another commit it is done again. Speed isn't measured, so the machine may be busy.
    """
    data, images = faces(bench)
    device = "cuda" if has_gpu() else "cpu"
    epochs = 1 if bench.quick else bench.epochs
    earlier = [] if bench.quick else bench.known.get("accuracy", {}).get("comparisons", [])
    found = {one.title: one for one in map(Comparison.from_dict, earlier)}
    for seed in range(bench.seeds):
        wanted = Comparison(
            f"Validation accuracy of minivgg, seed {seed}: {images}, {epochs} epochs, "
            f"{'GPU' if device == 'cuda' else 'CPU'}",
            f"48 px, grey, batches of {batch_size(bench)}, Adam, {AUGMENTATION}",
            "%", "higher", [], (OURS,), {PLAIN: (1.0,), KERAS: (1.0,)},
        )  # fmt: skip
        known = {
            row.name: row
            for row in found.get(wanted.title, wanted).rows
            if row.rounds and (row.name != OURS or row.facts().get("commit") == _commit())
        }
        candidates = main_candidates(bench, data, device, epochs, seed)
        todo = [candidate for candidate in candidates if candidate.name not in known]
        if todo:
            known |= {row.name: _last(row) for row in bench.measure(todo, epochs, warmups=0)}
        wanted.rows += [known[candidate.name] for candidate in candidates]
        found[wanted.title] = wanted
    return list(found.values())


def _last(row: Row) -> Row:
    """What was reached in the last epoch, and where it comes from: rows of a comparison may be of different days."""
    if not row.rounds:
        return Row(row.name, missing=row.missing)
    last = row.rounds[-1]
    by = {"precision": last["precision"], "made": now(), "commit": _commit()}
    return Row(row.name, [{"value": 100 * last["accuracy"], **by}])


def _commit() -> str:
    commit, changed = code_version()
    return f"{str(commit)[:8]}{' with changes' if changed else ''}"
