"""The clients of the table: their scripts, and the packages that they run with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Client:
    """One row of the table.

    packages: names of those that make it up, as package indexes spell them
    script: run with the packages, in the folder of its language
    """

    name: str
    packages: tuple[str, ...]
    script: str

    @property
    def is_node(self) -> bool:
        """Return True for a client in JavaScript."""
        return self.script.endswith(".mjs")

    @property
    def path(self) -> Path:
        """Return the script's file."""
        return FOLDER / ("node" if self.is_node else "python") / self.script

    @property
    def requirements(self) -> Path:
        """Return the file with the versions of a Python client's packages."""
        return self.path.with_suffix(".txt")


CLIENTS = (
    Client("openai-python", ("openai",), "with_openai.py"),
    Client("openai-node", ("openai",), "with_openai.mjs"),
    Client("anthropic-python", ("anthropic",), "with_anthropic.py"),
    Client("anthropic-node", ("@anthropic-ai/sdk",), "with_anthropic.mjs"),
    Client(
        "AI SDK",
        ("ai", "@ai-sdk/openai-compatible", "@ai-sdk/openai", "@ai-sdk/anthropic"),
        "with_ai_sdk.mjs",
    ),
    Client("LangChain", ("langchain-openai", "langchain-anthropic"), "with_langchain.py"),
    Client("pydantic-ai", ("pydantic-ai-slim",), "with_pydantic_ai.py"),
    Client("instructor", ("instructor",), "with_instructor.py"),
    Client("LiteLLM", ("litellm",), "with_litellm.py"),
    Client("AutoGen", ("autogen-ext", "autogen-agentchat", "anthropic"), "with_autogen.py"),
    Client("openai-agents", ("openai-agents",), "with_openai_agents.py"),
)
