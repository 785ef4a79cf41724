"""The settings: every section, its fields, their defaults and what they mean.

Values only, frozen: where they come from is ``loading``'s business, and rules
between two fields are ``checks``'. The descriptions are the reference manual;
``docs/reference/settings.md`` is generated from them.
"""

from collections.abc import Mapping
from datetime import tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    SerializationInfo,
    field_serializer,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from batchmill.config.units import (
    MASK,
    BucketUrl,
    Count,
    DatabaseUrl,
    Flag,
    Folder,
    Host,
    Hosts,
    Kind,
    Label,
    Login,
    Options,
    Pause,
    PemFile,
    Port,
    ProxyUrl,
    RegionName,
    RegionRule,
    RequestRate,
    Seconds,
    Secret,
    Size,
    Tally,
    Timezone,
    TomlFile,
    Url,
    Variable,
    Weight,
    WholeSeconds,
    format_seconds,
    is_loopback,
    is_served,
    parse_seconds,
    read_timezone,
)
from batchmill.domain.allowance import Allowance
from batchmill.domain.catalog import ANY_MODEL, ENDPOINTS, TEST_ENDPOINT, TEST_MODEL, Catalog
from batchmill.domain.limits import MB, PROFILES, Limits, Profile
from batchmill.domain.rates import Rate, RateRule
from batchmill.domain.regions import ANYWHERE, may_compute

ENV_PREFIX = "BATCHMILL_"
ENV_DELIMITER = "__"
SERVED_ENDPOINTS = tuple(endpoint for endpoint in ENDPOINTS if endpoint != TEST_ENDPOINT)

Anything = TypeVar("Anything")


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks; ``auto`` is text on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


def _folded(value: Anything) -> Anything | str:
    return value.lower() if isinstance(value, str) else value


def _known_endpoint(value: str) -> str:
    if value not in SERVED_ENDPOINTS:
        raise ValueError("endpoint")
    return value


Endpoints = Annotated[
    tuple[Annotated[str, BeforeValidator(_known_endpoint)], ...],
    Field(min_length=1),
    Kind(f"a list of one or more of {', '.join(SERVED_ENDPOINTS)}", ", ".join),
]


def mask(secret: SecretStr | None, info: SerializationInfo) -> str | None:
    """The secret itself for whoever may see it, asterisks for everybody else."""
    if secret is None:
        return None
    return secret.get_secret_value() if (info.context or {}).get("secrets") else MASK


