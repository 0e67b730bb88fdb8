"""Time and memory of local clustering as the graph grows while the cluster does not.

    python benchmarks/graphs.py
    python benchmarks/graphs.py --edges 1e4 1e5 1e6 1e7 --out docs/results/bench-graphs.json
    python benchmarks/graphs.py --peer-python /path/to/python-with-networkit

Graphs are made of planted blocks of 100 nodes: about 18 neighbours a node inside its block, 2 anywhere. Each graph is
written to files once; each job reads them in a process of its own, answers the same queries (a block to be found from
one of its nodes, with labels of which 20% inside and 10% outside are wrong) and reports the median processor time of a
query, so that other work on the machine counts little. Every size is visited twice and the better median kept. Memory
is the peak of what a query allocates beside the graph. NetworKit runs where it is installed; it knows no labels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BLOCK, INSIDE, ANYWHERE = 100, 18, 2
NUM_QUERIES = 60
RIGHT_INSIDE, RIGHT_OUTSIDE = 0.8, 0.9
PAGERANK_ALPHA, PAGERANK_TOL = 0.1, 1e-4
# Whole-graph PageRank of networkx takes 0.5 GB and seconds a query for each million edges.
MOST_EDGES_FOR_NETWORKX = 200_000


class Query(NamedTuple):
    """A block to be found: its nodes, the node to start from, labels (n,) int8 of all nodes."""

    block: np.ndarray
    start: int
    labels: np.ndarray


def write_graph(folder: Path, num_edges: int, seed: int = 0) -> int:
    """Write adjacency (CSR) and labels to .npy files; returns how many edges there are."""
    import scipy.sparse

    rng = np.random.default_rng(seed)
    num_nodes = num_edges * 2 // (INSIDE + ANYWHERE) // BLOCK * BLOCK
    heads = rng.integers(0, num_nodes, num_edges)
    is_inside = np.arange(num_edges) < num_edges * INSIDE // (INSIDE + ANYWHERE)
    tails = np.where(
        is_inside, heads // BLOCK * BLOCK + rng.integers(0, BLOCK, num_edges), rng.integers(0, num_nodes, num_edges)
    )
    proper = heads != tails
    heads, tails = heads[proper].astype(np.int32), tails[proper].astype(np.int32)
    both = np.concatenate([heads, tails]), np.concatenate([tails, heads])
    matrix = scipy.sparse.coo_array((np.ones(len(both[0])), both), shape=(num_nodes, num_nodes)).tocsr()
    np.save(folder / "indptr.npy", matrix.indptr)
    np.save(folder / "indices.npy", matrix.indices)
    np.save(folder / "noise.npy", (rng.random(num_nodes) > RIGHT_OUTSIDE).astype(np.int8))
    return matrix.nnz // 2


def queries(folder: Path) -> Iterator[Query]:
    """The same queries for every job."""
    rng = np.random.default_rng(1)
    noise = np.load(folder / "noise.npy")
    for start in rng.integers(0, len(noise), NUM_QUERIES):
        block = np.arange(start // BLOCK * BLOCK, start // BLOCK * BLOCK + BLOCK)
        before = noise[block]
        noise[block] = rng.random(BLOCK) < RIGHT_INSIDE
        yield Query(block, int(start), noise)
        noise[block] = before


def adjacency(folder: Path) -> Any:
    """Adjacency matrix of the files."""
    import scipy.sparse

    indptr, indices = np.load(folder / "indptr.npy"), np.load(folder / "indices.npy")
    return scipy.sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(len(indptr) - 1, len(indptr) - 1))


Answer = Callable[[Query], Any]


def job_labels(folder: Path) -> Answer:
    """LocalClusterer with labels: seven masses, the best kept."""
    from labelwise import LocalClusterer
    from labelwise.numerics.graphs import as_graph

    graph, model = as_graph(adjacency(folder)), LocalClusterer(BLOCK)
    return lambda query: model.fit(graph, query.start, query.labels).cluster_


def job_one_mass(folder: Path) -> Answer:
    """One flow diffusion with labels."""
    from labelwise.methods.graphs.local_clustering import flow_diffusion, label_factor
    from labelwise.numerics.graphs import Reweighted, as_graph

    graph = as_graph(adjacency(folder))

    def answer(query: Query) -> Any:
        weighted = Reweighted(graph, label_factor(query.labels, trusted=[query.start]))
        return flow_diffusion(weighted, {query.start: 1.5 * BLOCK}).support

    return answer


def job_exact(folder: Path) -> Answer:
    """The same flow diffusion by linear systems."""
    from labelwise.methods.graphs.local_clustering import flow_diffusion_exact, label_factor
    from labelwise.numerics.graphs import Reweighted, as_graph

    graph = as_graph(adjacency(folder))

    def answer(query: Query) -> Any:
        weighted = Reweighted(graph, label_factor(query.labels, trusted=[query.start]))
        return flow_diffusion_exact(weighted, {query.start: 1.5 * BLOCK}).support

    return answer


def job_floor(folder: Path) -> Answer:
    """Read the rows and labels that one flow diffusion needs, once; the diffusion itself is not timed."""
    from labelwise.methods.graphs.local_clustering import flow_diffusion, label_factor
    from labelwise.numerics.graphs import Reweighted, as_graph

    graph = as_graph(adjacency(folder))
    support = {}
    for query in queries(folder):
        weighted = Reweighted(graph, label_factor(query.labels, trusted=[query.start]))
        support[query.start] = flow_diffusion(weighted, {query.start: 1.5 * BLOCK}).support

    def answer(query: Query) -> Any:
        rows = graph.rows(support[query.start])
        return rows.weights.sum() + query.labels[rows.neighbours].sum()

    return answer


def job_pagerank(folder: Path) -> Answer:
    """Approximate PageRank and its sweep cut, without labels: the peer's algorithm."""
    from labelwise.methods.graphs.local_clustering import personalized_pagerank_push
    from labelwise.numerics.graphs import as_graph, sweep_cut

    graph = as_graph(adjacency(folder))

    def answer(query: Query) -> Any:
        found = personalized_pagerank_push(graph, query.start, alpha=PAGERANK_ALPHA, tol=PAGERANK_TOL)
        return sweep_cut(graph, found.nodes, found.x)[0]

    return answer


