"""Methods for examples that may have several labels at once: 1 = present, 0 = absent, -1 = unknown."""
