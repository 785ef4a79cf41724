"""What a server's processes do without; ``child`` imports this before all else, for its effect.

structlog loads rich wherever that is installed, to draw tracebacks with. The
server's are one line each, and rich is 4 MB a process.
"""

import sys

SERVER_MODULE = "batchmill.cli.child"

_spec = getattr(sys.modules["__main__"], "__spec__", None)
if _spec is not None and _spec.name == SERVER_MODULE:
    sys.modules["rich"] = None  # type: ignore[assignment]
