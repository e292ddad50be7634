"""What jobs of the tests load, loaded once by the server that they are forked from (jobs.py)."""

import torch

import memrnn.dynamics.search
import memrnn.training.regularise
import memrnn.training.train  # noqa: F401

torch.set_num_threads(1)
torch.optim.Adam([torch.zeros(1)])  # its first use imports more than all else
