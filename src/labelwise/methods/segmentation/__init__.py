"""Methods for masks: the class of every pixel."""
