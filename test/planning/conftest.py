"""What every test of planning needs."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """As in the planner node: on a busy machine a second torch thread is one more to wait for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
