"""Train: `python train.py --help` explains it."""

import sys

if __name__ == "__main__":
    try:
        from emotion.launch import main

        main()
    except KeyboardInterrupt:  # a run or a sweep that has begun says itself how it is continued
        print("\nInterrupted: nothing was begun.", file=sys.stderr)
        sys.exit(130)
