"""Rules between settings: what each field alone cannot know.

Each rule yields the setting at fault and the rest of a sentence that begins
with its name and value. ``loading`` and ``with_models`` make errors of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchmill.config.settings import ModelSettings, Settings, UpstreamSettings
from batchmill.config.tree import Keys
from batchmill.config.units import is_header_safe
from batchmill.domain.catalog import TEST_MODEL


@dataclass(frozen=True, slots=True)
class Finding:
    """A setting that does not go with another; ``problem`` follows "but"."""

    keys: Keys
    problem: str


def find_faults(settings: Settings) -> Iterator[Finding]:
    """Everything that does not go together, worst first."""
    yield from _crossed_ranges(settings)
    yield from _models(settings.models)


def find_key_faults(settings: Settings, env: Mapping[str, str]) -> Iterator[Finding]:
    """Upstream keys that are named but not there; for settings whose keys are not filled in."""
    for at, upstream in _upstreams(settings):
        problem = _key_problem(upstream, env)
        if problem:
            yield Finding((*at, "api_key_env"), problem)


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


def _upstreams(settings: Settings) -> Iterator[tuple[Keys, UpstreamSettings]]:
    for index, model in enumerate(settings.models):
        for number, upstream in enumerate(model.upstreams):
            yield ("models", index, "upstreams", number), upstream


def _key_problem(upstream: UpstreamSettings, env: Mapping[str, str]) -> str | None:
    name = upstream.api_key_env
    if name is None:
        return None
    if upstream.api_key:
        return "api_key is set too: keep one of the two"
    if not env.get(name):
        return f"the environment variable {name} is not set: set it, or take this line out"
    if not is_header_safe(env[name]):
        return f"the environment variable {name} holds a blank or another character no key has"
    return None
