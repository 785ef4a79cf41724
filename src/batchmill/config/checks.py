"""Rules between settings: what each field alone cannot know.

Each rule yields the setting at fault and the rest of a sentence that begins
with its name and value. ``loading`` and ``with_models`` make errors of them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from batchmill.config.settings import (
    DataSettings,
    ModelSettings,
    Settings,
    TransportKind,
    UpstreamSettings,
)
from batchmill.config.tree import Keys
from batchmill.config.units import (
    DATABASE_URL,
    LOGIN,
    holds_password,
    is_database_url,
    is_header_safe,
    is_login,
    is_served,
)
from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.regions import allows_nothing

# The secrets of an upstream: what each may be, and how one is described that may not.
UPSTREAM_SECRETS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "api_key": (is_header_safe, "a blank or another character no key has"),
    "proxy_auth": (is_login, f"something else: it must be {LOGIN}"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A setting that does not go with another; ``problem`` follows "but"."""

    keys: Keys
    problem: str


def find_faults(settings: Settings) -> Iterator[Finding]:
    """Everything that does not go together, worst first."""
    yield from _crossed_ranges(settings)
    yield from _blob_options(settings.data)
    yield from _models(settings.models)
    yield from _certificates(settings)
    yield from _proxies(settings)


def find_key_faults(settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    """Secrets that are named but not there; for settings whose secrets are not filled in."""
    problem = _database_problem(settings.data, env)
    if problem:
        yield Finding(("data", "database_env"), problem)
    for at, upstream in _upstreams(settings):
        for name in UPSTREAM_SECRETS:
            problem = _secret_problem(upstream, name, env)
            if problem:
                yield Finding((*at, f"{name}_env"), problem)
    if settings.runs_elsewhere:
        yield from _elsewhere(settings, env)


_RANGES: tuple[tuple[str, str, str], ...] = (
    ("limits", "completion_window_min", "completion_window_max"),
    ("limits", "expires_after_min", "expires_after_max"),
    ("engine", "backoff_base", "backoff_cap"),
)


def _crossed_ranges(settings: Settings) -> Iterator[Finding]:
    for section, least, most in _RANGES:
        values = getattr(settings, section)
        if getattr(values, least) > getattr(values, most):
            yield Finding((section, least), f"must not be above {section}.{most}")


# What would let someone in, by the words of an option's name; and names that only sound so.
_SECRET_WORDS = frozenset(
    {"key", "secret", "token", "sas", "password", "credential", "credentials"}
)
_NO_SECRETS = ("kms_key_id", "bucket_key_enabled", "_file", "_path")


def _blob_options(data: DataSettings) -> Iterator[Finding]:
    if data.blob_options and data.blobs is None:
        yield Finding(("data", "blob_options"), "data.blobs is not set: say where the bucket is")
    for name, value in data.blob_options.items():
        if _is_secret(name) or "@" in urlsplit(value).netloc:
            yield Finding(
                ("data", "blob_options", name),
                "no secret may stand among the settings: the object store's own variables hold "
                "them, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )


def _is_secret(option: str) -> bool:
    name = option.lower()
    return bool(_SECRET_WORDS & set(name.split("_"))) and not name.endswith(_NO_SECRETS)


def _database_problem(data: DataSettings, env: Mapping[str, str]) -> str | None:
    name = data.database_env
    if name is None:
        return None
    if data.database is not None:
        return "data.database is set too: keep one of the two"
    if not env.get(name):
        return f"the environment variable {name} is not set: set it, or take this line out"
    if not is_database_url(env[name]):
        return f"the environment variable {name} holds something else: it must be {DATABASE_URL}"
    return None


def _elsewhere(settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    """What machines that share nothing but a database and a bucket need."""
    data, kind = settings.data, ("cluster", "kind")
    written = data.database.get_secret_value() if data.database is not None else ""
    if not is_served(written or env.get(data.database_env or "", "")):
        yield Finding(
            kind, "data.database names no PostgreSQL database, which all machines need to reach"
        )
    if data.blobs is None or data.blobs.startswith("memory:"):
        yield Finding(kind, "data.blobs names no bucket, which all machines need to reach")
    if holds_password(written):
        yield Finding(
            ("data", "database"),
            "it holds a password, and settings travel over the cluster: name a variable in "
            "data.database_env that every node has, or set PGPASSWORD there",
        )
    for at, upstream in _upstreams(settings):
        for name in UPSTREAM_SECRETS:
            if getattr(upstream, name) is not None and getattr(upstream, f"{name}_env") is None:
                yield Finding(
                    (*at, name),
                    f"settings travel over the cluster: name a variable in {name}_env that every "
                    "node has",
                )


def _models(models: tuple[ModelSettings, ...]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, model in enumerate(models):
        if model.name in seen:
            yield Finding(
                ("models", index, "name"),
                "another model has that name: give one model several [[models.upstreams]] instead",
            )
        seen.add(model.name)
        yield from _model(index, model)


def _model(index: int, model: ModelSettings) -> Iterator[Finding]:
    if model.name == TEST_MODEL:
        yield Finding(("models", index, "name"), "that name belongs to the built-in test model")
    if not model.upstreams and not model.builtin:
        yield Finding(
            ("models", index, "upstreams"),
            "a model needs at least one [[models.upstreams]] with a url, or a builtin",
        )
    if model.upstreams and model.builtin:
        yield Finding(
            ("models", index, "builtin"), "the model has upstreams too: keep one of the two"
        )
    if allows_nothing(model.compute_regions):
        yield Finding(
            ("models", index, "compute_regions"),
            "it excludes every region that it names: take the exclusions or the names out",
        )


_CERTIFICATES = ("ca", "client_certificate", "client_key")


def _certificates(settings: Settings) -> Iterator[Finding]:
    for at, upstream in _upstreams(settings):
        given = [name for name in _CERTIFICATES if getattr(upstream, name) is not None]
        if given and urlsplit(upstream.url).scheme != "https":
            yield Finding((*at, given[0]), "the url is no https, where alone it is used")
        elif upstream.client_key and not upstream.client_certificate:
            yield Finding((*at, "client_key"), "there is no client_certificate to go with it")


def _proxies(settings: Settings) -> Iterator[Finding]:
    for at, upstream in _upstreams(settings):
        if upstream.proxy is None:
            name = "proxy_auth_env" if upstream.proxy_auth_env else "proxy_auth"
            if getattr(upstream, name) is not None:
                yield Finding((*at, name), "there is no proxy to go with it")
        elif upstream.transport is not TransportKind.AIOHTTP:
            yield Finding(
                (*at, "proxy"),
                'only the transport "aiohttp" knows proxies: set transport = "aiohttp" beside it',
            )


def _upstreams(settings: Settings) -> Iterator[tuple[Keys, UpstreamSettings]]:
    for index, model in enumerate(settings.models):
        for number, upstream in enumerate(model.upstreams):
            yield ("models", index, "upstreams", number), upstream


def _secret_problem(upstream: UpstreamSettings, secret: str, env: Mapping[str, str]) -> str | None:
    name = getattr(upstream, f"{secret}_env")
    if name is None:
        return None
    if getattr(upstream, secret):
        return f"{secret} is set too: keep one of the two"
    if not env.get(name):
        return f"the environment variable {name} is not set: set it, or take this line out"
    is_good, fault = UPSTREAM_SECRETS[secret]
    return None if is_good(env[name]) else f"the environment variable {name} holds {fault}"
