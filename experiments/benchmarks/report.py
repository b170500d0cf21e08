"""What the measurements say, as JSON (every round), Markdown (tables) and one figure (how many times as fast)."""

import json
from pathlib import Path
from typing import Any

from emotion.atomic import replacing

from .side_by_side import Comparison

FORMAT = 1
JSON, MARKDOWN, FIGURE = "benchmarks.json", "benchmarks.md", "benchmarks.png"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito 2008
_MARKS = "osD^vPX<"  # one more than colours: so many candidates have a pair of their own each
BUSY = 0.1  # share of the processor: above it, what is measured is the neighbours, too


def family(comparisons: list[Comparison], about: str, circumstances: dict[str, Any]) -> dict[str, Any]:
    """One family as plain data."""
    return {
        "about": about,
        **circumstances,
        "comparisons": [_plain(comparison) for comparison in comparisons],
    }


def _plain(comparison: Comparison) -> dict[str, Any]:
    found = comparison.to_dict()
    for plain, row in zip(found["rows"], comparison.rows, strict=True):
        plain["facts"] = row.facts()
    return found


def write(families: dict[str, dict[str, Any]], out: Path) -> list[Path]:
    """Write all three files; a family that wasn't measured this time is kept from the files that are there."""
    out.mkdir(parents=True, exist_ok=True)
    all_families = known(out) | families
    paths = [out / JSON, out / MARKDOWN, out / FIGURE]
    with replacing(paths[0]) as part:
        text = json.dumps({"format": FORMAT, "families": all_families}, indent=1, ensure_ascii=False)
        part.write_text(text + "\n")
    with replacing(paths[1]) as part:
        part.write_text(markdown(all_families))
    with replacing(paths[2]) as part:
        figure(all_families, part)
    return paths


def known(out: Path) -> dict[str, dict[str, Any]]:
    """The families that the results in a folder have."""
    path = out / JSON
    if not path.is_file():
        return {}
    found = json.loads(path.read_text())
    return dict(found["families"]) if found.get("format") == FORMAT else {}


