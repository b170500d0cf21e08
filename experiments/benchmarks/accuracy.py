"""What is learnt: validation accuracy after a few epochs, seed by seed."""

from emotion.training.environment import code_version

from .bench import AUGMENTATION, KERAS, OURS, PLAIN, Bench, has_gpu
from .epoch import batch_size, faces, main_candidates
from .side_by_side import Comparison, Row

NAMES = (OURS, PLAIN, KERAS)


def measure(bench: Bench) -> list[Comparison]:
    """`minivgg` as in the family epoch; a round is a seed. What the results have of the same work isn't done again.

    Speed isn't measured, so the machine may be busy.
    """
    data, images = faces(bench)
    device = "cuda" if has_gpu() else "cpu"
    epochs = 1 if bench.quick else bench.epochs
    found = Comparison(
        f"Validation accuracy after {epochs} epochs, minivgg on the {'GPU' if device == 'cuda' else 'CPU'}",
        f"{images}, 48 px, grey, batches of {batch_size(bench)}, Adam, {AUGMENTATION}; a round is a seed",
        "%", "higher", [Row(name) for name in NAMES if name != KERAS or device == "cpu"], (OURS,),
        dict.fromkeys(NAMES[1:], (1.0,)),
    )  # fmt: skip
    known = [] if bench.quick else _known(bench, found)
    for seed in range(max(bench.seeds, len(known))):
        if seed < len(known):
            new = known[seed]
        else:
            commit, changed = code_version()
            by = {"commit": f"{str(commit)[:8]}{' with changes' if changed else ''}"}
            new = {}
            for row in bench.measure(main_candidates(bench, data, device, epochs, seed), epochs, warmups=0):
                found.row(row.name).missing = row.missing
                if row.rounds:
                    new[row.name] = {"value": 100 * row.rounds[-1]["accuracy"], **by}
        for name, measured in new.items():
            found.row(name).rounds.append(measured)
    for row in found.rows:
        if row.missing is not None:
            row.rounds = []
        row.notes["by seed"] = ", ".join(f"{value:.1f}" for value in row.values)
    return [found]


def _known(bench: Bench, wanted: Comparison) -> list[dict[str, dict[str, object]]]:
    """For each seed that the results have of the same work: the round of each candidate, by its name."""
    for comparison in bench.known.get("accuracy", {}).get("comparisons", []):
        if (comparison["title"], comparison["work"]) == (wanted.title, wanted.work):
            rows = {row["name"]: row["rounds"] for row in comparison["rows"]}
            seeds = min(len(rows.get(row.name, [])) for row in wanted.rows)
            return [{name: rounds[seed] for name, rounds in rows.items()} for seed in range(seeds)]
    return []
