"""A loaded model to a running engine with its sessions."""

from __future__ import annotations

import asyncio
import logging
import time

from pararnn_core.checkpoint.checkpoint_text import DEFAULT_TEMPLATE
from pararnn_core.device.graphs import BUCKETS
from pararnn_core.models.base import ServingModel
from pararnn_core.models.pararnn.device_memory import free_bytes, pool_size
from pararnn_core.state import parts_bytes
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.engine.engine import Engine
from pararnn_server.engine.outputs import OutputDispatcher
from pararnn_server.engine.settings import EngineSettings
from pararnn_server.grammars.compiler import GrammarCompiler, GrammarLimits
from pararnn_server.metrics.metrics import Metrics
from pararnn_server.models.chat_readahead import ChatReadahead
from pararnn_server.models.loading import Loaded
from pararnn_server.models.served_model import ServedModel
from pararnn_server.models.service import Service
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.manager import SessionManager
from pararnn_server.sessions.model_kind import ModelKind, model_kind
from pararnn_server.sessions.policy import SessionPolicy
from pararnn_server.sessions.stores.open_store import open_store
from pararnn_server.settings.environment import option_name
from pararnn_server.settings.server_settings import Settings
from pararnn_server.text.chat_prompt import ChatPrompts
from pararnn_server.text.chat_template import ChatTemplate
from pararnn_server.text.prompts import PromptReader
from pararnn_server.text.template_renderer import TemplateFailed
from pararnn_server.text.tokenizer import TokenizerError

# The name that transformers has for the template of conversations with tools.
TOOL_TEMPLATE = "tool_use"
_GRAPHS = 3
"""Decodes of all slots whose working memory is counted: graphs of several sizes keep theirs for good."""

logger = logging.getLogger(__name__)


def start(
    service: Service, loaded: Loaded, template: ChatTemplate | None, beside: SessionManager | None = None
) -> ServedModel:
    """Start the threads of an engine and, for the first model, of the store; for the event loop only.

    template: as `read_chat_template` gives it. beside: the sessions of a model that is served already.
    Raises ConfigurationError for a store that cannot be opened and for a device without room for states.
    """
    settings, num_owners, metrics = (
        service.settings,
        len(service.keys.names),
        service.metrics.of_model(loaded.name),
    )
    chat = ChatPrompts(loaded.tokenizer, template, settings.tool_format)
    kind = kind_of(loaded, template)
    sessions = _open_sessions(kind, service, metrics) if beside is None else beside.of_model(kind, metrics)
    # The weights are on the device by now, so what is free is left for states.
    slots, device_type = num_slots(loaded.model, settings), loaded.model.device.type
    engine_settings = _engine_settings(settings, num_owners, slots, device_type)
    tokenizer = loaded.tokenizer
    engine = Engine(
        loaded.model, tokenizer.token_bytes, tokenizer.special_ids, engine_settings, sessions, metrics
    )
    engine.start()
    return ServedModel(
        names=loaded.names,
        system_fingerprint=sessions.kind.system_fingerprint,
        created=int(time.time()),
        weight_bytes=loaded.model.weight_bytes,
        state_bytes=parts_bytes(loaded.model.state_parts),
        # A key and a value of each layer, 2 bytes a number.
        transformer_token_bytes=4 * loaded.model.config.num_hidden_layers * loaded.model.config.hidden_size,
        tokenizer=loaded.tokenizer,
        prompts=PromptReader(loaded.tokenizer, settings.max_prompt_tokens),
        chat=chat,
        grammars=_grammars(loaded, settings, num_owners),
        stop_token_ids=loaded.stop_token_ids,
        sampling_defaults=loaded.sampling_defaults,
        engine=engine,
        sessions=sessions,
        dispatcher=OutputDispatcher(asyncio.get_running_loop()),
        readahead=ChatReadahead(chat, engine) if engine_settings.state_cache_bytes_per_key else None,
    )


def _grammars(loaded: Loaded, settings: Settings, num_owners: int) -> GrammarCompiler:
    eos_token_id = loaded.model.config.eos_token_id
    ends = () if eos_token_id is None else (eos_token_id,)
    limits = GrammarLimits(
        max_bytes=settings.max_grammar_bytes,
        # P6: the grammars of one key never displace those of another.
        cache_bytes_per_key=settings.grammar_cache_bytes // num_owners,
    )
    # After the chat template is known: it may hide more tokens from replies.
    return GrammarCompiler(loaded.tokenizer, (*ends, *loaded.stop_token_ids), limits)