class Section(BaseModel):
    """A frozen table of settings that refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(Section):
    """``[server]``: where batchmill listens."""

    host: Host = Field(
        default="127.0.0.1",
        description="Address to listen on. Any but a loopback address needs keys.",
    )
    port: Port = Field(default=8080, description="Port to listen on; 0 takes any free one.")
    allowed_hosts: Hosts = Field(
        default=(),
        description="`Host` header values to accept besides localhost and loopback addresses, "
        "as a reverse proxy may send them.",
    )
    require_keys: Flag = Field(
        default=False,
        description="Whether every request needs a key on a loopback address too. Without it "
        "whoever reaches the server is the operator, and keys mean nothing.",
    )
    upload_idle_timeout: Seconds = Field(
        default=60.0, description="An upload that sends nothing for so long is given up."
    )


class DataSettings(Section):
    """``[data]``: where everything is kept."""

    dir: Folder = Field(
        default=Path("./batchmill-data"),
        description="Folder of the database, the files and the journal; made where missing. "
        "A relative path starts at the working directory.",
    )
    database: DatabaseUrl | None = Field(
        default=None,
        description="Where the database is, such as `postgresql://batchmill@db.internal/batchmill`;"
        " a SQLite file in the folder if absent. Better name a variable in `database_env` where "
        "the URL holds a password.",
    )
    database_env: Variable | None = Field(
        default=None, description="Environment variable that holds the URL of the database."
    )
    blobs: BucketUrl | None = Field(
        default=None,
        description="Where the bytes of files and the journal are, such as `s3://bucket/prefix`; "
        "the folder if absent.",
    )
    blob_options: Options = Field(
        default={},
        description="What the object store needs to be told besides, such as `endpoint` or "
        "`region`. Its keys and secrets are read from the environment, as `AWS_ACCESS_KEY_ID`.",
    )
    region: RegionName | None = Field(
        default=None,
        description="Where this deployment keeps its data, and computes the built-in models.",
    )

    @property
    def is_shared(self) -> bool:
        """Whether several machines may work over the database."""
        return self.database is not None and is_served(self.database.get_secret_value())

    @field_serializer("database")
    def _masked(self, url: SecretStr | None, info: SerializationInfo) -> str | None:
        return mask(url, info)


class TransportKind(StrEnum):
    """What sends the requests to an upstream."""

    HTTPTOOLS = "httptools"
    AIOHTTP = "aiohttp"


class UpstreamSettings(Section):
    """``[[models.upstreams]]``: one model server."""

    url: Url = Field(description="Base URL of the server, such as `http://10.0.0.5:8000/v1`.")
    api_key_env: Variable | None = Field(
        default=None, description="Environment variable that holds the server's key."
    )
    api_key: Secret | None = Field(
        default=None,
        description="The key itself. Better not: name a variable in `api_key_env`, "
        "so that no secret stands in a file.",
    )
    model: Label | None = Field(
        default=None, description="Model name to send to this server; the line's own if absent."
    )
    region: RegionName | None = Field(
        default=None,
        description="Where the server computes; the model's `compute_regions` must allow it.",
    )
    max_in_flight: Count | None = Field(
        default=None,
        description="Most requests that wait for an answer of this server at once. If absent it "
        "is found out by what the server delivers and rejects.",
    )
    weight: Weight = Field(
        default=1.0, description="Share of the model's lines, relative to its other upstreams."
    )
    connect_timeout: Seconds = Field(default=10.0, description="Longest wait for a connection.")
    request_timeout: Seconds = Field(
        default=600.0, description="Longest wait for a whole answer, from the first byte sent."
    )
    first_byte_timeout: Seconds | None = Field(
        default=None,
        description="Longest wait for an answer to begin. A server that does not stream begins "
        "when it has the whole of it.",
    )
    max_answer_bytes: Size = Field(
        default=64 * MB, description="A larger answer is a failure of its line."
    )
    ca: PemFile | None = Field(
        default=None,
        description="Authorities that may vouch for the server's certificate, besides those that "
        "the machine has.",
    )
    client_certificate: PemFile | None = Field(
        default=None, description="Certificate that is shown to a server which asks for one."
    )
    client_key: PemFile | None = Field(
        default=None,
        description="Key of `client_certificate`, without a passphrase; in the same file if "
        "absent.",
    )
    transport: Annotated[TransportKind, Kind(" or ".join(TransportKind))] = Field(
        default=TransportKind.HTTPTOOLS,
        description="What sends the requests: `httptools` is batchmill's own client; `aiohttp` "
        "costs several times the CPU, goes through proxies, and needs "
        '`pip install "batchmill[aiohttp]"`.',
    )
    proxy: ProxyUrl | None = Field(
        default=None,
        description="Proxy through which the server is reached; `aiohttp` alone knows them. "
        "`HTTPS_PROXY` and other variables are not read.",
    )
    proxy_auth_env: Variable | None = Field(
        default=None,
        description="Environment variable that holds `user:password` for the proxy.",
    )
    proxy_auth: Login | None = Field(
        default=None,
        description="The same itself. Better name a variable in `proxy_auth_env`.",
    )

    @field_serializer("api_key", "proxy_auth")
    def _masked(self, key: SecretStr | None, info: SerializationInfo) -> str | None:
        return mask(key, info)


class ModelSettings(Section):
    """``[[models]]``: one model as clients see it, with the servers behind it."""

    name: Label = Field(description="What clients write in `body.model`.")
    endpoints: Endpoints = Field(
        default=("/v1/chat/completions",), description="Endpoints on which the model answers."
    )
    upstreams: Annotated[
        tuple[UpstreamSettings, ...], Kind("a list of tables, [[models.upstreams]] in the file")
    ] = Field(default=(), description="The model's servers, one or more.")
    builtin: Annotated[Literal["smollm2"] | None, Kind("smollm2")] = Field(
        default=None, description="The model that runs in this process, instead of upstreams."
    )
    compute_regions: RegionRule = Field(
        default=(ANYWHERE,),
        description="Where the model's lines may be computed: names of regions, `*` for every one, "
        "`!name` for one that is excluded, in any order. No line is sent to an upstream elsewhere. "
        "An upstream that names no region is allowed by `*` alone, without any exclusion.",
    )
    max_unfinished_lines: Count | None = Field(
        default=None,
        description="Lines of this model that an account may have under way; what is above waits "
        "its turn.",
    )
    max_unfinished_tokens: Count | None = Field(
        default=None,
        description="The same in input tokens, estimated from the size of the lines.",
    )

    def allowed_upstreams(self) -> tuple[UpstreamSettings, ...]:
        """The servers that its lines may be sent to."""
        return tuple(one for one in self.upstreams if self.may_compute(one.region))

    def may_compute(self, region: str | None) -> bool:
        """Whether its lines may be computed there; None is a place without a name."""
        return may_compute(self.compute_regions, region or "")


class PriceSettings(Section):
    """``[prices]``: what models cost."""

    file: TomlFile | None = Field(
        default=None,
        description="The price table; `batchmill prices --example` prints one. Without it "
        "nothing is priced. It is read when the server starts.",
    )


class RateSettings(Section):
    """``[rates]``: requests of an account, as `1000/m` or `3/s`.

    Without keys on a loopback address only those count that are set.
    """

    batch_create: RequestRate = Field(
        default=Rate(1_000, 60.0), description="Batches that are created."
    )
    batch_retrieve: RequestRate = Field(
        default=Rate(1_000, 60.0), description="Batches that are looked at, one at a time."
    )
    batch_list: RequestRate = Field(default=Rate(100, 60.0), description="Pages of batches.")
    batch_cancel: RequestRate = Field(
        default=Rate(1_000, 60.0), description="Batches that are cancelled."
    )
    file_upload: RequestRate = Field(
        default=Rate(3, 1.0), description="Files and parts that are uploaded."
    )
    file_other: RequestRate = Field(
        default=Rate(10, 1.0), description="Files that are looked at, listed or deleted."
    )
    sign_in: RequestRate = Field(
        default=Rate(10, 60.0),
        description="Attempts to sign in to the console, from one address.",
    )

    def to_rates(self, *, only_set: bool) -> Mapping[RateRule, Rate]:
        """The rates in force; with ``only_set`` those alone that some source has set."""
        names = self.model_fields_set if only_set else set(RateRule)
        return {rule: getattr(self, rule) for rule in RateRule if rule in names}


class WebhookSettings(Section):
    """``[webhooks]``: who is told when a batch ends."""

    allow_private: Flag = Field(
        default=False,
        description="Whether receivers may have private, loopback or link-local addresses.",
    )
    timeout: Seconds = Field(default=10.0, description="Longest wait for a receiver's answer.")
    give_up_after: WholeSeconds = Field(
        default=72 * 3600, description="How long a delivery is tried again."
    )


class ConsoleSettings(Section):
    """``[console]``: the pages at `/console`."""

    enabled: Flag = Field(default=True, description="Whether the console is served.")
    session_ttl: WholeSeconds = Field(
        default=12 * 3600, description="How long after signing in a session ends."
    )


_QWEN = PROFILES[Profile.QWEN]


class LimitSettings(Section):
    """``[limits]``: what a request is measured against; the profile sets the defaults."""

    max_lines: Count = Field(default=_QWEN.max_lines, description="Lines in an input file.")
    max_file_bytes: Size = Field(
        default=_QWEN.max_file_bytes, description="Size of an uploaded file."
    )
    max_line_bytes: Size = Field(default=_QWEN.max_line_bytes, description="Size of one line.")
    max_custom_id_chars: Count = Field(
        default=_QWEN.max_custom_id_chars, description="Characters in a `custom_id`."
    )
    max_files: Count = Field(default=_QWEN.max_files, description="Files that an account keeps.")
    max_total_bytes: Size = Field(
        default=_QWEN.max_total_bytes, description="Bytes of all files that an account keeps."
    )
    max_upload_bytes: Size = Field(
        default=_QWEN.max_upload_bytes, description="Size of an upload in parts."
    )
    max_part_bytes: Size = Field(
        default=_QWEN.max_part_bytes, description="Size of one part of an upload."
    )
    upload_ttl: WholeSeconds = Field(
        default=_QWEN.upload_ttl, description="Time in which an upload in parts must be completed."
    )
    max_unfinished_batches: Count = Field(
        default=_QWEN.max_unfinished_batches, description="Unfinished batches of an account."
    )
    test_model_max_file_bytes: Size = Field(
        default=_QWEN.test_model_max_file_bytes,
        description=f"Size of an input file for `{TEST_MODEL}`.",
    )
    test_model_max_lines: Count = Field(
        default=_QWEN.test_model_max_lines,
        description=f"Lines in an input file for `{TEST_MODEL}`.",
    )
    test_model_max_unfinished: Count = Field(
        default=_QWEN.test_model_max_unfinished,
        description=f"Unfinished batches of an account for `{TEST_MODEL}`.",
    )
    completion_window_min: WholeSeconds = Field(
        default=_QWEN.completion_window_min, description="Shortest `completion_window`."
    )
    completion_window_max: WholeSeconds = Field(
        default=_QWEN.completion_window_max, description="Longest `completion_window`."
    )
    expires_after_min: WholeSeconds = Field(
        default=_QWEN.expires_after_min, description="Shortest life of a file that sets one."
    )
    expires_after_max: WholeSeconds = Field(
        default=_QWEN.expires_after_max, description="Longest life of a file that sets one."
    )
    list_days: Count = Field(
        default=_QWEN.list_days, description="Days that lists of batches reach back."
    )
    max_errors: Count = Field(
        default=_QWEN.max_errors, description="Faults of an input file that a batch lists."
    )
    max_embedding_inputs: Count = Field(
        default=_QWEN.max_embedding_inputs, description="Embedding inputs in all lines of a file."
    )

    def to_limits(self) -> Limits:
        """The value that the domain's rules read."""
        return Limits(**self.model_dump())


