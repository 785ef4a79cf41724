"""batchmill: the Batch API that anyone can run in front of their own models."""

__version__ = "0.1.0"
