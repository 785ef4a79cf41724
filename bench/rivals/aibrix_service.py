"""AIBrix's batch service with a static endpoint source: its app as it is, without a cluster.

Takes the folder of its files, the port, the upstream's base URL and the slots; serves until it is
killed. What it builds for itself is an endpoint source per Kubernetes job; the static one is handed
to its driver where its own dry run hands in an echo.
"""

import os
import sys
from pathlib import Path
from typing import Any

FOLDER, PORT, URL, SLOTS = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
# Read when the package is imported.
os.environ["STORAGE_LOCAL_PATH"] = str(FOLDER)

import uvicorn  # noqa: E402
from aibrix.batch.client import StaticEndpointSource  # noqa: E402
from aibrix.metadata import app as service  # noqa: E402
from aibrix.storage import StorageType  # noqa: E402


class NoUsers:
    """In the place of the store of users, which asks for Redis and has no part in batches."""

    async def ping(self) -> bool:
        """It is there."""
        return True

    async def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    """Serve the app."""
    service.settings.STORAGE_TYPE = StorageType.LOCAL
    service.settings.METASTORE_TYPE = StorageType.LOCAL
    app: Any = service.build_app(service.build_app_args())
    app.state.metadata_store = NoUsers()
    source = StaticEndpointSource(URL, capacity=SLOTS, timeout=600.0)
    app.state.batch_driver._endpoint_source = source
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
