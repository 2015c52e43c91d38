"""Errors that end in one line."""


class InputError(Exception):
    """Something that the person running can mend; the message is one line that says what."""


class DivergedError(InputError):
    """A training, or a network, whose numbers are not finite any more."""


def asked_to_stop(error: BaseException) -> BaseException | None:
    """What a signal's handler has raised, where an error is that, or what compiled code makes of it; else None."""
    found = error.__cause__ if isinstance(error, SystemError) else error
    return None if isinstance(found, Exception) else found


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(error: BaseException) -> str:
    """All that an error says in one line, shortened; its kind where it says nothing."""
    return " ".join(str(error).split())[:240] or type(error).__name__