class EngineSettings(Section):
    """``[engine]``: how batches are worked off."""

    shard_lines: Count = Field(
        default=2_000,
        description="Most lines in a shard. It has fewer where its model has few slots: eight for "
        "each, but 500 at least; a worker of a cluster is reckoned to have a quarter of them.",
    )
    shard_bytes: Size = Field(default=8 * MB, description="Most bytes in a shard.")
    sync_interval: Pause = Field(
        default=0.02, description="Results are made durable in groups, one so often."
    )
    max_bytes_in_flight: Size = Field(
        default=24 * MB, description="Most bytes of request bodies under way at once, of one model."
    )
    cancel_grace: Pause = Field(
        default=60.0, description="How long a cancelled batch waits for requests under way."
    )
    stop_grace: Pause = Field(
        default=30.0, description="How long a stopping server waits for requests under way."
    )
    max_attempts: Count = Field(
        default=5, description="Most attempts at a line that an upstream fails to answer."
    )
    max_rejections: Tally = Field(
        default=100, description="How many 429 answers a line may get besides its attempts."
    )
    backoff_base: Seconds = Field(
        default=0.5, description="Bound of the first pause before a retry; it doubles each time."
    )
    backoff_cap: Seconds = Field(
        default=60.0, description="The bound of the pause before a retry never passes this."
    )
    poll_interval: Seconds = Field(
        default=1.0, description="How often the engine looks for work unasked."
    )


