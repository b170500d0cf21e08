"""`emotion data …`: the arguments; what is done is imported when it is called."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Data sets: what is there, what it holds, what is wrong with it."
)

Where = Annotated[
    list[str],
    typer.Argument(
        help="The download's folder, and keys as for training: data=lfw_ms data.part=all. The set is recognised "
        "where `data=` isn't given.",
        metavar="[ROOT] [KEY=VALUE…]",
    ),
]


@app.command("list")
def list_() -> None:
    """The data sets that can be read, and what is prepared of them."""
    from emotion.commands.inspection import list_sets

    list_sets()


@app.command()
def check(
    where: Where,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A csv file for the rows that can't be used, and why.")
    ] = None,
) -> None:
    """Which data set is it, is it complete, what is wrong with it? Decodes nothing; verifies what is prepared."""
    from emotion.commands.inspection import check

    check(where, out)


@app.command()
def prepare(where: Where) -> None:
    """Decode, crop and resize every image once, for all runs."""
    from emotion.commands.inspection import prepare

    prepare(where)


@app.command()
def show(
    where: Where,
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG file.")] = Path("contact_sheet.png"),
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Images a class.")] = 12,
) -> None:
    """A contact sheet: some images of each class."""
    from emotion.commands.inspection import show

    show(where, out, count)


@app.command()
def stats(
    where: Where,
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG file.")] = Path("data_statistics.png"),
) -> None:
    """Classes and groups of each part, sizes and brightness: a table, and a figure."""
    from emotion.commands.inspection import stats

    stats(where, out)


@app.command()
def audit(
    where: Where,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of audit.html and audit.csv.")] = Path(),
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", help="A finished run on this data, or each fold's: adds likely label errors."),
    ] = None,
) -> None:
    """Duplicates, contradictory labels, leaks, blank images: audit.html to look at, audit.csv for data.exclude."""
    from emotion.commands.inspection import audit

    audit(where, out, runs or [])


@app.command()
def draw(
    folder: Annotated[Path, typer.Argument(help="Where to write it: a new or empty folder.")],
    form: Annotated[str, typer.Option("--as", help="The data set whose layout is drawn.")],
    count: Annotated[int, typer.Option("--count", help="Number of pictures.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Another seed is other people.", min=0)] = 0,
) -> None:
    """Drawn pictures in the exact layout of a published data set, quirks included: to try things without the data."""
    from emotion.commands.draw import draw

    draw(form, folder, count, seed)


@app.command()
def card(
    name: Annotated[str | None, typer.Argument(help="A data set, as after data=; default: all.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for a file each; default: print.")
    ] = None,
) -> None:
    """Data cards: citation, licence, layouts, published counts and cautions of a set, a page each."""
    from emotion.commands.inspection import card

    card(name, out)
