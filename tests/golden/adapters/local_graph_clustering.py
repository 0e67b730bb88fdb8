"""Adapter of 18-local-graph-clustering.json: methods.graphs.local_clustering."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.methods.graphs.local_clustering import (
    Diffusion,
    flow_diffusion_exact,
    label_edge_weights,
    set_f1,
)
from labelwise.numerics.graphs import conductance, graph_from_edges, sweep_cut

from . import UnknownCase, check_known, compute

FIELDS = ("num_nodes", "edges", "labels", "target")
PARAMS = ("seed_node", "epsilon", "source_mass", "sink")


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    inputs, params = case["inputs"], case["params"]
    if set(inputs) != set(FIELDS):
        raise UnknownCase(f"unknown fields: {', '.join(inputs)}")
    check_known(params, PARAMS, "params")
    check_known([params["sink"]], ("ones", "degree"), "sinks")

    edges = np.asarray(inputs["edges"], dtype=np.int64).reshape(-1, 2)
    graph = graph_from_edges(edges, inputs["num_nodes"])
    weighted = label_edge_weights(graph, inputs["labels"], params["epsilon"])
    source = {params["seed_node"]: params["source_mass"]}
    # Sinks are those of the original graph, also for the weighted one.
    nodes = np.arange(graph.num_nodes)
    sink = graph.degree(nodes) if params["sink"] == "degree" else np.ones(graph.num_nodes)

    found = flow_diffusion_exact(weighted, source, sink)
    plain = flow_diffusion_exact(graph, source, sink)
    swept, swept_conductance = sweep_cut(weighted, found.nodes, found.x)
    return compute(
        case,
        {
            "edge_weights": lambda: weighted.matrix()[edges[:, 0], edges[:, 1]],
            "x": lambda: everywhere(found, found.x, graph.num_nodes),
            "final_mass": lambda: everywhere(found, found.mass, graph.num_nodes),
            "support": lambda: support(found),
            "support_f1": lambda: set_f1(support(found), inputs["target"]),
            "objective": lambda: found.objective,
            "conductance_weighted": lambda: conductance(weighted, support(found)),
            "sweep_cluster": lambda: swept,
            "sweep_conductance": lambda: swept_conductance,
            "unweighted_x": lambda: everywhere(plain, plain.x, graph.num_nodes),
            "unweighted_support": lambda: support(plain),
            "unweighted_f1": lambda: set_f1(support(plain), inputs["target"]),
        },
    )


def everywhere(found: Diffusion, values: np.ndarray, num_nodes: int) -> np.ndarray:
    full = np.zeros(num_nodes)
    full[found.nodes] = values
    return full


def support(found: Diffusion) -> np.ndarray:
    return found.nodes[found.x > 1e-9]
