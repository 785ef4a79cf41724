"""The scripted upstream: an OpenAI-compatible server whose faults are written down beforehand."""

from batchmill.upstream.mock.script import Fault, Script, Tokenizes
from batchmill.upstream.mock.server import MockUpstream, serve_mock
from batchmill.upstream.mock.stats import Stats

__all__ = ["Fault", "MockUpstream", "Script", "Stats", "Tokenizes", "serve_mock"]
