"""What a stage prints, which must not decide how it ends."""

from __future__ import annotations

import io
from typing import Any


def lenient(stream: Any) -> Any:
    """A stream of a process in whose place no text and no end of what it goes to is an error.

    Names of files may be no text. A log may lie on a disk that fills up, and a terminal be closed: what cannot be
    written is lost then, and the work goes on. Any other stream, such as one that a test has put there, stays.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    raw = getattr(stream.buffer, "raw", stream.buffer)  # the latter where PYTHONUNBUFFERED asks for it
    if not isinstance(raw, io.FileIO):
        stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    lossy: Any = _Lossy(raw)
    return io.TextIOWrapper(
        lossy if raw is stream.buffer else io.BufferedWriter(lossy),
        stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Lossy(io.RawIOBase):
    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw

    def write(self, content: Any) -> int | None:
        try:
            return self._raw.write(content)
        except OSError:
            return len(content)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()
