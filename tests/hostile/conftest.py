"""Fixtures that tests of the engine have too."""

from tests.engine.conftest import questionnaires, tiny_checkpoint

__all__ = ["questionnaires", "tiny_checkpoint"]
