"""Drawn faces: reproducible, what was asked for, and faces whose expressions are where expressions are."""

import hashlib
import itertools
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from emotion.data.drawn import PROTOTYPES, DrawnFaces, make_person
from emotion.data.portrait import PARTS, ActionUnits, View, draw, part_masks
from emotion.data.readers import drawn as reader
from emotion.errors import ConfigError
from emotion.labels import EXPRESSIONS

SMALL = {"count": 300, "persons": 30, "seed": 5}
FRONTAL = View()


def digest(images: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()


def test_an_image_depends_on_its_index_only() -> None:
    faces = DrawnFaces(**SMALL)
    indices = [0, 7, 299, 150]
    expected = digest([faces.read(index) for index in indices])

    other_order = {index: DrawnFaces(**SMALL).read(index) for index in reversed(indices)}
    assert digest([other_order[index] for index in indices]) == expected

    program = (
        "import hashlib; from emotion.data.drawn import DrawnFaces; "
        f"faces = DrawnFaces(**{SMALL}); images = [faces.read(i).tobytes() for i in {indices}]; "
        "print(hashlib.sha256(b''.join(images)).hexdigest())"
    )
    other_process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert other_process.stdout.strip() == expected


def test_every_image_of_a_person_is_another_one() -> None:
    faces = DrawnFaces(count=200, persons=2)
    assert len({faces.read(index).tobytes() for index in range(200)}) == 200


@pytest.mark.parametrize("changed", [{"seed": 6}, {"difficulty": 0.9}])
def test_other_parameters_make_other_images(changed: dict[str, float]) -> None:
    assert not np.array_equal(DrawnFaces(**SMALL).read(3), DrawnFaces(**SMALL | changed).read(3))


@pytest.mark.parametrize("size_px", [48, 64, 96, 224])
def test_images_and_masks_have_the_asked_for_size(size_px: int) -> None:
    faces = DrawnFaces(count=20, size_px=size_px, classes=8)
    for index in range(20):
        image, masks = faces.read(index), faces.masks(index)
        assert (image.shape, image.dtype) == ((size_px, size_px, 3), np.uint8)
        assert tuple(masks) == PARTS
        assert all(mask.shape == (size_px, size_px) and mask.dtype == bool for mask in masks.values())
        assert all(0.003 < mask.mean() < 0.25 for mask in masks.values())


def test_sizes_show_the_same_scene() -> None:
    # noise and blur apart, a large image shrunk is nearly the small one
    person, happy = make_person(0, 1), PROTOTYPES["happiness"][0]
    small, large = (draw(person, happy, FRONTAL, size_px).astype(float) for size_px in (48, 192))
    shrunk = large.reshape(48, 4, 48, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 5
    assert np.abs(shrunk - small[:, ::-1]).mean() > 15


@pytest.mark.parametrize("classes", [7, 8])
@pytest.mark.parametrize("imbalance", [0.0, 2.0, 9.0])
def test_class_counts_follow_the_imbalance(classes: int, imbalance: float) -> None:
    faces = DrawnFaces(count=5000, classes=classes, imbalance=imbalance)
    counts = np.bincount(faces.true_labels(), minlength=8)
    assert counts.sum() == 5000
    assert not counts[classes:].any()
    counts = counts[:classes]
    if imbalance:
        assert counts.max() / counts.min() == pytest.approx(1 + imbalance, rel=0.02)
        assert faces.class_names[counts.argmax()] == "happiness"
        steps = np.sort(counts)[1:] / np.sort(counts)[:-1]
        assert steps == pytest.approx(np.full(classes - 1, steps[0]), rel=0.02)
    else:
        assert counts.max() - counts.min() <= 1


def test_the_noise_share_is_exact_and_spread_over_all_other_classes() -> None:
    faces = DrawnFaces(count=12_000, imbalance=0, label_noise=0.25)
    label, true = faces.frame()["label"].to_numpy(), faces.true_labels()
    wrong = label != true
    assert wrong.sum() == 3000
    steps = np.bincount((label[wrong] - true[wrong]) % 7, minlength=7)[1:]
    assert np.all(np.abs(steps - 500) < 110)  # binomial(3000, 1/6): five standard deviations
    assert np.array_equal(
        DrawnFaces(count=500, label_noise=0).frame()["label"], DrawnFaces(count=500).true_labels()
    )


def test_groups_are_the_persons_drawn() -> None:
    faces = DrawnFaces(**SMALL)
    frame = faces.frame()
    drawn = [faces.scene(index).person for index in range(300)]
    by_group: dict[str, set[int]] = {}
    for group, person in zip(frame["group"], drawn, strict=True):
        by_group.setdefault(group, set()).add(id(person))
    assert len(by_group) == 30
    assert all(len(persons) == 1 for persons in by_group.values())
    assert len(set(drawn)) == 30
    assert frame["group"].value_counts()["count"].unique().to_list() == [10]
    assert frame.group_by("group").agg(pl.col("label").n_unique())["label"].min() >= 3
    assert DrawnFaces(count=57).frame()["group"].n_unique() == 5


def test_a_person_is_the_same_in_every_set_of_a_seed() -> None:
    small, large = (
        DrawnFaces(count=10, persons=1, seed=3),
        DrawnFaces(count=500, persons=1, size_px=96, seed=3),
    )
    assert small.scene(0).person == large.scene(400).person
    assert small.scene(0).person != DrawnFaces(count=10, persons=1, seed=4).scene(0).person


def test_half_a_million_rows_are_made_at_once() -> None:
    frame = DrawnFaces(count=500_000).frame()
    assert frame.schema == {"id": pl.String, "label": pl.Int64, "split": pl.String, "group": pl.String}
    assert frame["id"].n_unique() == 500_000
    assert frame["group"].n_unique() == 50_000
    assert frame["split"].null_count() == 500_000


@pytest.mark.parametrize("name", EXPRESSIONS[1:])
def test_an_expression_changes_the_face_where_expressions_are(name: str) -> None:
    faces = DrawnFaces(count=24, persons=12, size_px=96, difficulty=0.5)
    inside, outside = [], []
    for index in range(24):
        scene = faces.scene(index)
        plain, moved = (
            (scene.person, units, scene.view, 96) for units in (ActionUnits(), PROTOTYPES[name][0])
        )
        change = np.abs(draw(*plain).astype(int) - draw(*moved)).mean(2)
        parts = np.any([mask for args in (plain, moved) for mask in part_masks(*args).values()], axis=0)
        inside.append(change[parts].mean())
        outside.append(change[~parts].mean())
    assert np.mean(inside) > 5 * np.mean(outside)
    assert min(inside) > 2


def test_another_person_is_another_face() -> None:
    images = [draw(make_person(0, number), ActionUnits(), FRONTAL, 48).astype(int) for number in range(12)]
    apart = [np.abs(a - b).mean() for i, a in enumerate(images) for b in images[:i]]
    smile = draw(make_person(0, 0), PROTOTYPES["happiness"][0], FRONTAL, 48)
    assert min(apart) > np.abs(images[0] - smile).mean()


def test_parts_lie_where_they_lie_in_a_face() -> None:
    for number in range(20):
        masks = part_masks(make_person(1, number), ActionUnits(), FRONTAL, 96)
        height = {part: np.nonzero(mask)[0].mean() for part, mask in masks.items()}
        assert height["brows"] < height["eyes"] < height["nose"] < height["mouth"]
        for mask in masks.values():
            assert np.nonzero(mask)[1].mean() == pytest.approx(47.5, abs=1.0)
        # eyes and brows are two each, with nothing in the middle; nose and mouth are in the middle
        assert [bool(masks[part][:, 47:49].any()) for part in PARTS] == [False, False, True, True]


def test_masks_move_with_the_image() -> None:
    person = make_person(0, 3)
    moved = replace(FRONTAL, shift=(6 / 96, -3 / 96))
    for part, mask in part_masks(person, ActionUnits(), FRONTAL, 96).items():
        expected = np.roll(mask, (-3, 6), axis=(0, 1))
        assert np.array_equal(part_masks(person, ActionUnits(), moved, 96)[part], expected)
    plain, shifted = (draw(person, ActionUnits(), view, 96).astype(int) for view in (FRONTAL, moved))
    middle = slice(30, 66)
    assert np.abs(np.roll(plain, (-3, 6), axis=(0, 1)) - shifted)[middle, middle].mean() < 2


@pytest.mark.parametrize(
    ("unit", "part", "measure", "direction"),
    [
        ("jaw_drop", "mouth", "height", 1),
        ("lips_part", "mouth", "height", 1),
        ("lip_press", "mouth", "height", -1),
        ("corner_pull", "mouth", "width", 1),
        ("lip_stretch", "mouth", "width", 1),
        ("lid_raise", "eyes", "height", 1),
        ("lid_droop", "eyes", "height", -1),
        ("lid_tighten", "eyes", "height", -1),
        ("cheek_raise", "eyes", "height", -1),
        ("inner_brow", "brows", "middle", -1),
        ("outer_brow", "brows", "middle", -1),
        ("brow_lower", "brows", "middle", 1),
        ("nose_wrinkle", "nose", "width", 1),
        ("upper_lip", "mouth", "middle", -1),
    ],
)
def test_action_units_move_their_part(unit: str, part: str, measure: str, direction: int) -> None:
    def measured(units: ActionUnits) -> float:
        rows, columns = np.nonzero(part_masks(make_person(0, 2), units, FRONTAL, 224)[part])
        return {"height": np.ptp(rows), "width": np.ptp(columns), "middle": rows.mean()}[measure]

    assert direction * (measured(ActionUnits(**{unit: 1.0})) - measured(ActionUnits())) >= 2


def test_contempt_is_one_sided() -> None:
    smirk = ActionUnits(corner_pull=1.0, one_sided=1.0)
    right, left = (
        part_masks(make_person(0, 2), units, FRONTAL, 224)["mouth"]
        for units in (smirk, smirk._replace(one_sided=-1.0))
    )
    assert (right[:, ::-1] != left).sum() < 0.02 * left.sum()
    assert (right != left).sum() > 0.1 * left.sum()


def nearest_prototype(units: ActionUnits) -> str:
    distance = {
        name: min(np.linalg.norm(np.subtract(units, shown)) for shown in ways)
        for name, ways in PROTOTYPES.items()
    }
    return min(distance, key=distance.__getitem__)


def test_difficulty_blurs_the_expressions() -> None:
    right = []
    for difficulty in (0.0, 0.3, 0.6, 1.0):
        faces = DrawnFaces(count=400, difficulty=difficulty)
        true = faces.true_labels()
        found = [nearest_prototype(faces.scene(index).units) for index in range(400)]
        right.append(np.mean([EXPRESSIONS[label] == name for label, name in zip(true, found, strict=True)]))
    assert right[0] > 0.99
    assert right == sorted(right, reverse=True)
    assert right[-1] < 0.8


def test_impossible_sets_are_refused_with_all_reasons() -> None:
    with pytest.raises(ConfigError, match=r"size_px=20 .*48 to 224.*difficulty=1.5 .*seed=-1 "):
        DrawnFaces(size_px=20, difficulty=1.5, seed=-1)
    with pytest.raises(IndexError, match="index 10 is outside"):
        DrawnFaces(count=10).read(10)
    with pytest.raises(IndexError):
        DrawnFaces(count=10).read(-1)


def test_the_reader_makes_a_table_of_what_was_asked_for() -> None:
    table = reader.read(None, count=200, classes=8, label_noise=0.1, seed=2)
    faces = DrawnFaces(count=200, classes=8, label_noise=0.1, seed=2)
    assert table.classes == EXPRESSIONS
    assert table.frame.equals(faces.frame())
    assert not table.official
    assert any("20 of 200 labels are wrong" in note for note in table.notes)
    again = pickle.loads(pickle.dumps(table.source))
    assert np.array_equal(again.read(17), faces.read(17))


def test_the_signature_tells_sets_apart() -> None:
    options = [
        {}, {"count": 99}, {"size_px": 64}, {"classes": 8}, {"imbalance": 1.0}, {"label_noise": 0.0},
        {"difficulty": 0.5}, {"persons": 7}, {"seed": 1},
    ]  # fmt: skip
    assert len({reader.signature(None, **choice) for choice in options}) == len(options)
    assert reader.signature() == reader.signature(None, size_px=reader.NATURAL_SIZE_PX)


@pytest.mark.slow
def test_a_small_network_beats_a_linear_model_and_nothing_is_perfect() -> None:
    torch = pytest.importorskip("torch")
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    faces = DrawnFaces()
    frame = faces.frame()
    label = frame["label"].to_numpy()
    test = frame["group"].rank("dense").to_numpy() % 5 == 0  # a fifth of the persons
    images = np.stack([faces.read(index) for index in range(faces.count)]).astype(np.float32) / 255

    flat = images.reshape(faces.count, -1)
    linear = make_pipeline(
        StandardScaler(), PCA(200, random_state=0), LogisticRegression(C=0.001, max_iter=300, random_state=0)
    )
    linear_accuracy = linear.fit(flat[~test], label[~test]).score(flat[test], label[test])

    torch.manual_seed(0)
    widths = (3, 32, 64, 128)
    blocks = [
        layer
        for before, after in itertools.pairwise(widths)
        for layer in (
            torch.nn.Conv2d(before, after, 3, padding=1), torch.nn.BatchNorm2d(after), torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
        )
    ]  # fmt: skip
    head = [
        torch.nn.AdaptiveAvgPool2d(3),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(1152, 7),
    ]
    network = torch.nn.Sequential(*blocks, *head)
    pixels, targets = torch.from_numpy(images).permute(0, 3, 1, 2) * 4 - 2, torch.tensor(label)
    train = torch.from_numpy(np.flatnonzero(~test))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=10 * (len(train) // 64))
    for _ in range(10):
        for batch in train[torch.randperm(len(train))][: len(train) // 64 * 64].split(64):
            chosen = pixels[batch]
            chosen = chosen.flip(3) if torch.rand(()) < 0.5 else chosen
            loss = torch.nn.functional.cross_entropy(network(chosen), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        found = network.eval()(pixels[torch.from_numpy(test)]).argmax(1).numpy()
    accuracy = (found == label[test]).mean()

    assert 0.80 < accuracy < 0.97
    assert linear_accuracy < accuracy - 0.2
