"""The studies' own networks, one file a study. Importing this package registers them all with timm."""

from emotion.models.networks import affectnet, minivgg, plain_cnn, shallow_cnn, vgg16

__all__ = ["affectnet", "minivgg", "plain_cnn", "shallow_cnn", "vgg16"]
