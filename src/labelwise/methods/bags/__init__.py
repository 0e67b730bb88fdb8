"""Labels that are known as counts of bags only."""