def kind_of(loaded: Loaded, template: ChatTemplate | None) -> ModelKind:
    """Return the kind of a loaded model, as session files name it."""
    model = loaded.model
    return model_kind(
        loaded.name,
        model.config,
        model.state_parts,
        model.fingerprint,
        loaded.tokenizer.fingerprint,
        model.device.type,
        None if template is None else template.source,
    )


def _open_sessions(kind: ModelKind, service: Service, metrics: Metrics) -> SessionManager:
    settings, store = service.settings, open_store(service.settings)
    policy = session_policy(settings, len(service.keys.names))
    sessions = SessionManager(Ledger(store, kind, policy, metrics))
    sessions.start()
    # `/ready` reports a store that does not move, such as one on a hung disk.
    sessions.writer.heartbeat = service.store_heartbeat
    return sessions


def session_policy(settings: Settings, num_owners: int) -> SessionPolicy:
    """Return the limits of one key: limits of the whole server are divided equally among the keys."""
    max_sessions = max(1, settings.max_sessions // num_owners)
    return SessionPolicy(
        max_sessions=min(max_sessions, settings.key_max_sessions or max_sessions),
        max_bytes=settings.key_max_store_bytes,
        rollback_turns=settings.rollback_turns,
        max_snapshots=settings.max_session_snapshots,
        # P6: the states of one key never displace those of another.
        host_state_bytes=settings.host_state_bytes // num_owners,
    )


def step_tokens(settings: Settings, device_type: str) -> int:
    """Tokens of one step. On a GPU more, or the host would launch kernels for longer than they run."""
    if settings.max_num_batched_tokens is not None:
        return settings.max_num_batched_tokens
    return max(settings.max_num_seqs, 512 if device_type == "cpu" else 2048)


def num_slots(model: ServingModel, settings: Settings) -> int:
    """Requests that run at once: on a CPU as many as are asked for, on a GPU no more than its memory holds.

    Raises ConfigurationError if it holds not even one.
    """
    asked = settings.max_num_seqs
    if model.device.type == "cpu":
        return asked
    rows = step_tokens(settings, model.device.type) + _GRAPHS * min(asked, BUCKETS[-1])
    working = model.step_bytes(rows)
    try:
        # A second one is the copy that stays while the next step is under way.
        bytes_per_slot = 2 * parts_bytes(model.state_parts)
        size = pool_size(free_bytes(model.device), working, bytes_per_slot, asked, spare=1)
    except ValueError as error:
        raise ConfigurationError(f"{option_name('max_num_batched_tokens')}: {error}") from error
    logger.info(size.explanation)
    return size.num_slots


def _engine_settings(
    settings: Settings, num_owners: int, max_num_seqs: int, device_type: str
) -> EngineSettings:
    return EngineSettings(
        max_num_seqs=max_num_seqs,
        num_owners=num_owners,
        max_num_batched_tokens=step_tokens(settings, device_type),
        max_decode_slowdown=settings.max_decode_slowdown,
        max_queue=settings.max_queue,
        max_queue_bytes=settings.max_queue_bytes,
        queue_timeout=settings.queue_timeout_seconds,
        # An equal share also while others are idle: else misses would show that they work.
        state_cache_bytes_per_key=settings.state_cache_bytes // num_owners,
        state_cache_interval=settings.state_cache_interval,
    )


def read_chat_template(loaded: Loaded) -> ChatTemplate | None:
    """Compile and try the chat template, in another process. None where the checkpoint has none.

    Raises TokenizerError for one that is no template, or takes too much for a short chat.
    """
    templates = loaded.tokenizer.chat_templates
    source = templates.get(DEFAULT_TEMPLATE)
    if source is None:
        if templates:
            names = ", ".join(sorted(templates))
            logger.warning("the chat templates %s cannot be used: none is called default", names)
        return None
    try:
        tool_source = templates.get(TOOL_TEMPLATE)
        return ChatTemplate(source, loaded.tokenizer.named_tokens, loaded.renderer, tool_source)
    except TemplateFailed as error:
        raise TokenizerError(f"the chat template cannot be used: {error}") from error
