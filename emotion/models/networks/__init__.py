"""The studies' own networks, one file a study. Importing this package registers them all with timm."""

from emotion.models.networks import minivgg

__all__ = ["minivgg"]
