"""The judge behind HTTP, against a server of the standard library in a thread."""

import base64
import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelwise.audit.critic import BudgetError, HttpJudge, Turn
from labelwise.audit.critic.http_judge import KEY_VARIABLE
from labelwise.errors import InputError

KEY = "sk-not-to-be-seen"
RNG = np.random.default_rng(0)
PICTURE, OTHER = RNG.random((2, 3, 6, 8))


def reply(text: Any = "Overlay 1", tokens: int | None = 50) -> str:
    usage = {} if tokens is None else {"usage": {"total_tokens": tokens}}
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], **usage})


class Stub:
    """A chat server that gives its answers (status, body, headers) in turn, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, dict[str, str]]] = [(200, reply(), {})]
        self.delays: list[float] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                number = len(stub.requests)
                stub.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                stub.headers.append({name.lower(): value for name, value in self.headers.items()})
                stub.paths.append(self.path)
                if number < len(stub.delays):
                    time.sleep(stub.delays[number])
                status, body, headers = stub.answers[min(number, len(stub.answers) - 1)]
                sent = body.encode()
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(sent)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(sent)
                except OSError:
                    pass  # the judge has hung up

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    @property
    def calls(self) -> int:
        return len(self.requests)


@pytest.fixture
def stub() -> Iterator[Stub]:
    found = Stub()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def judge(stub: Stub, slept: list[float]) -> Callable[..., HttpJudge]:
    def make(**options: Any) -> HttpJudge:
        return HttpJudge(stub.url, "model-a", **{"sleep": slept.append, **options})

    return make


Make = Callable[..., HttpJudge]


def test_a_question_is_sent_as_the_protocol_wants_it(stub: Stub, judge: Make) -> None:
    earlier = Turn([OTHER], "what is wrong?", "an island")
    made = judge(answer_tokens=77)
    assert made.ask([PICTURE, OTHER], "which one?", [earlier]) == "Overlay 1"
    assert stub.paths == ["/v1/chat/completions"]
    (sent,) = stub.requests
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("model-a", 0, 77)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"] == "an island"
    parts = sent["messages"][2]["content"]
    assert [part["type"] for part in parts] == ["image_url", "image_url", "text"]
    assert parts[2]["text"] == "which one?"
    head, content = parts[0]["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    shown = np.moveaxis(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))), 2, 0)
    assert shown.shape == PICTURE.shape
    assert np.abs(shown / 255 - PICTURE).max() <= 0.5 / 255 + 1e-9
    assert "authorization" not in stub.headers[0]
    assert (made.calls, made.tokens, made.cached, made.bad) == (1, 50, 0, 0)


def test_a_summary_has_no_picture(stub: Stub, judge: Make) -> None:
    judge().ask([], "what does it say?")
    assert [part["type"] for part in stub.requests[0]["messages"][0]["content"]] == ["text"]


def test_the_key_goes_to_the_server_and_nowhere_else(
    stub: Stub, judge: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    caplog.set_level(0)
    stub.answers = [(200, reply(f"Overlay 2, said {KEY}"), {}), (401, f"no such key: {KEY}", {}), (500, KEY, {})]
    made = judge(key_variable="MY_KEY", cache=tmp_path, retries=0)
    assert made.ask([PICTURE], "one") == "Overlay 2, said ***"
    assert stub.headers[0]["authorization"] == f"Bearer {KEY}"
    for question in ("two", "three"):
        with pytest.raises(InputError) as caught:
            made.ask([PICTURE], question)
        assert KEY not in str(caught.value)
    files = list(tmp_path.iterdir())
    assert len(files) == 1
    assert KEY not in files[0].name + files[0].read_text()
    assert KEY not in caplog.text
    assert KEY not in repr(vars(made))


def test_a_key_that_is_none_is_refused_unseen(stub: Stub, judge: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (f"{KEY}\nX-Other: 1", f"{KEY}é"):
        monkeypatch.setenv(KEY_VARIABLE, bad)
        with pytest.raises(InputError, match=KEY_VARIABLE) as caught:
            judge().ask([], "one")
        assert KEY not in str(caught.value)
    assert stub.calls == 0


def test_a_cached_answer_costs_no_call_and_judges_share_them(stub: Stub, judge: Make, tmp_path: Path) -> None:
    stub.answers = [(200, reply("Overlay 2"), {})]
    first, second = judge(cache=tmp_path / "a" / "b"), judge(cache=tmp_path / "a" / "b")
    history = [Turn([OTHER], "q", "a")]
    assert {each.ask([PICTURE], "text", history) for each in (first, first, second)} == {"Overlay 2"}
    assert stub.calls == 1
    assert (first.calls, first.cached, second.calls, second.cached, second.tokens) == (1, 1, 0, 1, 0)


def test_anything_that_differs_is_asked_anew(stub: Stub, judge: Make, tmp_path: Path) -> None:
    made = judge(cache=tmp_path)
    changed = PICTURE.copy()
    changed[0, 0, 0] = 1 - changed[0, 0, 0]
    turn = Turn([OTHER], "q", "a")
    asked: list[tuple[Any, ...]] = [
        ([PICTURE], "text"),
        ([changed], "text"),
        ([PICTURE], "text."),
        ([PICTURE, OTHER], "text"),
        ([OTHER, PICTURE], "text"),
        ([PICTURE], "text", [turn]),
        ([PICTURE], "text", [turn._replace(answer="b")]),
        ([PICTURE], "text", [turn._replace(images=[PICTURE])]),
    ]
    for arguments in asked:
        made.ask(*arguments)
    assert stub.calls == len(asked)
    HttpJudge(stub.url, "model-b", cache=tmp_path).ask(*asked[0])
    assert stub.calls == len(asked) + 1
    for arguments in asked:
        made.ask(*arguments)
    assert stub.calls == len(asked) + 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"answer": 3}', '{"answer": ""}', "\xff\x00"])
def test_a_damaged_cache_file_is_asked_and_written_again(stub: Stub, judge: Make, tmp_path: Path, damage: str) -> None:
    judge(cache=tmp_path).ask([PICTURE], "text")
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage.encode("latin-1"))
    made = judge(cache=tmp_path)
    assert made.ask([PICTURE], "text") == "Overlay 1"
    assert (stub.calls, made.cached) == (2, 0)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [whole]


def test_a_cache_that_is_no_folder_is_refused(judge: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="folder"):
        judge(cache=tmp_path / "file").ask([PICTURE], "text")


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        "",
        "[" * 100_000,
        "null",
        "[]",
        "{}",
        '{"choices": []}',
        '{"choices": [{}]}',
        '{"choices": [{"message": {"content": null}}]}',
        reply([{"type": "image"}]),
        reply("  \n"),
    ],
    ids=lambda body: body[:45],
)
def test_an_answer_that_is_none_is_undecided_counted_and_not_kept(
    stub: Stub, judge: Make, tmp_path: Path, body: str
) -> None:
    stub.answers = [(200, body, {}), (200, reply("Overlay 2"), {})]
    made = judge(cache=tmp_path)
    assert made.ask([PICTURE], "text") == ""
    assert (made.bad, list(tmp_path.iterdir())) == (1, [])
    assert made.ask([PICTURE], "text") == "Overlay 2"
    assert (made.bad, made.calls, made.cached) == (1, 2, 0)


def test_busy_and_broken_servers_are_asked_again_after_ever_longer_waits(
    stub: Stub, judge: Make, slept: list[float]
) -> None:
    stub.answers = [(429, "busy", {}), (500, "", {}), (503, "", {}), (200, reply("Overlay 2"), {})]
    made = judge(backoff=0.5)
    assert made.ask([PICTURE], "text") == "Overlay 2"
    assert slept == [0.5, 1.0, 2.0]
    assert made.calls == stub.calls == 4
    assert stub.requests[0] == stub.requests[3]


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 7), ("0", 0, 0), ("-3", 0, 0), ("1e9", 60, 60), ("inf", 60, 60), ("soon", 1, 1)],
)
def test_the_server_says_how_long_to_wait(
    stub: Stub, judge: Make, slept: list[float], header: str, least: float, most: float
) -> None:
    stub.answers = [(429, "busy", {"Retry-After": header}), (200, reply(), {})]
    judge().ask([PICTURE], "text")
    assert len(slept) == 1
    assert least <= slept[0] <= most


def test_the_server_says_until_when_to_wait(stub: Stub, judge: Make, slept: list[float]) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    stub.answers = [(503, "", {"Retry-After": until}), (200, reply(), {})]
    judge().ask([PICTURE], "text")
    assert 20 < slept[0] <= 30


def test_a_server_that_stays_broken_is_given_up(stub: Stub, judge: Make, slept: list[float]) -> None:
    stub.answers = [(502, "bad\ngateway", {})]
    with pytest.raises(InputError, match=r"after 3 tries \(status 502: 'bad\\ngateway'\)"):
        judge(retries=2).ask([PICTURE], "text")
    assert (stub.calls, len(slept)) == (3, 2)


@pytest.mark.parametrize("status", [301, 400, 401, 404])
def test_a_refusal_is_not_repeated(stub: Stub, judge: Make, slept: list[float], status: int) -> None:
    stub.answers = [(status, "x" * 1000, {"Location": stub.url})]
    with pytest.raises(InputError, match=f"refused.*status {status}") as caught:
        judge().ask([PICTURE], "text")
    assert (stub.calls, slept) == (1, [])
    assert len(str(caught.value)) < 500


def test_a_time_out_is_repeated(stub: Stub, judge: Make, slept: list[float]) -> None:
    stub.delays = [1.5]
    assert judge(timeout=0.6).ask([PICTURE], "text") == "Overlay 1"
    assert (stub.calls, slept) == (2, [1.0])


def test_a_server_that_never_answers_is_told_so(stub: Stub, judge: Make) -> None:
    stub.delays = [0.8, 0.8]
    with pytest.raises(InputError, match=r"no answer in 0\.2 s"):
        judge(timeout=0.2, retries=1).ask([PICTURE], "text")


def test_nobody_there(slept: list[float]) -> None:
    gone = Stub()
    gone.server.server_close()
    with pytest.raises(InputError, match="after 3 tries"):
        HttpJudge(gone.url, "m", retries=2, sleep=slept.append).ask([PICTURE], "text")
    assert slept == [1.0, 2.0]


def test_a_body_that_cannot_be_unpacked_is_trouble_of_the_line(stub: Stub, judge: Make) -> None:
    stub.answers = [(200, "no gzip", {"Content-Encoding": "gzip"}), (200, reply(), {})]
    assert judge().ask([PICTURE], "text") == "Overlay 1"
    assert stub.calls == 2


def test_calls_stop_at_the_cap_and_repeats_count(stub: Stub, judge: Make, tmp_path: Path) -> None:
    stub.answers = [(429, "", {}), (200, reply(), {})]
    made = judge(max_calls=3, cache=tmp_path)
    made.ask([PICTURE], "one")
    made.ask([PICTURE], "two")
    with pytest.raises(BudgetError, match=r"3 calls of the 3.*raise max_calls"):
        made.ask([PICTURE], "three")
    assert stub.calls == made.calls == 3
    assert made.ask([PICTURE], "one") == "Overlay 1"  # what is known stays free


def test_the_cap_ends_repeats_too(stub: Stub, judge: Make) -> None:
    stub.answers = [(500, "", {})]
    with pytest.raises(BudgetError):
        judge(max_calls=2).ask([PICTURE], "text")
    assert stub.calls == 2


def test_tokens_never_pass_the_cap(stub: Stub, judge: Make) -> None:
    stub.answers = [(200, reply(tokens=100), {})]
    made = judge(max_tokens=350, answer_tokens=90)
    for number in range(3):
        made.ask([PICTURE], f"{number:040}")  # 10 tokens, and at most 90 of the answer
    with pytest.raises(BudgetError, match=r"300 tokens of the 350.*may cost 100: raise max_tokens"):
        made.ask([PICTURE], f"{3:040}")
    assert (stub.calls, made.tokens) == (3, 300)


def test_tokens_are_estimated_where_the_server_does_not_tell(stub: Stub, judge: Make) -> None:
    stub.answers = [(200, reply("a" * 40, tokens=None), {})]
    made = judge()
    large = np.zeros((3, 75, 100))
    made.ask([large], "b" * 80, [Turn([large], "c" * 20, "d" * 20)])
    assert made.tokens == 40 / 4 + 120 / 4 + 2 * 7500 / 750


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/v1",
        "http://127.0.0.1.example.org/v1",
        "http://10.0.0.1/v1",
        "ftp://localhost/v1",
        "localhost:8000/v1",
        "https://",
        "",
        "https://example.org:port/v1",
        "http://[::1/v1",
    ],
)
def test_an_address_that_is_not_safe_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="https://"):
        HttpJudge(url, "m")


@pytest.mark.parametrize("url", ["https://me:secret@example.org/v1", "https://example.org/v1?key=secret"])
def test_an_address_with_a_secret_is_refused_unseen(url: str) -> None:
    with pytest.raises(InputError, match="environment") as caught:
        HttpJudge(url, "m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://127.0.0.1:1", "http://[::1]:1/v1/", "HTTPS://a.org"])
def test_addresses_that_are_safe(url: str) -> None:
    assert not HttpJudge(url, "m").url.endswith("/")


def test_no_proxy_hears_what_goes_to_this_machine(stub: Stub, judge: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert judge(retries=0).ask([PICTURE], "text") == "Overlay 1"


def test_without_the_client_it_says_what_to_install(judge: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(InputError, match=r"pip install 'labelwise\[critic\]'"):
        judge().ask([PICTURE], "text")
