"""UserError, the one exception that becomes a message instead of a traceback, and how text from outside is printed."""

from typing import ClassVar

MOST = 4000
"""Characters of a printed message; what is longer loses its middle."""


class UserError(Exception):
    """What went wrong and what to do next, in one line (a recipe's mistakes: a line each).

    Args:
        message: what `gancli` prints, after the prefix.
        status: the exit status: 2 the user must change something, 1 it failed while working, 3 the training diverged.
    """

    prefix: ClassVar[str] = "Error: "

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status

    @property
    def lines(self) -> list[str]:
        """The message as it is printed: one line, whatever text from outside it quotes."""
        return [printable(f"{self.prefix}{self}")]


def printable(text: str, most: int | None = MOST) -> str:
    r"""The text as one line that a terminal shows as it is.

    Control characters, line separators, marks that change the direction of writing and other invisible characters
    become escapes such as `\x1b` and `\u202e`; so do the bytes of a file name that is not UTF-8. Names, headers and
    reasons from files that somebody else made may hold any of them. A text of more than `most` characters loses its
    middle.
    """
    shown = "".join(c if c.isprintable() else _escape(ord(c)) for c in text)
    if most is None or len(shown) <= most:
        return shown
    return f"{shown[: most // 2]} … {shown[-(most // 2) :]}"


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # a byte that is not UTF-8, as Python keeps it in a file name
    if code in (0x09, 0x0A, 0x0D):
        return {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}[code]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