def markdown(families: dict[str, dict[str, Any]]) -> str:
    """A section a family, a table a comparison."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; don't edit. Candidates are measured in turn, round by round, each in a process of "
        "its own that is stopped while another is measured. Given are the median and, in brackets, the range of the "
        "rounds. “× as good” says how many times as good ours was, each round for itself; a goal is met where the "
        "median reaches it.",
    ]
    for name, found in families.items():
        lines += ["", f"## {name}", "", found["about"], "", _circumstances(found)]
        for comparison in found["comparisons"]:
            lines += [
                "",
                f"### {comparison['title']}",
                "",
                f"The work: {comparison['work'].rstrip('.')}.",
                "",
            ]
            lines += _table(comparison)
    return "\n".join(lines) + "\n"


def _circumstances(found: dict[str, Any]) -> str:
    hardware, versions = found["hardware"], found["versions"]
    said = (
        f"`{found['command']}` on {found['made']}, commit {str(found['commit'])[:8]}"
        f"{' with changes' if found['dirty'] else ''}: {hardware['cpu']}, {hardware['cores']} cores, "
        f"{hardware['memory_gib']} GiB, {hardware['gpu'] or 'no GPU'}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}."
    )
    busy = found.get("busy_before")
    if busy is not None:
        said += f" Other programs used {busy:.0%} of the processor before."
    if found["quick"]:
        said += " **--quick: the work is too small for the numbers to mean anything.**"
    elif busy is not None and busy > BUSY:
        said += " **The machine was busy: measure again.**"
    return said


def _table(comparison: dict[str, Any]) -> list[str]:
    rows, ours = comparison["rows"], comparison["ours"]
    facts = list(dict.fromkeys(key for row in rows for key in row["facts"]))
    judged = comparison["goals"] or comparison["limits"] or comparison.get("most")
    head = [
        "candidate", comparison["unit"], *(f"{name}: × as good" for name in ours),
        *(["goal"] if judged else []), *facts,
    ]  # fmt: skip
    lines = [_line(head), _line([":---", *["---:"] * (len(head) - 1)])]
    for row in rows:
        if row["missing"]:
            lines.append(_line([row["name"], row["missing"], *[""] * (len(head) - 2)]))
            continue
        ratios = [_ratio(row["times_as_good"].get(name)) for name in ours]
        goal = [_goal(comparison, row)] if judged else []
        told = [_number(row["facts"].get(key)) for key in facts]
        lines.append(_line([row["name"], _spread(row["summary"]), *ratios, *goal, *told]))
    return lines


def _goal(comparison: dict[str, Any], row: dict[str, Any]) -> str:
    said = []
    for name, wanted in zip(comparison["ours"], comparison["goals"].get(row["name"], ()), strict=False):
        ratio = row["times_as_good"].get(name)
        if wanted is not None and ratio:
            said.append(f"{name} ≥ {_number(wanted)}×: {'met' if ratio['median'] >= wanted else 'missed'}")
    limit = comparison["limits"].get(row["name"])
    if limit is not None:
        lower, median = comparison["better"] == "lower", row["summary"]["median"]
        met = median <= limit if lower else median >= limit
        said.append(f"{'≤' if lower else '≥'} {_number(limit)}: {'met' if met else 'missed'}")
    for fact, most in comparison.get("most", {}).items():
        value = row["facts"].get(fact)
        if value is not None:
            said.append(f"{fact} ≤ {_number(most)}: {'met' if value <= most else 'missed'}")
    return "; ".join(said)


def _spread(summary: dict[str, float]) -> str:
    if summary["low"] == summary["high"]:
        return _number(summary["median"])
    return f"{_number(summary['median'])} ({_number(summary['low'])}–{_number(summary['high'])})"


def _ratio(summary: dict[str, float] | None) -> str:
    return "" if summary is None else _spread(summary)


def _number(value: Any) -> str:
    """Three digits, as people read them.

    >>> [_number(value) for value in (0.01234, 1.5, 43.21, 12345.6, "fp32", None)]
    ['0.0123', '1.50', '43.2', '12,346', 'fp32', '']
    """
    if value is None or isinstance(value, str):
        return value or ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) < 10 else 1}f}" if abs(value) >= 0.1 else f"{value:.3g}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def figure(families: dict[str, dict[str, Any]], path: Path) -> None:
    """One row a comparison: how many times as good ours is as each peer, with the range of the rounds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [
        (comparison, [row for row in comparison["rows"] if row["times_as_good"]])
        for found in families.values()
        for comparison in found["comparisons"]
    ]
    shown = [(comparison, rows) for comparison, rows in shown if rows]
    drawn = Figure(figsize=(9.0, 1.2 + 0.42 * max(1, len(shown))), dpi=120, layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots()
    names = list(dict.fromkeys(row["name"] for _, rows in shown for row in rows))
    for height, (comparison, rows) in enumerate(shown):
        mine = comparison["ours"][0]
        for row in rows:
            ratio = row["times_as_good"].get(mine)
            if ratio is None:
                continue
            number = names.index(row["name"])
            mark, colour = _MARKS[number % len(_MARKS)], _COLOURS[number % len(_COLOURS)]
            axes.errorbar(
                ratio["median"], height, xerr=[[ratio["median"] - ratio["low"]], [ratio["high"] - ratio["median"]]],
                fmt=mark, color=colour, capsize=3, label=row["name"],
            )  # fmt: skip
            for wanted in comparison["goals"].get(row["name"], ())[:1]:
                if wanted is not None:
                    axes.plot([wanted], [height], marker="|", markersize=14, color=colour)
    axes.axvline(1, color="#667080", linewidth=1)
    axes.set_xscale("log")
    ticks = [0.5, 1, 2, 4, 8, 16, 32]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(shown)), [comparison["title"] for comparison, _ in shown])
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e3e7ec")
    axes.set_axisbelow(True)
    axes.set_title(
        "How many times as good emotion is as each candidate (upright strokes: goals)",
        fontsize=9,
        loc="right",
    )
    handles, labels = axes.get_legend_handles_labels()
    single = dict(zip(labels, handles, strict=True))
    if single:
        drawn.legend(
            single.values(), single.keys(), loc="outside lower center", ncols=3, fontsize=8, frameon=False
        )
    drawn.savefig(path, format="png")