class ClusterKind(StrEnum):
    """Where the dispatcher and the workers live."""

    LOCAL = "local"
    RAY = "ray"


class RayAuth(StrEnum):
    """How a Ray cluster is entered."""

    TOKEN = "token"  # noqa: S105 - the word, not one
    NONE = "none"


# Below that a busy machine would be taken for a dead one.
_LEAST_FENCE_SECONDS = 5.0

Silence = Annotated[
    float,
    BeforeValidator(parse_seconds),
    Field(ge=_LEAST_FENCE_SECONDS, le=3_600.0),
    Kind("a number of seconds from 5 to 3600, or one with s, m or h", format_seconds),
]


class ClusterSettings(Section):
    """``[cluster]``: where batches are worked off."""

    kind: Annotated[ClusterKind, Kind(" or ".join(ClusterKind))] = Field(
        default=ClusterKind.LOCAL,
        description="`local` is a process beside the server; `ray` is an existing Ray cluster, on "
        "which `batchmill cluster start` puts the dispatcher and a worker for each node.",
    )
    address: Label = Field(
        default="auto",
        description="Address of the Ray cluster's head, such as `10.0.0.5:6379`; `auto` is the "
        "cluster of this machine. `batchmill cluster` runs on one of its nodes.",
    )
    auth: Annotated[RayAuth, Kind(" or ".join(RayAuth))] = Field(
        default=RayAuth.TOKEN,
        description="`token` needs the cluster's token in `RAY_AUTH_TOKEN`, in a file that "
        "`RAY_AUTH_TOKEN_PATH` names, or in `~/.ray/auth_token`. With `none` whoever reaches the "
        "cluster can run anything on it.",
    )
    namespace: Label = Field(
        default="batchmill",
        description="Name under which the cluster keeps this deployment's actors; deployments that "
        "share a cluster need one each.",
    )
    worker_resource: Label | None = Field(
        default=None,
        description="Custom resource of the nodes that may have a worker; all nodes if absent.",
    )
    fence_after: Silence = Field(
        default=5.0,
        description="A worker that does not answer for so long is replaced, and others run its "
        "shards.",
    )


