"""Settings: one TOML file, ``BATCHMILL_…`` variables and flags, read once, checked, frozen.

Start at ``load_settings``. Nothing below the command line reads the
environment for itself.
"""

from batchmill.config.listing import Entry, list_settings
from batchmill.config.loading import (
    Loaded,
    dump_settings,
    dump_without_secrets,
    load_settings,
    restore_settings,
    restore_with_secrets,
    with_models,
)
from batchmill.config.prices import example_prices, load_prices, read_prices
from batchmill.config.settings import (
    SERVED_ENDPOINTS,
    ClusterKind,
    ClusterSettings,
    DataSettings,
    EngineSettings,
    LimitSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    ModelSettings,
    ServerSettings,
    Settings,
    TransportKind,
    UpstreamSettings,
)
from batchmill.config.sources import CONFIG_VARIABLE, OTHER_VARIABLES
from batchmill.config.units import is_loopback, public_url

__all__ = [
    "CONFIG_VARIABLE",
    "OTHER_VARIABLES",
    "SERVED_ENDPOINTS",
    "ClusterKind",
    "ClusterSettings",
    "DataSettings",
    "EngineSettings",
    "Entry",
    "LimitSettings",
    "Loaded",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "ModelSettings",
    "ServerSettings",
    "Settings",
    "TransportKind",
    "UpstreamSettings",
    "dump_settings",
    "dump_without_secrets",
    "example_prices",
    "is_loopback",
    "list_settings",
    "load_prices",
    "load_settings",
    "public_url",
    "read_prices",
    "restore_settings",
    "restore_with_secrets",
    "with_models",
]
