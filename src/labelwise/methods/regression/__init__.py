"""Methods for labels that are numbers."""
