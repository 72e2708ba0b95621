"""Options of the server: name, default, meaning and environment variable PARARNN_<NAME>."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from pararnn_server.settings.environment import PREFIX, option_name, usable_value
from pararnn_server.settings.paths import printable, user_path
from pararnn_server.settings.store_address import check_store
from pararnn_server.tools.formats import FormatName

CommaList = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """Frozen. Values come from keyword arguments, then PARARNN_<NAME>, then the default."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # keys and passwords of stores are among the values
    )

    checkpoint: str | None = Field(
        None,
        description="Checkpoint to serve: a directory, or the name of one below the checkpoint directory.",
    )
    checkpoint_dir: Path | None = Field(
        None, description="Where checkpoints are looked up by name, before those that ship with the program."
    )
    model_dir: Path | None = Field(
        None,
        description="Where fetched models are kept and found by name; default: pararnn/models below the"
        " user's cache directory.",
    )
    served_model_name: CommaList = Field(
        (),
        description="Names clients may use for the model, separated by commas; answers carry the first."
        " Default: directory name.",
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Device the model runs on: cpu, or cuda where there is a GPU."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Type the weights are held in; auto keeps what the checkpoint has."
    )
    threads: int = Field(0, ge=0, le=1024, description="Threads of the native kernels; 0 means one per core.")

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback needs keys.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="How much is logged."
    )

    max_connections: int = Field(
        2048,
        ge=1,
        le=1 << 20,
        description="Open connections; one more ends the one that has waited for its client the longest.",
    )
    max_head_bytes: int = Field(
        16 << 10, ge=1024, le=1 << 20, description="Largest URL and headers of a request; larger is a 431."
    )
    max_headers: int = Field(100, ge=16, le=10_000, description="Most headers of a request; more is a 431.")
    head_timeout_seconds: float = Field(
        10.0, gt=0, description="Longest time for the URL and headers of a request; later is a 408."
    )
    keep_alive_seconds: float = Field(
        75.0, gt=0, description="How long a connection stays open between two requests."
    )

    max_num_seqs: int = Field(64, ge=1, le=65536, description="State slots: requests that run at once.")
    max_num_batched_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens in one step while nobody else waits for one; default: 512 on a CPU, 2048 on a"
        " GPU, at least --max-num-seqs.",
    )
    max_decode_slowdown: float = Field(
        1.5,
        ge=1,
        description="Longest step in which others generate while prompts are read, as a multiple of the one"
        " that follows.",
    )
    max_queue: int = Field(1024, ge=0, description="Requests that may wait for a slot; one more gets a 429.")
    max_queue_bytes: int = Field(
        64 << 20,
        ge=1 << 16,
        description="Memory for the token ids of prompts that wait or run, 12 bytes an id, and for states in"
        " their compaction items, shared by keys;"
        " more is a 429.",
    )
    queue_timeout_seconds: float = Field(60.0, gt=0, description="Longest wait for a slot before a 429.")
    request_timeout_seconds: float = Field(
        3600.0, gt=0, description="Longest life of a request; a request's own timeout can only be shorter."
    )
    ready_stall_seconds: float = Field(
        10.0,
        gt=0,
        description="Time for which the event loop or the store's thread may be stalled before /ready is"
        " a 503.",
    )
    drain_seconds: float = Field(30.0, ge=0, description="Time that running requests have after SIGTERM.")

    max_prompt_tokens: int = Field(1_000_000, ge=1, description="Longest prompt, in tokens; longer is a 400.")
    max_output_tokens: int = Field(131_072, ge=1, description="Largest max_tokens; more is a 400.")
    max_choices: int = Field(64, ge=1, le=1024, description="Largest n; more is a 400.")
    max_prompts: int = Field(256, ge=1, le=4096, description="Most prompts in one request; more is a 400.")
    max_body_bytes: int = Field(
        32 << 20, ge=1024, description="Largest request body, counted while it is read; larger is a 413."
    )
    max_answer_bytes: int = Field(
        32 << 20,
        ge=1 << 16,
        description="About the largest answer, estimated from n, logprobs, echo, prompts and max_tokens; more"
        " is a 400. A stream counts only the parts of prompts in it.",
    )
    max_body_values: int = Field(
        1_500_000,
        ge=1000,
        description="Most values in a request body, a list or an object counting as 16; more is a 400.",
    )
    max_messages: int = Field(
        2048, ge=1, le=100_000, description="Most messages or input items in a request; more is a 400."
    )
    max_tools: int = Field(
        128, ge=1, le=4096, description="Most tools in a request, and calls in a message; more is a 400."
    )
    max_tools_bytes: int = Field(
        256 << 10, ge=1024, description="Most bytes of the tools of a request, as JSON; more is a 400."
    )
    max_inflight_body_bytes: int = Field(
        64 << 20,
        ge=1024,
        description="Bytes of request bodies in memory at once, at least two of the largest; more is a 429.",
    )
    body_timeout_seconds: float = Field(
        20.0, gt=0, description="Time in which a body must bring 64 KiB or its end; slower is a 408."
    )

    tool_format: FormatName = Field(
        "auto",
        description="Format in which the model writes calls of tools; auto takes the one in which the chat"
        " template shows them.",
    )
    template_seconds: float = Field(
        2.0, gt=0, le=3600, description="CPU time the chat template may take for one request; more is a 400."
    )
    template_memory_bytes: int = Field(
        256 << 20,
        ge=16 << 20,
        description="Memory of a process that renders chat templates; a prompt may have an eighth as many"
        " characters, more is a 400.",
    )
    max_template_kwargs_bytes: int = Field(
        16 << 10, ge=0, description="Most bytes of JSON in chat_template_kwargs of a request; more is a 400."
    )

    max_grammar_bytes: int = Field(
        64 << 10,
        ge=1024,
        le=16 << 20,
        description="Largest grammar or JSON schema that a reply must follow; larger is a 400.",
    )
    grammar_cache_bytes: int = Field(
        32 << 20,
        ge=0,
        description="Memory for compiled grammars that later requests may use again, in equal shares for the"
        " keys; 0: none.",
    )

    state_cache_bytes: int = Field(
        256 << 20,
        ge=0,
        description="Memory for states that later prompts may begin with, in equal shares for the keys;"
        " 0: none.",
    )
    state_cache_interval: int = Field(
        1024, ge=1, description="Tokens of a long prompt between two states that are kept."
    )

    max_sessions: int = Field(
        10_000,
        ge=1,
        description="Sessions and responses kept at once, in equal shares for the keys; one more gets a 429.",
    )
    store: str = Field(
        "sqlite",
        repr=False,  # the address may hold a password
        description="Where sessions are kept: sqlite, memory (gone with the process), or redis://host:port/db.",
    )
    data_dir: Path | None = Field(
        None, description="Directory of the sqlite store; default: pararnn below the user's state directory."
    )
    store_reserve_bytes: int = Field(
        16 << 20,
        ge=0,
        description="Bytes of disk beside the sqlite store that are given up on a full disk, so that sessions"
        " can be deleted; 0: none.",
    )
    host_state_bytes: int = Field(
        1 << 30,
        ge=0,
        description="Memory for states of waiting sessions, in equal shares for the keys; beyond it they are"
        " read from the store.",
    )
    rollback_turns: int = Field(4, ge=0, le=256, description="Turns of a session that can be undone.")
    max_session_snapshots: int = Field(16, ge=0, le=1024, description="Named snapshots one session may have.")
    session_ttl_seconds: float | None = Field(
        86_400.0, gt=0, description="Life of an unused session, unless it names its own."
    )

    response_ttl_seconds: float = Field(
        30 * 86_400.0, gt=0, description="How long a response is stored unless it is deleted."
    )

    seal_secret_file: Path | None = Field(
        None,
        description="File of secrets that seal compaction items, one a line; the first seals, all open; #"
        " starts a comment. Default: a random one, and items end with the process.",
    )
    compaction_ttl_seconds: float = Field(
        30 * 86_400.0, ge=0, description="Life of a compaction item; 0: for ever."
    )
    max_compaction_bytes: int = Field(
        8 << 20,
        ge=1024,
        description="Largest encrypted_content of a compaction item; a larger state is a 400.",
    )

    key_max_requests: int = Field(
        0, ge=0, description="Requests one key may have under way at once; 0 is no limit."
    )
    key_requests_per_minute: int = Field(
        0, ge=0, description="Requests one key may start in a minute; 0 is no limit."
    )
    key_tokens_per_minute: int = Field(
        0, ge=0, description="Tokens of prompts and replies one key may take in a minute; 0 is no limit."
    )
    key_max_inflight_body_bytes: int = Field(
        48 << 20,
        ge=1024,
        description="Bytes of one key's request bodies in memory at once; more is a 429.",
    )
    key_max_store_bytes: int = Field(
        0, ge=0, description="Bytes all rows of one key may take in the store; 0 is no limit."
    )
    key_max_sessions: int = Field(
        0, ge=0, description="Sessions and responses one key may keep; 0 is no limit."
    )

    monitor_interval_seconds: float = Field(
        0.25, ge=0.05, le=60.0, description="Time between two events of /v1/monitor."
    )
    max_monitors: int = Field(
        16,
        ge=1,
        le=1024,
        description="Streams of /v1/monitor that one key, or the admin key, may have open;"
        " one more gets a 429.",
    )

    stream_ping_seconds: float = Field(
        10.0, gt=0, description="Silence after which a stream sends a comment."
    )
    stream_max_lag_bytes: int = Field(
        1 << 20, ge=4096, description="Unread bytes after which a stream is aborted."
    )
    stream_max_lag_seconds: float = Field(
        30.0, gt=0, description="Time a reader may take no bytes before its stream is aborted."
    )

    keys_file: Path | None = Field(
        None, description="File of API keys, one 'name:key' per line; # starts a comment."
    )
    api_keys: SecretStr | None = Field(None, description="API keys as 'name:key', separated by commas.")
    admin_key: SecretStr | None = Field(
        None,
        description="Key for /metrics and /v1/admin when API keys are set; /v1/monitor shows it all keys.",
    )
    allow_anonymous: bool = Field(
        False, description="Without keys, also listen beyond loopback and accept any Host header."
    )
    cors_origin: CommaList = Field(
        (), description="Origins a browser may call from, separated by commas; none: off."
    )
    page: bool = Field(True, description="Answer browsers at / with a page for chats, forks and memory.")

    @field_validator("served_model_name")
    @classmethod
    def _names_fit(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if any(len(name) > 256 for name in names):
            raise ValueError("a name has at most 256 characters")
        # Listed twice, a name would look like two models.
        return tuple(dict.fromkeys(names))

    @field_validator("cors_origin", "served_model_name", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            # A variable may hold bytes that are no UTF-8, and answers carry these names.
            tuple(part.strip() for part in printable(value).split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("checkpoint_dir", "model_dir", "data_dir", "keys_file", "seal_secret_file", mode="after")
    @classmethod
    def _expand_home(cls, path: Path | None) -> Path | None:
        return None if path is None else user_path(path)

    @field_validator("checkpoint", mode="after")
    @classmethod
    def _expand_home_of_a_name(cls, name: str | None) -> str | None:
        # Not `Path`: a bare name is looked up in several folders.
        return str(user_path(name)) if name is not None and name.startswith("~") else name

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, store: str) -> str:
        check_store(store)
        return store

    @model_validator(mode="after")
    def _step_holds_every_reply(self) -> Settings:
        # Every running reply takes one token of each step.
        if self.max_num_batched_tokens is not None and self.max_num_batched_tokens < self.max_num_seqs:
            name = option_name("max_num_batched_tokens")
            raise ValueError(f"{name}: must be at least --max-num-seqs, {self.max_num_seqs}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keyword arguments, then the environment; no files."""
        return init_settings, _Environment(settings_cls)


class _Environment(EnvSettingsSource):
    """Variables PARARNN_<NAME> without those that Kubernetes sets."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__().items()
        values = ((name, usable_value(value) if isinstance(value, str) else value) for name, value in found)
        # Compose files pass variables that are not set as empty text.
        return {name: value for name, value in values if value not in (None, "")}
