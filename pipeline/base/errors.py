"""Errors that end in one line."""


class InputError(Exception):
    """Something that the person running can mend; the message is one line that says what."""


class DivergedError(InputError):
    """A training, or a network, whose numbers are not finite any more."""


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
