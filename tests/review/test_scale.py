"""The review of very many labels: the first page, the next ones, filters, decisions and memory, in its own process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labelwise.review.items import ITEMS_AT_ONCE, write_items

pytest.importorskip("starlette", reason="the extra 'review' is not installed")

LOOK = """
import json, sys, time
from pathlib import Path
from starlette.testclient import TestClient
from labelwise.review.decisions import DecisionStore
from labelwise.review.desk import Desk
from labelwise.review.items import Items
from labelwise.review.ordering import ActiveOrder
from labelwise.review.server import create_app
folder = Path(sys.argv[1])
seconds = {}
def timed(name, work):
    began = time.perf_counter()
    answer = work()
    seconds[name] = time.perf_counter() - began
    return answer
def begin():
    items = Items.open(folder / "review.arrow")
    desk = Desk(items, DecisionStore(folder / "decisions.sqlite"), ActiveOrder(items))
    client = TestClient(create_app(desk, token="t", hosts={"h:1"}), base_url="http://h:1")
    client.get("/?token=t")
    client.headers |= {"Origin": "http://h:1", "X-CSRF-Token": client.get("/api/session").json()["csrf"]}
    client.get("/api/batch?by=ann")
    return client
client = timed("first page", begin)
run = client.get("/api/session").json()["run"]
for turn in range(3):
    batch = timed("next page", lambda: client.get("/api/batch?by=ann").json())
    for item in batch["items"]:
        sent = {"run": run, "position": item["position"], "verdict": "keep", "after": item["given"], "reviewer": "ann"}
        if item["position"] % 3:
            sent |= {"verdict": "accept", "after": item["suggested"]}
        timed("decision", lambda: client.post("/api/decide", json=sent).raise_for_status())
pair = client.get("/api/session").json()["pairs"][0]
asked = {"by": "ann", "given": pair["given"], "suggested": pair["suggested"], "score": 0.9}
assert timed("filter", lambda: client.get("/api/batch", params=asked).json())["items"]
assert timed("state", lambda: client.get("/api/state").json())["decided"] == 90
for name in ("first new order", "new order"):
    timed(name, lambda: client.post("/api/rerank", json={}).raise_for_status())
assert timed("next in new order", lambda: client.get("/api/batch?by=ann&order=active").json())["items"]
# Of this program alone: what getrusage tells begins at the peak of the one that started it.
status = Path("/proc/self/status").read_text()
seconds["peak MB"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps(seconds))
"""


def write_many(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    names = np.array([f"class {number}" for number in range(100)])
    with write_items(path, task="classification", classes=names.tolist(), name="many") as writer:
        for first in range(0, count, ITEMS_AT_ONCE):
            size = min(ITEMS_AT_ONCE, count - first)
            given = names[rng.integers(0, 100, size)].tolist()
            suggested = names[rng.integers(0, 100, size)].tolist()
            writer.write(
                {
                    "index": range(first, first + size),
                    "location": [f"photos/{row}.jpg" for row in range(first, first + size)],
                    "given": given,
                    "suggested": suggested,
                    "score": np.arange(first, first + size) / count,
                    "suspect": [first + row < count // 2 for row in range(size)],
                    "why": ["a model that never saw this row thinks otherwise"] * size,
                    "probs": [[(a, 0.9), (b, 0.1)] for a, b in zip(suggested, given, strict=True)],
                    "neighbours": np.minimum(first + rng.integers(0, size, (size, 6)), count - 1).tolist(),
                    "picture": [b"\x89PNG" + bytes(200)] * size,
                }
            )


@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_many_labels_are_reviewed_as_fast_as_few(count: int, tmp_path: Path) -> None:
    write_many(tmp_path / "review.arrow", count)
    ended = subprocess.run([sys.executable, "-c", LOOK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["first page"] < 1
    assert found["next page"] < 0.1
    assert found["filter"] < 0.1
    assert found["decision"] < 0.1
    assert found["first new order"] < 2
    assert found["new order"] < 1
    assert found["next in new order"] < 0.1
    assert found["peak MB"] < 500
