"""`emotion wandb sync|dashboard`"""

import json
from pathlib import Path

from emotion.atomic import write_text
from emotion.errors import EmotionError
from emotion.reporting.wandb_view import sync_run, sync_sweep
from emotion.runs import RunFolder, is_sweep
from emotion.schema.machine import WandbLogger
from emotion.sweeps import SweepFolder
from emotion.training.folder import locked
from emotion.training.pictures import PicturesOfRuns


def sync(paths: list[Path], options: WandbLogger) -> None:
    """Build or complete the W&B run of every run folder, and of every sweep folder with its runs."""
    pictures = PicturesOfRuns()
    for path in paths:
        sweep = SweepFolder.open(path) if is_sweep(path) else None
        for run in sweep.runs() if sweep else [RunFolder.open(path)]:
            with locked(run.path):  # a run under way shows itself
                print(f"{run.name}  {sync_run(run, options, pictures)}", flush=True)
        if sweep:
            print(f"sweep {sweep.path.name}  {sync_sweep(sweep, options)}", flush=True)


def dashboard(options: WandbLogger, dry_run: bool, out: Path | None) -> None:
    """Make the dashboard in W&B, or print or write what it consists of."""
    from emotion.reporting.wandb_dashboard import create, specification

    if not dry_run:
        print(create(options))
        return
    text = json.dumps(specification(options), indent=1) + "\n"
    if out is None:
        print(text, end="")
        return
    try:
        write_text(out, text)
    except OSError as error:
        raise EmotionError(f"expected to write the specification {out}, found {error.strerror}.") from error
    print(out)