def job_networkit(folder: Path) -> Answer:
    """The same by NetworKit (C++), without labels."""
    import networkit

    matrix = adjacency(folder).tocoo()
    once = matrix.row <= matrix.col
    pairs = matrix.row[once], matrix.col[once]
    graph = networkit.GraphFromCoo((np.ones(once.sum()), pairs), n=matrix.shape[0], weighted=False, directed=False)
    nibble = networkit.scd.PageRankNibble(graph, PAGERANK_ALPHA, PAGERANK_TOL)
    return lambda query: sorted(nibble.expandOneCommunity(query.start))


def job_scipy(folder: Path) -> Answer:
    """PageRank of the whole graph by 50 products with its matrix (SciPy); the 100 nodes that rank highest."""
    import scipy.sparse

    matrix = adjacency(folder)
    spread = scipy.sparse.diags_array(1 / np.maximum(matrix.sum(axis=0), 1))
    steps = (matrix @ spread).tocsr()

    def answer(query: Query) -> Any:
        restart = np.zeros(matrix.shape[0])
        restart[query.start] = PAGERANK_ALPHA
        ranks = restart
        for _ in range(50):
            ranks = restart + (1 - PAGERANK_ALPHA) * (steps @ ranks)
        return np.argpartition(-ranks, BLOCK)[:BLOCK]

    return answer


def job_networkx(folder: Path) -> Answer:
    """PageRank of the whole graph by networkx; the 100 nodes that rank highest."""
    import networkx

    graph = networkx.from_scipy_sparse_array(adjacency(folder))

    def answer(query: Query) -> Any:
        ranks = networkx.pagerank(graph, alpha=1 - PAGERANK_ALPHA, personalization={query.start: 1})
        return sorted(ranks, key=ranks.__getitem__)[-BLOCK:]

    return answer


JOBS = {
    "floor": job_floor,
    "one_mass": job_one_mass,
    "exact": job_exact,
    "labels": job_labels,
    "pagerank": job_pagerank,
    "networkit": job_networkit,
    "scipy": job_scipy,
    "networkx": job_networkx,
}
GLOBAL_JOBS = ("scipy", "networkx")


