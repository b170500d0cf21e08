"""What the queue's fork server imports once for all jobs. It computes nothing: threads don't survive a fork."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations  # noqa: F401
