"""Names of files as text: one spelling of accents, and no bytes that cannot be written."""

import shlex
import unicodedata
from pathlib import Path


def plain(name: str) -> str:
    r"""A file's name as text that can be compared, shown and stored.

    Accents are composed (NFC: macOS and Linux spell `ä` differently); bytes that are no UTF-8,
    which Python keeps as lone surrogates, become `%E4`.

    >>> plain("Scha\u0308del"), plain("sch\udce4del")
    ('Schädel', 'sch%E4del')
    """
    composed = unicodedata.normalize("NFC", name)
    return "".join(_escaped(c) if "\ud800" <= c <= "\udfff" else c for c in composed)


def quoted(path: Path | str) -> str:
    """A path as it is pasted into a shell: in quotes if it has blanks or the like.

    >>> quoted("a/b.png"), quoted("my images")
    ('a/b.png', "'my images'")
    """
    return shlex.quote(str(path))


def _escaped(surrogate: str) -> str:
    code = ord(surrogate)
    # Python keeps the byte B of a name as U+DC00 + B.
    return f"%{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"%{code:04X}"
