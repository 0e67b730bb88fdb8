"""Classification with single labels that may be wrong."""
