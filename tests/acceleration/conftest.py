import pytest
from pretended_recording import Recorder


@pytest.fixture
def recorder():
    """What records a network's steps in the place of CUDA."""
    return Recorder()
