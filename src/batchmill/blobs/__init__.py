"""The bytes behind files."""

from batchmill.blobs.local import LocalBlobs

__all__ = ["LocalBlobs"]
