"""What is wrong with a packed file."""


class PackedError(ValueError):
    """A file that is no packed file, is damaged, or says what it must not; the message is one line."""