class LogSettings(Section):
    """``[log]``: what is written to standard error."""

    level: Annotated[LogLevel, BeforeValidator(_folded), Kind("one of " + ", ".join(LogLevel))] = (
        Field(default=LogLevel.INFO, description="The least severe lines that are written.")
    )
    format: Annotated[LogFormat, Kind("one of " + ", ".join(LogFormat))] = Field(
        default=LogFormat.AUTO, description="`auto` is text on a terminal and JSON elsewhere."
    )


class Settings(BaseSettings):
    """Everything that can be set. ``Settings()`` is the defaults; it reads no environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
    )

    profile: Annotated[Profile, Kind(" or ".join(Profile))] = Field(
        default=Profile.QWEN, description="Whose rules apply where the two interfaces differ."
    )
    mixed_models: Flag = Field(
        default=False, description="Whether the lines of one file may name several models."
    )
    list_timezone: Timezone = Field(
        default="UTC", description="Time zone in which `yyyyMMddHHmmss` in list filters is read."
    )
    server: ServerSettings = ServerSettings()
    data: DataSettings = DataSettings()
    models: Annotated[
        tuple[ModelSettings, ...],
        Kind("a list of tables, [[models]] in the file, JSON in the variable"),
    ] = Field(default=(), description="The models that are served, besides the test model.")
    models_any: Flag = Field(
        default=False,
        description="Whether lines may name models that are not listed; meant for "
        "`batchmill run`, where one upstream takes them all.",
    )
    limits: LimitSettings = LimitSettings()
    rates: RateSettings = RateSettings()
    prices: PriceSettings = PriceSettings()
    cluster: ClusterSettings = ClusterSettings()
    webhooks: WebhookSettings = WebhookSettings()
    console: ConsoleSettings = ConsoleSettings()
    engine: EngineSettings = EngineSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library names all five
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the constructor is handed and nothing else: ``loading`` reads the sources."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _limits_of_profile(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = values.get("limits", {})
        if isinstance(given, Mapping):
            return {**values, "limits": {**_profile_limits(values.get("profile")), **given}}
        return values

    @property
    def needs_keys(self) -> bool:
        """Whether every request needs a key."""
        return self.server.require_keys or not is_loopback(self.server.host)

    @property
    def runs_elsewhere(self) -> bool:
        """Whether a cluster runs the batches, and no engine beside the API."""
        return self.cluster.kind is ClusterKind.RAY

    def to_rates(self) -> Mapping[RateRule, Rate]:
        """The request rates in force."""
        return self.rates.to_rates(only_set=not self.needs_keys)

    def to_limits(self) -> Limits:
        """The limits in force, as the value that the domain's rules read."""
        return self.limits.to_limits()

    def catalog(self) -> Catalog:
        """The models that some server may compute, and the test model on its own endpoint."""
        barred = self.barred_models()
        offers = {
            model.name: frozenset(model.endpoints)
            for model in self.models
            if model.name not in barred
        }
        return Catalog(
            {**offers, TEST_MODEL: frozenset({TEST_ENDPOINT})},
            self.models_any and ANY_MODEL not in barred,
            barred,
        )

    def barred_models(self) -> frozenset[str]:
        """Names of the models whose lines may be computed in no region that they have."""
        return frozenset(model.name for model in self.models if not self._is_computable(model))

    def _is_computable(self, model: ModelSettings) -> bool:
        if model.builtin is not None:
            return model.may_compute(self.data.region)
        return not model.upstreams or bool(model.allowed_upstreams())

    def allowances(self) -> Mapping[str, Allowance]:
        """How much of each model an account may have under way; models without one are absent."""
        found = {
            model.name: Allowance(model.max_unfinished_lines, model.max_unfinished_tokens)
            for model in self.models
        }
        return {name: allowance for name, allowance in found.items() if allowance.measures}

    def timezone(self) -> tzinfo:
        """The zone in which list times are read."""
        return read_timezone(self.list_timezone)


def _profile_limits(profile: object) -> dict[str, int]:
    """Where the profile's limits differ from the defaults; empty for what is no profile."""
    if profile not in tuple(Profile):
        return {}
    limits = PROFILES[Profile(str(profile))]
    names = LimitSettings.model_fields
    return {n: getattr(limits, n) for n in names if getattr(limits, n) != getattr(_QWEN, n)}
