"""How a run begins: its data, identity and folder, and whether anything is left to do. Imports no torch before."""

import os
from pathlib import Path

from emotion.training.threads import waiting

os.environ.update(waiting())

from emotion.data.dataset import open_store
from emotion.data.table import rejected_line
from emotion.errors import RunError
from emotion.runs import RunFolder
from emotion.schema import RunConfig
from emotion.training.console import Log
from emotion.training.folder import folder_name, locked, new_attempt, point_latest, put_back, read_status
from emotion.training.identity import check_sources, digest, essence
from emotion.training.progress import preparing


def train(config: RunConfig, log: Log | None = None, sweep: Path | None = None) -> RunFolder:
    """Do what `config` describes, as far as it isn't done yet.

    Args:
        log: where lines go.
        sweep: the folder of the sweep that this is a job of.

    Raises:
        EmotionError: the data, the weights or the run folder are not what they should be, or training failed.
    """
    log = log or Log()
    check_sources(config)
    store = open_store(config.data, config.preprocess, config.machine.cache_dir, preparing(log), log)
    identity = digest(essence(config, store.fingerprint))
    folder = RunFolder(config.machine.runs_dir.absolute() / folder_name(config, identity))
    with locked(folder.path):
        put_back(folder)
        status = read_status(folder)
        if status and status["identity"] != identity:
            raise RunError(
                f"{folder.path} holds the run {status['identity']}, expected {identity}: its first 8 digits are the "
                "same by chance, or the folder was copied. Move it away."
            )
        if config.force and status is not None:
            new_attempt(folder)
            status = None
        if status and status["state"] == "finished":
            code = f", commit {status['commit'][:8]}" if status.get("commit") else ""
            log(
                f"Finished already, on {status['finished']} with emotion {status['version']}{code}: {folder.path}"
            )
            if store.rejected.height:
                log(rejected_line(store.rejected, folder.file("rejected.csv")))
            log("force=true starts a new attempt.")
        finished = status is not None and status["state"] == "finished"
        wants_test = finished and config.evaluation.test and not folder.tested
        if not finished or wants_test or not folder.whole:
            from emotion.training.run import Run

            run = Run(config, store, folder, identity, log, sweep)
            if not finished:
                run.do()
            elif wants_test:
                run.add_test()
            else:
                run.make_whole()
    point_latest(folder)
    return folder
