"""Training in Keras on TensorFlow, as the reports did it. Needs only TensorFlow, so it may be another environment."""

import math
import time
from pathlib import Path
from typing import Any

from .worker import StepClock, Turns


def _network(name: str, size: int, grey: bool, classes: int) -> Any:
    from tensorflow import keras

    layers = keras.layers
    shape = (size, size, 1 if grey else 3)
    if name == "minivgg":
        stack = [layers.Input(shape)]
        for widths in ((32, 32), (64, 64), (128, 128, 128)):
            stack += [layers.Conv2D(width, 3, padding="same", activation="relu") for width in widths]
            stack.append(layers.MaxPooling2D())
        stack += [
            layers.Flatten(),
            layers.Dense(512, "relu"),
            layers.Dense(512, "relu"),
            layers.Dense(classes),
        ]
        return keras.Sequential(stack)
    if name == "vgg16":  # with timm's convolutional head, which spreads small maps to 7×7
        body = keras.applications.VGG16(weights=None, include_top=False, input_shape=shape)
        edge = body.output_shape[1]
        head = [
            layers.UpSampling2D(math.ceil(7 / edge)), layers.Conv2D(4096, 7, activation="relu"),
            layers.Dropout(0.0), layers.Conv2D(4096, 1, activation="relu"), layers.GlobalAveragePooling2D(),
            layers.Dense(classes),
        ]  # fmt: skip
        return keras.Sequential([body, *head])
    make = {
        "mobilenetv2_100": keras.applications.MobileNetV2,
        "efficientnet_b0": keras.applications.EfficientNetB0,
    }
    return make[name](weights=None, classes=classes, input_shape=shape, classifier_activation=None)


def _images(folder: str, part: str, size: int, grey: bool, batch: int, how: str) -> Any:
    """Batches of a folder of class folders.

    Args:
        how: "generator": ImageDataGenerator, as the reports; "dataset": tf.data and Keras' random layers.
    """
    import tensorflow as tf
    from tensorflow import keras

    colour = "grayscale" if grey else "rgb"
    train = part == "train"
    if how == "generator":
        augment: dict[str, Any] = {
            "rotation_range": 10, "width_shift_range": 0.1, "height_shift_range": 0.1, "shear_range": 5,
            "zoom_range": 0.1, "horizontal_flip": True, "brightness_range": (0.8, 1.2),
        }  # fmt: skip
        make = keras.preprocessing.image.ImageDataGenerator(rescale=1 / 255, **(augment if train else {}))
        return make.flow_from_directory(
            f"{folder}/{part}", (size, size), color_mode=colour, class_mode="sparse", batch_size=batch, shuffle=train
        )  # fmt: skip
    images = keras.utils.image_dataset_from_directory(
        f"{folder}/{part}", image_size=(size, size), color_mode=colour, batch_size=batch, shuffle=train, verbose=False
    )  # fmt: skip
    layers = [keras.layers.Rescaling(1 / 255)]
    if train:
        layers += [
            keras.layers.RandomRotation(10 / 360),
            keras.layers.RandomTranslation(0.1, 0.1),
            keras.layers.RandomShear(math.tan(math.radians(5)), math.tan(math.radians(5))),
            keras.layers.RandomZoom(0.1),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomBrightness(0.2, value_range=(0, 1)),
            keras.layers.RandomContrast(0.2),
        ]
    change = keras.Sequential(layers)
    return images.map(lambda x, y: (change(x, training=train), y), tf.data.AUTOTUNE).prefetch(
        tf.data.AUTOTUNE
    )


def _compiled(network: str, size: int, grey: bool, classes: int) -> Any:
    from tensorflow import keras

    model = _network(network, size, grey, classes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model


def steps(
    turns: Turns, folder: str, network: str, size: int, grey: bool, batch: int, classes: int, how: str, skip: int,
    steps: int,
) -> None:  # fmt: skip
    """Turns of training steps."""
    from tensorflow import keras

    clock = StepClock(turns, batch, skip, steps, precision="fp32")

    class Steps(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            clock.begin()

        def on_train_batch_end(self, number: int, logs: Any = None) -> None:
            clock.step_done()

    images = _images(folder, "train", size, grey, batch, how)
    _compiled(network, size, grey, classes).fit(images, epochs=10_000, verbose=0, callbacks=[Steps()])


def epochs(
    turns: Turns,
    folder: str,
    network: str,
    size: int,
    grey: bool,
    batch: int,
    classes: int,
    how: str,
    seed: int,
) -> None:
    """Turns of whole epochs, each with its validation and a checkpoint."""
    from tensorflow import keras

    keras.utils.set_random_seed(seed)
    images = _images(folder, "train", size, grey, batch, how)
    count = sum(1 for _ in Path(folder, "train").rglob("*.jpg"))

    class Epochs(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            turns.wait()
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds = time.perf_counter() - self.started
            turns.report(
                count / seconds,
                images=count,
                seconds=seconds,
                precision="fp32",
                accuracy=logs["val_accuracy"],
            )

    keep = keras.callbacks.ModelCheckpoint(
        "keras.weights.h5", "val_accuracy", save_best_only=True, save_weights_only=True
    )
    _compiled(network, size, grey, classes).fit(
        images, validation_data=_images(folder, "val", size, grey, batch, how), epochs=10_000, verbose=0,
        callbacks=[keep, Epochs()],
    )  # fmt: skip
