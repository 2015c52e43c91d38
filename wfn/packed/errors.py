"""What is wrong with a packed file, and what others' errors say."""

LONGEST = 1000  # characters of a message


class PackedError(ValueError):
    """A file that is no packed file, is damaged, or says what it must not.

    The message is one line that a terminal shows as it is, whatever names the file has.
    """

    def __init__(self, message: str) -> None:
        shown = "".join(each if each.isprintable() else "?" for each in message[: LONGEST + 1])
        super().__init__(shown if len(message) <= LONGEST else f"{shown[:LONGEST]}...")


def first_line(error: BaseException) -> str:
    """Type of an exception and the first line that it has."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
