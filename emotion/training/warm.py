"""What the queue's fork server imports once for all jobs. It computes nothing: threads don't survive a fork."""

import importlib
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

for name in (
    "emotion.training.run",
    "emotion.training.pictures",
    "emotion.reporting.report",
):
    importlib.import_module(name)
