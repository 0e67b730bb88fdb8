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
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from labelwise.audit.critic.judges import Images, Turn
from labelwise.audit.critic.projections import Floats
from labelwise.errors import InputError
from labelwise.files import atomic_write, printable, quote

KEY_VARIABLE = "LABELWISE_CRITIC_KEY"
# Only this machine hears what is sent to these; to all others the key and the pictures go encrypted.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
LONGEST_WAIT = 60.0
# What a question costs is known only afterwards; before, and where a server never tells, this is the estimate.
CHARACTERS_A_TOKEN = 4
PIXELS_A_TOKEN = 750
SHOWN = 200


class BudgetError(InputError):
    """The judge has cost what it may: the message says how much, and how to allow more. Answers so far are cached."""


class HttpJudge:
    """Ask the vision model named ``model`` at ``url`` (up to and with ``/v1``, say): https, or http on this machine.

    cache: folder in which answers are kept under the sha256 of model, prompt, history and pictures, so that nothing is
    paid twice; judges may share it. max_calls, max_tokens: `BudgetError` before a request that would pass them;
    requests are counted with repeats, tokens as the server tells, and the next one's are estimated (its text, its
    pictures, ``answer_tokens``). timeout: seconds without a byte from the server. retries: how often a request is
    repeated after a time-out, a broken connection, status 429 or 5xx, after ``backoff`` seconds, twice as many each
    time, or as many as the server says, at most a minute. temperature 0 and ``answer_tokens`` go to the model.
    key_variable: environment variable that holds the key, if any.

    An answer that is no answer (no JSON, no choice, no text) is "", which counts as undecided and is not cached.
    ``calls``, ``tokens``, ``cached`` (answers from the cache) and ``bad`` (answers that were none) count. Raises
    InputError for an address that is not safe, where the server refuses or cannot be reached, or without httpx2.
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
        self.is_local = _is_local(url)
        self.url, self.model, self.cache = url.rstrip("/"), model, None if cache is None else Path(cache)
        self.max_calls, self.max_tokens = max_calls, max_tokens
        self.timeout, self.retries, self.backoff, self.sleep = timeout, retries, backoff, sleep
        self.temperature, self.answer_tokens, self.key_variable = temperature, answer_tokens, key_variable
        self.calls = self.tokens = self.cached = self.bad = 0

    def ask(self, images: Images, text: str, history: Sequence[Turn] | None = None) -> str:
        """The model's answer, from the cache where it has been asked before."""
        body = self._body(images, text, history or ())
        file = None if self.cache is None else self.cache / f"{hashlib.sha256(body.encode()).hexdigest()}.json"
        kept = _read(file)
        if kept is not None:
            self.cached += 1
            return kept
        key = self._key()
        prompt_tokens = _estimate(images, text, history or ())
        reply = self._send(body, key, prompt_tokens + self.answer_tokens)
        # A server may repeat what it was sent: the key must not reach the cache.
        answer = _without(key, _answer(reply))
        self.tokens += _tokens(reply, prompt_tokens + len(answer) // CHARACTERS_A_TOKEN)
        if not answer.strip():
            self.bad += 1
            return ""
        if file is not None:
            _keep(file, {"model": self.model, "answer": answer})
        return answer

    def _body(self, images: Images, text: str, history: Sequence[Turn]) -> str:
        """The request as JSON: all that an answer depends on."""
        messages: list[dict[str, Any]] = []
        for turn in history:
            messages += [_message(turn.images, turn.text), {"role": "assistant", "content": turn.answer}]
        request = {
            "model": self.model,
            "messages": [*messages, _message(images, text)],
            "temperature": self.temperature,
            "max_tokens": self.answer_tokens,
        }
        return json.dumps(request, sort_keys=True)

    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        # An HTTP client's complaint about such a header would show the key.
        if not (key.isascii() and key.isprintable()):
            raise InputError(f"the key in {self.key_variable} holds characters that no key has: set it again.")
        return key

    def _send(self, body: str, key: str, tokens: int) -> Any:
        """What the server replies, None where that is no JSON; repeated while there is hope."""
        try:
            import httpx2
        except ImportError as error:
            raise InputError("asking a model over HTTP needs httpx2: pip install 'labelwise[critic]'.") from error
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        trouble = ""
        for attempt in range(self.retries + 1):
            self._check_budget(tokens)
            self.calls += 1
            wait = self.backoff * 2**attempt
            try:
                reply = httpx2.post(
                    f"{self.url}/chat/completions",
                    content=body,
                    headers=headers,
                    timeout=self.timeout,
                    # No proxy for this machine: it would be sent the key in clear.
                    trust_env=not self.is_local,
                )
            except httpx2.TimeoutException:
                trouble = f"it gave no answer in {self.timeout:g} s"
            except httpx2.RequestError as error:
                trouble = _without(key, str(error)) or type(error).__name__
            else:
                if reply.status_code == 200:
                    return _json(reply.text)
                trouble = f"status {reply.status_code}: {quote(_without(key, reply.text), SHOWN)}"
                if reply.status_code != 429 and reply.status_code < 500:
                    raise InputError(
                        f"{self.url} refused the question ({trouble}): check url, model and the key in "
                        f"{self.key_variable}."
                    )
                wait = _seconds(reply.headers.get("Retry-After"), wait)
            if attempt < self.retries:
                self.sleep(min(wait, LONGEST_WAIT))
        raise InputError(f"{self.url} did not answer after {self.retries + 1} tries ({trouble}): try again later.")

    def _check_budget(self, tokens: int) -> None:
        limits = (("calls", self.calls, 1, self.max_calls), ("tokens", self.tokens, tokens, self.max_tokens))
        for name, used, more, limit in limits:
            if limit is not None and used + more > limit:
                raise BudgetError(
                    f"the judge has used {used} {name} of the {limit} it may, and the next question may cost {more}: "
                    f"raise max_{name} to go on."
                )


def encode_image(image: Floats) -> str:
    """A picture (3, H, W) of 0 to 1 as a data URL of a PNG."""
    from PIL import Image

    from labelwise.data.pictures import to_png

    pixels = np.rint(np.clip(np.moveaxis(np.asarray(image), 0, -1), 0, 1) * 255).astype(np.uint8)  # (H, W, 3)
    return "data:image/png;base64," + base64.b64encode(to_png(Image.fromarray(pixels))).decode("ascii")


def _is_local(url: str) -> bool:
    """Whether an address is of this machine; raises InputError for one that is none, or that would show a secret."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError("url is no address: give one such as https://host/v1.") from error
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError("url holds a password, a query or a fragment: give it without, and a key by the environment.")
    if host and (parts.scheme == "https" or (parts.scheme == "http" and host in LOCAL_HOSTS)):
        return host in LOCAL_HOSTS
    raise InputError(f"url is {quote(url)}: give one that begins with https://, or http:// on this machine.")


def _message(images: Images, text: str) -> dict[str, Any]:
    shown = [{"type": "image_url", "image_url": {"url": encode_image(image)}} for image in images]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}


def _estimate(images: Images, text: str, history: Sequence[Turn]) -> int:
    """About how many tokens a question has."""
    pixels = sum(image[0].size for shown in (images, *(turn.images for turn in history)) for image in shown)
    characters = len(text) + sum(len(turn.text) + len(turn.answer) for turn in history)
    return characters // CHARACTERS_A_TOKEN + pixels // PIXELS_A_TOKEN


def _read(file: Path | None) -> str | None:
    """A cached answer; a damaged file is as good as none."""
    if file is None or not file.is_file():
        return None
    found = _json(file.read_text(encoding="utf-8", errors="replace"))
    answer = found.get("answer") if isinstance(found, dict) else None
    return answer if isinstance(answer, str) and answer else None


def _keep(file: Path, found: dict[str, str]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{printable(file.parent)} cannot be a folder of answers: {error.strerror}.") from error
    with atomic_write(file, text=True) as stream:
        stream.write(json.dumps(found) + "\n")


def _json(text: str) -> Any:
    """What a text says in JSON, None where it is none (or nested beyond reading)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _answer(reply: Any) -> str:
    """The text of the first choice; "" where there is none."""
    try:
        content = reply["choices"][0]["message"]["content"]
    except (TypeError, KeyError, IndexError):
        return ""
    return content if isinstance(content, str) else ""


def _tokens(reply: Any, estimate: int) -> int:
    """The tokens a reply says it used, or the estimate."""
    usage = reply.get("usage") if isinstance(reply, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and total >= 0 else estimate


def _seconds(header: str | None, default: float) -> float:
    """How long to wait as a server says: in seconds, or until a date."""
    if header is None:
        return default
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return default


def _without(key: str, text: str) -> str:
    """A text in which the key does not stand, should a server repeat it."""
    return text.replace(key, "***") if key else text
