"""`emotion …`: the commands and their arguments. Each imports its module when it is called."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from emotion.commands.data import app as data
from emotion.errors import EmotionError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Facial expression recognition: train, evaluate and compare networks.",
)
runs = typer.Typer(no_args_is_help=True, help="Your run folders.")
app.add_typer(runs, name="runs")
sweep = typer.Typer(no_args_is_help=True, help="Sweeps: what `python train.py -m` made.")
app.add_typer(sweep, name="sweep")
app.add_typer(data, name="data")

RunsDir = Annotated[Path, typer.Option("--runs-dir", help="The folder that runs lie in.")]
RUNS = Path("runs")
Paths = Annotated[list[Path], typer.Argument(help="Run folders, or a sweep folder.")]


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def train(context: typer.Context) -> None:
    """Train, as `python train.py` does: `emotion train --help` explains it."""
    from emotion.launch import main as launch

    sys.argv = [sys.argv[0], *context.args]
    launch()


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, such as runs/latest.")],
    images: Annotated[list[Path], typer.Argument(help="Images of one face each, already cropped.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one line an image.")] = False,
) -> None:
    """The perceived expression on each image, and the probability of every class."""
    from emotion.commands.predict import predict

    predict(run, images, json)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A finished run, such as runs/latest.")],
    overrides: Annotated[
        list[str],
        typer.Argument(help="The other data, as for training: data=lfw_ms data.root=…", metavar="KEY=VALUE…"),
    ],
    part: Annotated[
        str | None,
        typer.Option("--part", help="train, val, test or all; default: test where it is given, else all."),
    ] = None,
) -> None:
    """Score a run on another data set, by the classes that both have."""
    from emotion.commands.evaluate import evaluate

    evaluate(run, overrides, part)


@app.command()
def report(
    paths: Paths,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The file: .html, or .md or .tex for the tables alone; default: report.html, in the run if it is one.",
        ),
    ] = None,
    test: Annotated[
        bool,
        typer.Option("--test", help="Show test scores of several runs too; they are ranked by validation."),
    ] = False,
) -> None:
    """One self-contained HTML file about one run, or comparing several."""
    from emotion.commands.report import report

    report(paths, out, test)


@app.command()
def compare(
    paths: Paths,
    metric: Annotated[
        str, typer.Option("--metric", help="What to rank by, such as f1_macro, log_loss or recall/fear.")
    ] = "accuracy",
    form: Annotated[
        Literal["text", "markdown", "latex", "csv"], typer.Option("--format", help="How to print the table.")
    ] = "text",
    test: Annotated[
        bool,
        typer.Option("--test", help="On the test images: once, at the end, not to choose among many runs."),
    ] = False,
) -> None:
    """Which runs are better, which can't be told apart, and one sentence that says so."""
    from emotion.commands.compare import compare

    compare(paths, metric, form, test)


@runs.command("list")
def runs_list(runs_dir: RunsDir = RUNS) -> None:
    """Every run with its state and scores, newest first."""
    from emotion.commands.runs import list_runs

    list_runs(runs_dir)


@runs.command("show")
def runs_show(
    run: Annotated[Path, typer.Argument(help="A run folder, or its name.")], runs_dir: RunsDir = RUNS
) -> None:
    """What a run is, how far it is and what it reached."""
    from emotion.commands.runs import show_run

    show_run(run, runs_dir)


@runs.command("rm")
def runs_rm(
    names: Annotated[list[Path], typer.Argument(help="Run folders, or their names.")],
    runs_dir: RunsDir = RUNS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete runs, with their weights and predictions."""
    from emotion.commands.runs import remove_runs

    remove_runs(names, runs_dir, yes)


@sweep.command("table")
def sweep_table(
    folder: Annotated[Path, typer.Argument(help="The sweep's folder, the last line that the sweep printed.")],
    test: Annotated[
        bool, typer.Option("--test", help="Show test scores too; rows are ranked by validation.")
    ] = False,
) -> None:
    """The table of a sweep: printed, and written as table.md, table.csv and table.html."""
    from emotion.commands.sweep import table

    table(folder, test)


@sweep.command("list")
def sweep_list(
    sweeps_dir: Annotated[Path, typer.Option("--sweeps-dir", help="The folder that sweeps lie in.")] = Path(
        "sweeps"
    ),
) -> None:
    """Every sweep, newest first."""
    from emotion.commands.sweep import list_sweeps

    list_sweeps(sweeps_dir)


@app.command()
def model(
    name: Annotated[str, typer.Argument(help="A choice of model=, or any name that timm knows.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="As behind train.py: head=mlp, model.args.blocks=4, model.freeze=[backbone] …"),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, help="The number of classes.")] = 7,
) -> None:
    """The layers of a network with its head: output shape, weights, what is trained."""
    from emotion.commands.model import model

    model(name, overrides or [], classes)


@app.command()
def schema(
    out: Annotated[Path | None, typer.Argument(help="Where to write it; default: print it.")] = None,
) -> None:
    """The JSON schema of configuration files, for editors."""
    import json

    from emotion.atomic import write_text
    from emotion.schema import json_schema

    text = json.dumps(json_schema(), indent=1)
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text + "\n")


def main() -> None:
    try:
        app()
    except EmotionError as error:
        from emotion.launch import fail

        fail(error)
