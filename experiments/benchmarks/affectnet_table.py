"""How long reading AffectNet's 2017 tables takes, and how much memory.

    python experiments/benchmarks/affectnet_table.py FOLDER [ROWS]

Writes lists of ROWS rows (400,000, as training and validation together have with 68 landmarks each) and as many empty
pictures into FOLDER, reads them, and prints a line of JSON. The reader opens no picture, so empty ones will do.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from emotion.data.readers import affectnet

BROKEN, MISSING, NO_BOX, OTHER_CODES = 1, 100, 300, 116_000
VALIDATION = 4_000
HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)


def write(root: Path, rows: int) -> dict[str, int]:
    """Write the tree; returns the samples of each class that a reader of AffectNet-8 should find."""
    rng = np.random.default_rng(0)
    marks = ";".join(f"{value:.2f}" for value in rng.uniform(50, 400, 136))
    counts = dict.fromkeys(affectnet.CODES[:8], 0)
    images, lists = root / "Manually_Annotated_Images", root / "Manually_Annotated_file_lists"
    lists.mkdir(parents=True)
    folders = 1 + rows // 400
    for folder in range(folders):
        (images / str(folder)).mkdir(parents=True)
    with (lists / "training.csv").open("w") as training, (lists / "validation.csv").open("w") as validation:
        training.write(HEADER + "\n")  # and none in validation.csv
        for number in range(rows):
            name = f"{number % folders}/{number:056x}.jpg"
            code, box = number % 8, f"{number % 50},{number % 60},200,210"
            exists = True
            if number < OTHER_CODES:
                code = 8 + number % 3
            elif number < OTHER_CODES + NO_BOX:
                box = "-1,-1,-1,-1"
            elif number < OTHER_CODES + NO_BOX + MISSING:
                exists = False
            elif number < OTHER_CODES + NO_BOX + MISSING + BROKEN:
                training.write(name + ",12\n")
                continue
            else:
                counts[affectnet.CODES[code]] += 1
            if exists:
                (images / name).touch()
            file = validation if number >= rows - VALIDATION else training
            file.write(f"{name},{box},{marks},{code},-0.1234,0.25\n")
    return counts


def main() -> None:
    root, rows = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 400_000
    written = write(root, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    affectnet.signature(root)
    signed = time.perf_counter()
    table = affectnet.read(root)
    done, cpu = time.perf_counter(), time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = {table.classes[label]: n for label, n in table.frame["label"].value_counts().iter_rows()}
    print(
        json.dumps(
            {
                "rows": rows,
                "samples": len(table),
                "rejected": table.rejected.height,
                "counts": {name: counts[name] for name in written},
                "written": written,
                "reasons": dict(sorted(table.rejected["reason"].value_counts().iter_rows())),
                "signature_s": round(signed - started, 2),
                "read_s": round(done - signed, 2),
                "cpu_s": round(cpu, 2),  # of signature and reading together
                "peak_mib": peak // 1024,
                "peak_before_mib": before // 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
