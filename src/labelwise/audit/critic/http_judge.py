"""A judge behind HTTP: any vision model that speaks the OpenAI chat protocol, local or hosted.

Needs the extra `critic`. The key is read from an environment variable when a question is sent, and kept nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.audit.critic.judges import Images, Turn
from labelwise.audit.critic.projections import Floats
from labelwise.errors import InputError
from labelwise.files import atomic_write

KEY_VARIABLE = "LABELWISE_CRITIC_KEY"
LONGEST_WAIT = 60.0
# A server that does not tell what it used is counted by the text alone, about four characters a token.
CHARACTERS_A_TOKEN = 4
SHOWN = 200


class BudgetError(InputError):
    """The judge has cost what it may: the message says how much, and how to allow more. Answers so far are cached."""


class HttpJudge:
    """Ask a vision model at ``url`` (up to and with ``/v1``, say) named ``model``.

    cache: folder in which answers are kept under the sha256 of model, prompt and pictures, so that nothing is paid
    twice. max_calls, max_tokens: requests sent (repeats included) and tokens used from which on `BudgetError` is
    raised. timeout: seconds for one answer. retries: how often a request is repeated after a time-out, a broken
    connection, status 429 or 5xx, after ``backoff`` seconds, twice as many each time, or as many as the server says.
    temperature 0 and ``answer_tokens`` go to the model. key_variable: environment variable that holds the key, if any.

    An answer that is no answer (no JSON, no text) is "", which counts as undecided and is not cached. Raises InputError
    where the server refuses, cannot be reached, or the package httpx2 is missing.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: str | Path | None = None,
        max_calls: int | None = 1000,
        max_tokens: int | None = None,
        timeout: float = 120.0,
        retries: int = 4,
        backoff: float = 1.0,
        temperature: float = 0.0,
        answer_tokens: int = 1024,
        key_variable: str = KEY_VARIABLE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"url is {url!r}: give one that begins with http:// or https://.")
        self.url, self.model, self.cache = url.rstrip("/"), model, None if cache is None else Path(cache)
        self.max_calls, self.max_tokens = max_calls, max_tokens
        self.timeout, self.retries, self.backoff, self.sleep = timeout, retries, backoff, sleep
        self.temperature, self.answer_tokens, self.key_variable = temperature, answer_tokens, key_variable
        self.calls = 0
        self.tokens = 0

    def ask(self, images: Images, text: str, history: Sequence[Turn] | None = None) -> str:
        """The model's answer, from the cache where it has been asked before."""
        messages: list[dict[str, Any]] = []
        for turn in history or ():
            messages += [_message(turn.images, turn.text), {"role": "assistant", "content": turn.answer}]
        messages.append(_message(images, text))
        request = {
            "model": self.model,
            "messages": messages,
            "temperature": self.temperature,
            "max_tokens": self.answer_tokens,
        }
        body = json.dumps(request, sort_keys=True)
        file = None if self.cache is None else self.cache / f"{_digest(self.url, body)}.json"
        kept = _read(file)
        if kept is not None:
            return kept
        reply = self._send(body)
        answer = _answer(reply)
        self.tokens += _tokens(reply, text + answer)
        if file is not None and answer:
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(file, text=True) as stream:
                stream.write(json.dumps({"model": self.model, "answer": answer}) + "\n")
        return answer

    def _send(self, body: str) -> Any:
        """What the server replies, None where that is no JSON; repeated while there is hope."""
        try:
            import httpx2
        except ImportError as error:
            raise InputError("asking a model over HTTP needs httpx2: pip install 'labelwise[critic]'.") from error
        key = os.environ.get(self.key_variable, "").strip()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        trouble = ""
        for attempt in range(self.retries + 1):
            self._check_budget()
            self.calls += 1
            wait = self.backoff * 2**attempt
            try:
                reply = httpx2.post(f"{self.url}/chat/completions", content=body, headers=headers, timeout=self.timeout)
            except httpx2.TimeoutException:
                trouble = f"it gave no answer in {self.timeout:g} s"
            except httpx2.TransportError as error:
                trouble = _without(key, str(error)) or type(error).__name__
            else:
                if reply.status_code == 200:
                    return _json(reply.text)
                trouble = f"status {reply.status_code}: {_without(key, reply.text)[:SHOWN]}"
                if reply.status_code != 429 and reply.status_code < 500:
                    raise InputError(f"{self.url} refused the question ({trouble}): check url, model and the key in "
                                     f"{self.key_variable}.")  # fmt: skip
                wait = _seconds(reply.headers.get("Retry-After"), wait)
            if attempt < self.retries:
                self.sleep(min(wait, LONGEST_WAIT))
        raise InputError(f"{self.url} did not answer after {self.retries + 1} tries ({trouble}): try again later.")

    def _check_budget(self) -> None:
        for name, used, limit in (("calls", self.calls, self.max_calls), ("tokens", self.tokens, self.max_tokens)):
            if limit is not None and used >= limit:
                raise BudgetError(f"the judge has used {used} {name} of the {limit} it may: raise max_{name} to go on.")


def encode_image(image: Floats) -> str:
    """A picture (3, H, W) of 0 to 1 as a data URL of a PNG."""
    from PIL import Image

    from labelwise.data.pictures import to_png

    pixels = np.rint(np.clip(np.moveaxis(np.asarray(image), 0, -1), 0, 1) * 255).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(to_png(Image.fromarray(pixels))).decode("ascii")


def _message(images: Images, text: str) -> dict[str, Any]:
    shown = [{"type": "image_url", "image_url": {"url": encode_image(image)}} for image in images]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}


def _digest(url: str, body: str) -> str:
    return hashlib.sha256(f"{url}\n{body}".encode()).hexdigest()


def _read(file: Path | None) -> str | None:
    """A cached answer; a damaged file is as good as none."""
    if file is None or not file.is_file():
        return None
    found = _json(file.read_text(encoding="utf-8", errors="replace"))
    answer = found.get("answer") if isinstance(found, dict) else None
    return answer if isinstance(answer, str) else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _answer(reply: Any) -> str:
    """The text of the first choice; "" where there is none."""
    try:
        content = reply["choices"][0]["message"]["content"]
    except (TypeError, KeyError, IndexError):
        return ""
    return content if isinstance(content, str) else ""


def _tokens(reply: Any, text: str) -> int:
    usage = reply.get("usage") if isinstance(reply, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and total >= 0 else -(-len(text) // CHARACTERS_A_TOKEN)


def _seconds(header: str | None, default: float) -> float:
    try:
        return max(0.0, float(header)) if header is not None else default
    except ValueError:
        return default


def _without(key: str, text: str) -> str:
    """What a server says on one line, without the key, should it repeat it."""
    shown = " ".join(text.split())
    return shown.replace(key, "***") if key else shown
