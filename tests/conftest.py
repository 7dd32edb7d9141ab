"""Fixtures that several test files share."""

import os

# Two workers on two cores: more threads each only stand in each other's way. Read when torch and numpy are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """Tiny model files in every format; see ``artifacts.TinyArtifacts``."""
    # Imported here: it brings torch, which most tests don't need.
    from artifacts import TinyArtifacts, session_folder

    return TinyArtifacts(session_folder(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="session")
def model():
    """A ViTPose of one block with the simple head."""
    from checkpoints import random_model

    return random_model(depth=1, head="simple")


@pytest.fixture(scope="session")
def classic():
    """The same with the classic head."""
    from checkpoints import random_model

    return random_model(depth=1, head="classic")


@pytest.fixture(scope="session")
def plus():
    """A ViTPose+."""
    from checkpoints import random_plus

    return random_plus(depth=1, head="simple", part=48)
