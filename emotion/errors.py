"""Errors that a user can cause. Their text says what was expected, what was found and what to do."""


class EmotionError(Exception):
    """A failure with a remedy: shown without a traceback, with a non-zero exit code."""


class ConfigError(EmotionError):
    """The configuration is wrong; the text lists every problem found, not only the first."""


class DataError(EmotionError):
    """A data set, a store or a prediction table is missing, broken or not what was expected."""


class LayoutError(DataError):
    """A folder hasn't the layout that was looked for: it may be another data set's."""


class RunError(EmotionError):
    """A run can't be started, continued or opened."""
