"""How long the audit of FER2013 takes, from nothing prepared. Goal: a minute on two cores.

python -m experiments.benchmarks.audit ~/fer2013
"""

import argparse
import tempfile
from pathlib import Path

from emotion.data.audit import audit
from emotion.data.dataset import open_store
from emotion.launch import compose

from .evaluation import say_seconds, timed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="the download")
    parser.add_argument("--repeats", type=int, default=3, help="how often it is measured (3)")
    chosen = parser.parse_args()
    config = compose(["data=fer2013", f"data.root={chosen.root.expanduser().resolve()}"])

    def once() -> None:
        with tempfile.TemporaryDirectory() as cache:
            audit(open_store(config.data, config.preprocess, Path(cache)))

    say_seconds("preparing and auditing FER2013", timed(once, chosen.repeats))


if __name__ == "__main__":
    main()