def run_job(name: str, folder: Path) -> None:
    """In a process of its own: answer all queries (5 where the whole graph is read), print the measurements as JSON."""
    answer = JOBS[name](folder)
    most = 5 if name in GLOBAL_JOBS else NUM_QUERIES
    for query, _ in zip(queries(folder), range(2), strict=False):
        answer(query)  # compiled kernels are loaded here
    seconds, scores = [], []
    for query, _ in zip(queries(folder), range(most), strict=False):
        started = time.process_time()
        found = answer(query)
        seconds.append(time.process_time() - started)
        scores.append(f1(found, query.block) if np.ndim(found) == 1 else None)
    measured = {"milliseconds": round(1000 * float(np.median(seconds)), 4), "queries": len(seconds)}
    measured["f1"] = None if scores[0] is None else round(float(np.mean(scores)), 3)
    asked = queries(folder)
    answer(next(asked))  # the labels of all nodes are in memory before counting starts
    tracemalloc.start()
    for query, _ in zip(asked, range(5), strict=False):
        answer(query)
    measured["kilobytes"] = round(tracemalloc.get_traced_memory()[1] / 1000, 1) if name != "networkit" else None
    if name == "networkit":
        measured["version"] = version("networkit")
    print(json.dumps(measured))


def f1(found: Any, block: np.ndarray) -> float:
    """2 |found and block| / (|found| + |block|)."""
    return 2 * len(np.intersect1d(found, block)) / (len(found) + len(block))


def measure(name: str, folder: Path, python: str) -> dict[str, Any] | None:
    """Run a job in a process of its own, single-threaded; None if the peer is not installed."""
    single = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    command = [python, __file__, "--job", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **single})
    if done.returncode and name == "networkit" and "No module named 'networkit'" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def bench(sizes: list[int], peer_python: str, tmp: Path | None) -> list[dict[str, Any]]:
    """All jobs on all sizes, there and back, the better median kept."""
    records: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=tmp) as name:
        for size in sizes:
            folder = Path(name) / str(size)
            folder.mkdir()
            records[size] = {"edges": write_graph(folder, size)}
        for size in [*sizes, *reversed(sizes)]:
            for job in JOBS:
                if job == "networkx" and size > MOST_EDGES_FOR_NETWORKX:
                    continue
                if job in GLOBAL_JOBS and job in records[size]:
                    continue
                found = measure(job, Path(name) / str(size), peer_python if job == "networkit" else sys.executable)
                known = records[size].get(job)
                if found and (known is None or found["milliseconds"] < known["milliseconds"]):
                    records[size][job] = found
                print(f"{size:>12,} edges  {job:10s} {found}", flush=True)
    return list(records.values())


def report(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept: tables for the docs, and the records."""
    names = {
        "floor": "floor: read its rows once",
        "one_mass": "flow diffusion with labels, one mass",
        "exact": "the same, exactly, by linear systems",
        "labels": "LocalClusterer with labels, seven masses",
        "pagerank": "PageRank push and sweep, no labels",
        "networkit": "NetworKit PageRankNibble, no labels",
        "scipy": "SciPy, PageRank of the whole graph",
        "networkx": "networkx, PageRank of the whole graph",
    }

    def table(field: str, head: str) -> dict[str, Any]:
        columns = [head, *(f"{record['edges']:,} edges" for record in records), "largest over smallest"]
        rows = []
        for job, name in names.items():
            values = [(record.get(job) or {}).get(field) for record in records]
            if any(value is not None for value in values):
                shown = ["" if value is None else value for value in values]
                known = [value for value in values if value]
                rows.append([name, *shown, round(known[-1] / known[0], 2) if len(known) == len(records) else ""])
        return {"columns": columns, "rows": rows}

    tables = [table("milliseconds", "ms a query"), table("kilobytes", "peak kB a query"), table("f1", "F1")]
    for row in tables[2]["rows"]:
        row.pop()
    tables[2]["columns"].pop()
    return {
        "title": "Local clustering in growing graphs",
        "text": " ".join(__doc__.split("\n\n")[2].split()),
        "tables": tables,
        "machine": f"{platform.machine()}, one core",
        "versions": {name: version(name) for name in ("labelwise", "networkx", "numpy", "numba", "scipy")},
        "records": records,
    }


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=float, nargs="+", default=[1e4, 1e5, 1e6], help="about how many, each a graph")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--tmp", type=Path, help="folder for the graphs")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has NetworKit")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        run_job(arguments.job, arguments.folder)
        return
    records = bench([int(size) for size in arguments.edges], arguments.peer_python, arguments.tmp)
    found = report(records)
    for kept in found["tables"]:
        print("\n".join(" | ".join(map(str, row)) for row in [kept["columns"], *kept["rows"]]), end="\n\n")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
