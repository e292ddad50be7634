"""Memory in recurrent neural networks: the science behind the workflow, one module per stage."""

__version__ = "0.1.0"
