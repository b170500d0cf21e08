"""`python -m emotion …` is `emotion …`."""

import sys

from emotion.cli import main

if __name__ == "__main__":
    sys.argv[0] = "emotion"  # what runs record as their command can be pasted
    main()
