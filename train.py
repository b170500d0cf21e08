"""Train: `python train.py --help` explains it."""

from emotion.launch import main

if __name__ == "__main__":
    main()
