"""Work that one process does while the others that want it wait."""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

_ANNOUNCE_S = 2.0

log = logging.getLogger(__name__)


@contextmanager
def alone(lock: Path, doing: str) -> Iterator[None]:
    """Hold an exclusive lock that the system lets go when the process dies, however it dies.

    The file stays: removing it would let two processes hold locks on two files of one name.

    Args:
        doing: what the holder does, as in "prepares fer2013": said to whoever waits long.

    Raises:
        OSError: the file can't be written.
    """
    with lock.open("a+") as file:
        started, announced = time.monotonic(), False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not announced and time.monotonic() - started > _ANNOUNCE_S:
                    file.seek(0)
                    log.warning("Waiting for %s, which %s.", file.read().strip() or "another process", doing)
                    announced = True
                time.sleep(0.05)
        file.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}")
        file.flush()
        yield
