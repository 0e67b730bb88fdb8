"""Labels on the nodes of a graph that may be wrong."""
