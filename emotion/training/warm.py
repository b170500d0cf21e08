"""What the queue's fork server imports once for all jobs. It computes nothing: threads don't survive a fork."""

import importlib

for name in (
    "emotion.training.train",  # first: it sets how torch's threads wait
    "emotion.training.run",
):
    importlib.import_module(name)
