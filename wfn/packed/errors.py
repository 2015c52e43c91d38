"""What is wrong with a packed file, and what others' errors say."""


class PackedError(ValueError):
    """A file that is no packed file, is damaged, or says what it must not; the message is one line."""


def first_line(error: BaseException) -> str:
    """Type of an exception and the first line that it has."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
