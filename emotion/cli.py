"""`emotion …`: the commands and their arguments. Each imports its module when it is called."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

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

wandb = typer.Typer(no_args_is_help=True, help="Weights & Biases, as a view of run folders.")
app.add_typer(wandb, name="wandb")


class _Studies(TyperGroup):
    """`emotion study NAME` is `emotion study run NAME`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)


study = typer.Typer(cls=_Studies, no_args_is_help=True, help="Published studies, row by row, beside ours.")
app.add_typer(study, name="study")

RunsDir = Annotated[Path, typer.Option("--runs-dir", help="The folder that runs lie in.")]
RUNS = Path("runs")
Paths = Annotated[list[Path], typer.Argument(help="Run folders, or a sweep folder.")]


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def train(context: typer.Context) -> None:
    """Train, as `python train.py` does: `emotion train --help` explains it."""
    from emotion.launch import main as launch

    typed = [sys.argv[0], "train", *context.args]
    sys.argv = [sys.argv[0], *context.args]
    launch(typed)


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


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A run folder, such as runs/latest.")],
    method: Annotated[
        Literal["layer_cam", "grad_cam", "grad_cam_plus_plus", "occlusion"],
        typer.Option("--method", help="How the maps are made."),
    ] = "layer_cam",
    layer: Annotated[
        str | None, typer.Option("--layer", help="Whose maps; default: the deepest with fine enough ones.")
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", help="A confusion to show, as in sadness:neutral; repeatable."),
    ] = None,
) -> None:
    """Where in the images a run's answers come from, as sheets in its folder and in its report."""
    from emotion.commands.explain import explain

    explain(run, method, layer, pair or [])


@app.command()
def quiz(
    data: Annotated[
        str | None, typer.Argument(help="A data set's name, or a run folder for its test images.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for train.py: data.root=~/fer2013 …")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Number of images.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Chooses the images and their order.")] = 0,
    answers: Annotated[
        list[Path] | None, typer.Option("--answers", help="A file that the page saved; repeatable.")
    ] = None,
    run: Annotated[
        list[Path] | None, typer.Option("--run", help="With --answers: a run to compare with; repeatable.")
    ] = None,
    quizzes_dir: Annotated[
        Path, typer.Option("--quizzes-dir", help="The folder that quizzes lie in.")
    ] = Path("quizzes"),
) -> None:
    """A page on which people name the expressions of test images; --answers makes prediction tables of theirs."""
    from emotion.commands.quiz import judge, make
    from emotion.errors import ConfigError

    if data is not None and answers is not None:
        files = (*map(str, answers), data, *(overrides or ()))
        typed = " ".join(f"--answers {shlex.quote(file)}" for file in files)
        raise ConfigError(f"expected either a data set, or --answers before each file: {typed}")
    if (data is None) == (answers is None):
        raise ConfigError("expected either a data set, to make a quiz, or --answers FILE, to score one.")
    if data is not None:
        make(data, overrides or [], count, seed, quizzes_dir)
    else:
        judge(answers or [], run or [], quizzes_dir)


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


Project = Annotated[str, typer.Option("--project", help="The W&B project, for what W&B has not seen yet.")]
Entity = Annotated[str | None, typer.Option("--entity", help="The W&B user or team; default: yours.")]


@wandb.command("sync")
def wandb_sync(
    paths: Annotated[list[Path], typer.Argument(help="Run folders or sweep folders.")],
    project: Project = "emotion",
    entity: Entity = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only write W&B's files, into the folders.")
    ] = False,
    log_model: Annotated[bool, typer.Option("--log-model", help="Hand over best.ckpt, too.")] = False,
) -> None:
    """Show runs in W&B from what their folders hold, as often as you like: each stays one W&B run."""
    from emotion.commands.wandb import sync
    from emotion.schema.machine import WandbLogger

    mode = "offline" if offline else None
    sync(paths, WandbLogger(project=project, entity=entity, mode=mode, log_model=log_model))


@wandb.command("dashboard")
def wandb_dashboard(
    project: Project = "emotion",
    entity: Entity = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it consists of, without account or network.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="With --dry-run: write it there.")] = None,
) -> None:
    """Make a W&B workspace that compares folds, sweeps, confusions and calibration."""
    from emotion.commands.wandb import dashboard
    from emotion.schema.machine import WandbLogger

    dashboard(WandbLogger(project=project, entity=entity), dry_run, out)


Results = Annotated[
    Path | None,
    typer.Option(
        "--results",
        help="Where kept runs lie; default: experiments/NAME/results, smoke: studies/NAME/results.",
    ),
]


@study.command("list")
def study_list() -> None:
    """Every study, and how many of its rows are measured."""
    from emotion.commands.study import list_studies

    list_studies()


@study.command("run")
def study_run(
    name: Annotated[str, typer.Argument(help="A study, as `emotion study list` calls it.")],
    machine: Annotated[
        list[str] | None,
        typer.Argument(help="machine.devices=0, machine.threads=2 …", metavar="[MACHINE.KEY=VALUE…]"),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            help="full: as published; short: no run over 20 minutes on two cores; smoke: seconds.",
        ),
    ] = "short",
    rows: Annotated[
        str | None, typer.Option("--rows", help="Only these rows: names with commas between.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Only these of the profile's seeds, with commas between.")
    ] = None,
    data_root: Annotated[
        list[str] | None,
        typer.Option("--data-root", help="SET=DIR: where a data set lies; DIR where the study has only one."),
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option("--weights", help="NETWORK=FILE: pretrained weights from a file.")
    ] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Also rows whose tables are kept: trained again for their weights. The tables stay.",
        ),
    ] = False,
    results: Results = None,
) -> None:
    """Run what is missing, through the queue, and print the table. `emotion study NAME` is the same."""
    from emotion.commands.study import run

    if not run(name, profile, rows, seeds, data_root or [], weights or [], results, machine or [], again):
        raise typer.Exit(1)


@study.command("table")
def study_table(
    name: Annotated[str, typer.Argument(help="A study, as `emotion study list` calls it.")],
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="Whose runs; default: of each row full, else short."),
    ] = None,
    results: Results = None,
) -> None:
    """The table from what is kept: printed, written to studies/NAME, and into the study's README."""
    from emotion.commands.study import table

    table(name, profile, results)


Out = Annotated[Path, typer.Option("--out", "-o", help="The new run folder.")]


@app.command()
def ensemble(paths: Paths, out: Out) -> None:
    """Average what finished runs answer, or one run's snapshots: a run folder that report and compare take."""
    from emotion.commands.combine import ensemble

    ensemble(paths, out)


@app.command()
def probe(
    run: Annotated[Path, typer.Argument(help="A finished run with its weights, such as runs/latest.")],
    out: Out,
    head: Annotated[
        Literal["svm", "logistic"], typer.Option("--head", help="A linear SVM or logistic regression.")
    ] = "svm",
) -> None:
    """Fit a classical classifier on a run's features: a run folder that report and compare take."""
    from emotion.commands.combine import probe

    probe(run, head, out)


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
    except (EmotionError, OSError) as error:
        from emotion.launch import fail

        fail(
            error
            if isinstance(error, EmotionError)
            else EmotionError(f"expected to read and write files: {error}")
        )
