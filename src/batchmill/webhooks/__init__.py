"""The way out to receivers of webhooks, whom nobody here vouches for.

Which deliveries are due, and what an answer means, is decided elsewhere; what
is here must never connect to an address that was not checked.
"""

from batchmill.webhooks.sender import Sender

__all__ = ["Sender"]
