"""Safetensors models with a chat template, through transformers and torch, in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rag.backends.chat.silence import heard_within
from rag.backends.chat.stopping import StopStrings
from rag.concurrency import in_thread
from rag.errors import ConfigurationError, InvalidInputError, MissingPackageError, UpstreamUnavailableError
from rag.events import Usage
from rag.models.resolve import resolve
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.settings import ChatSettings

try:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteria, StoppingCriteriaList, TextStreamer
    from transformers.utils.logging import disable_progress_bar
except ImportError as error:
    raise MissingPackageError(error.name or "transformers", "A local model of safetensors weights") from None

PARALLEL: Final = 2  # each generation holds a thread of the pool that everything else shares


async def create(settings: ChatSettings, models_dir: Path) -> TransformersChatModel:
    """Load the folder that `settings.model`, `local:` and a name or a path, leads to.

    Raises:
        ModelNotFoundError: it is not here, or has no safetensors weights.
        ConfigurationError: it cannot be loaded, or has no chat template.
    """
    found = await in_thread(resolve, settings.model.removeprefix("local:"), models_dir)
    found.file("*.safetensors")
    return await in_thread(_load, settings, found.path)


def _load(settings: ChatSettings, path: Path) -> TransformersChatModel:
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="auto"
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ConfigurationError(
            f"transformers cannot load the model at {path}: {error}. Pull it again, or set "
            "QUOTH_CHAT__MODEL to another."
        ) from error
    if not tokenizer.chat_template:
        raise ConfigurationError(
            f"The model at {path} has no chat template, so it is no chat model. Set QUOTH_CHAT__MODEL to "
            "an instruct one."
        )
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.eval()
    return TransformersChatModel(settings, model, tokenizer)


class TransformersChatModel:
    """A ChatModel over weights held in this process. `Sampling.seed` has no effect: torch's generator is shared."""

    def __init__(self, settings: ChatSettings, model: Any, tokenizer: Any) -> None:
        self._settings = settings
        self._model = model
        self._tokenizer = tokenizer
        self._turns = asyncio.Semaphore(PARALLEL)
        longest = getattr(model.config, "max_position_embeddings", None) or settings.context_tokens
        self._context_tokens = min(settings.context_tokens, longest)

    @property
    def name(self) -> str:
        """As it is configured."""
        return self._settings.model

    @property
    def context_tokens(self) -> int:
        """The configured context, capped by the positions that the model has."""
        return self._context_tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` by the model's own tokenizer, without special ones."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[ModelDelta]:
        """Yield the answer as it is written; closing the iterator ends the generation at its next token.

        Raises:
            InvalidInputError: the prompt is longer than the context.
            UpstreamUnavailableError: the model failed or was silent for too long.
        """
        tokens = await in_thread(self._encode, prompt)
        room = self.context_tokens - len(tokens)
        if room < 1:
            raise InvalidInputError(
                f"The prompt has {len(tokens)} tokens and the model {self.name} takes {self.context_tokens}. Ask with "
                "fewer passages or less history."
            )
        most = min(sampling.max_tokens or self._settings.max_answer_tokens, room)
        stops = StopStrings(sampling.stop)
        ending = _Ending(tokens=0, is_whole=False)
        async with self._turns:
            pieces = heard_within(self._pieces(tokens, most, sampling), self._settings.timeout_seconds, self.name)
            async with aclosing(pieces):
                async for piece in pieces:
                    if isinstance(piece, _Ending):
                        ending = piece
                        break
                    if text := stops.pass_on(piece):
                        yield ModelDelta(text=text)
                    if stops.is_met:
                        yield ModelDelta(finish_reason="stop")
                        return
        if text := stops.rest():
            yield ModelDelta(text=text)
        usage = Usage(prompt_tokens=len(tokens), completion_tokens=ending.tokens)
        yield ModelDelta(finish_reason="stop" if ending.is_whole else "length", usage=usage)

    async def close(self) -> None:
        """Let go of the weights."""
        self._model = self._tokenizer = None

    def _encode(self, prompt: Prompt) -> list[int]:
        turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
        text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    async def _pieces(self, tokens: Sequence[int], most: int, sampling: Sampling) -> AsyncGenerator[str | _Ending]:
        """What the thread writes, then how it ended."""
        heard: asyncio.Queue[str | _Ending | Exception] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        is_closed = threading.Event()

        def generate() -> None:
            try:
                ending = self._generate(
                    tokens, most, sampling, is_closed, lambda text: loop.call_soon_threadsafe(heard.put_nowait, text)
                )
            except Exception as error:  # crosses from the thread to the stream, which raises it
                loop.call_soon_threadsafe(heard.put_nowait, error)
            else:
                loop.call_soon_threadsafe(heard.put_nowait, ending)

        work = asyncio.ensure_future(in_thread(generate))
        try:
            while True:
                piece = await heard.get()
                if isinstance(piece, Exception):
                    raise UpstreamUnavailableError(f"The model {self.name} failed: {piece}.") from piece
                yield piece
                if isinstance(piece, _Ending):
                    return
        finally:
            is_closed.set()
            await asyncio.shield(work)

    def _generate(
        self, tokens: Sequence[int], most: int, sampling: Sampling, is_closed: threading.Event, say: Any
    ) -> _Ending:
        temperature = self._settings.temperature if sampling.temperature is None else sampling.temperature
        choosing: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature > 0:
            choosing |= {"temperature": temperature, "top_p": sampling.top_p or 1.0, "top_k": 0}
        else:
            choosing |= {"temperature": None, "top_p": None, "top_k": None}
        ids = torch.tensor([list(tokens)], device=self._model.device)
        with torch.inference_mode():
            whole = self._model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most,
                streamer=_Speaker(self._tokenizer, say),
                stopping_criteria=StoppingCriteriaList([_Closed(is_closed)]),
                pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0, **choosing,
            )  # fmt: skip
        written = whole[0, len(tokens) :].tolist()
        ends = self._model.generation_config.eos_token_id
        is_whole = bool(written) and written[-1] in (ends if isinstance(ends, list) else [ends])
        return _Ending(tokens=len(written), is_whole=is_whole)


@dataclass(frozen=True, slots=True)
class _Ending:
    tokens: int
    is_whole: bool


class _Speaker(TextStreamer):
    """Decodes tokens to whole words, and says them."""

    def __init__(self, tokenizer: Any, say: Any) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._say = say

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002
        if text:
            self._say(text)


class _Closed(StoppingCriteria):
    """Ends a generation that nobody listens to any more."""

    def __init__(self, is_closed: threading.Event) -> None:
        self._is_closed = is_closed

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        return torch.full((input_ids.shape[0],), self._is_closed.is_set(), dtype=torch.bool, device=input_ids.device)
