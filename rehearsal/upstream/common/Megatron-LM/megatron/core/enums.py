"""Kinds of models."""
import enum


class ModelType(enum.Enum):
    """What upstream distinguishes."""

    encoder_or_decoder = 1
    encoder_and_decoder = 2
