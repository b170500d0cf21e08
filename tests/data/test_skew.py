import numpy as np

from emotion.data.skew import skew_notes

CLASSES = ("anger", "neutral", "fear", "happiness")


def test_two_classes_with_nearly_all_images_are_named_commonest_first() -> None:
    (note,) = skew_notes(np.repeat([0, 1, 2, 3], [4, 60, 6, 30]), CLASSES)
    assert note.startswith("neutral and happiness hold 90 % of the images: accuracy says little")


def test_nothing_is_said_where_it_would_say_nothing() -> None:
    assert not skew_notes(np.repeat([0, 1, 2, 3], [5, 59, 6, 30]), CLASSES)
    assert not skew_notes(np.repeat([0, 1], [50, 50]), CLASSES[:2])  # two of two always hold all
    assert not skew_notes(np.empty(0, np.int64), CLASSES)
