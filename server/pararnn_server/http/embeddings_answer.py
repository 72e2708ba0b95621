"""The answer to a request for embeddings."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from starlette.types import Scope, Send

from pararnn_server.engine.embedding import Float32s
from pararnn_server.engine.generation import Generation
from pararnn_server.engine.request import Embedding, Failed
from pararnn_server.http.answer import Answer
from pararnn_server.http.formats.base import quoted
from pararnn_server.http.formats.json_parts import send_json


class EmbeddingsAnswer(Answer):
    """One JSON body with a vector for each prompt. base64: vectors are base64 instead of numbers."""

    def __init__(self, generation: Generation, model: str, *, base64: bool) -> None:
        super().__init__(generation)
        self._model = model
        self._base64 = base64

    async def _write(self, scope: Scope, send: Send) -> None:
        generation = self._generation
        vectors: dict[int, Float32s] = {}
        while not generation.done:
            for prompt, output in await generation.outputs():
                if isinstance(output, Failed):
                    raise output.error
                if isinstance(output, Embedding):
                    vectors[prompt] = output.vector
        self._settle(scope)
        await send_json(self._body(vectors), scope, send)

    def _body(self, vectors: dict[int, Float32s]) -> Iterator[str]:
        yield '{"object":"list","data":['
        for index in sorted(vectors):
            text = _base64(vectors[index]) if self._base64 else _numbers(vectors[index])
            yield f'{"," if index else ""}{{"object":"embedding","index":{index},"embedding":{text}}}'
        count = self._generation.usage.prompt_tokens
        usage = f'{{"prompt_tokens":{count},"total_tokens":{count}}}'
        yield f'],"model":{quoted(self._model)},"usage":{usage}}}'


def _numbers(vector: Float32s) -> str:
    # The shortest text that gives the float32 back; a plain float would have twice the digits.
    return f"[{','.join(map(str, vector))}]"


def _base64(vector: Float32s) -> str:
    return f'"{base64.b64encode(vector.astype("<f4").tobytes()).decode()}"'
