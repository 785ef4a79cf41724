"""Usage, spending, monitoring and caps over HTTP: what is answered, and to whom."""

import csv
import io
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

sys.path.append(str(Path(__file__).parents[1] / "api"))
