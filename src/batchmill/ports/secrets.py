"""What all processes of a server must know, and nobody else."""

from typing import Final, Protocol

SESSIONS: Final = "console.sessions"
"""What the console's sessions are signed with."""

FOLDER: Final = "files.folder"
"""Which folder holds the files, where a database that could be shared has no bucket beside it."""


class SecretStore(Protocol):
    """One row a name, written once."""

    async def keep(self, name: str, value: bytes) -> bytes:
        """The secret of that name: ``value`` itself, unless somebody was first."""
        ...
