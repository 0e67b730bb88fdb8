"""The one error a user is meant to read."""


class InputError(ValueError):
    """Bad input: the message is one clear sentence that says where, what, and the remedy."""
