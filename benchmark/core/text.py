"""Text of unknown origin: it is shown as text, and hides and moves nothing."""

import re
import unicodedata

#: Unicode's categories of signs that cannot be seen: control, format, unassigned, private use,
#: halves of pairs, and separators of lines and paragraphs.
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
#: Joiners inside words of some scripts; they change how letters look and move nothing.
JOINERS = "\u200c\u200d"


def visible(text: str, keep: str = "") -> str:
    r"""Text with every sign that cannot be seen as its code, such as those that turn the direction.

    Args:
        text: of unknown origin.
        keep: signs that stay, such as line breaks.

    >>> print(visible("a\u202eb"))
    a\u202eb
    """
    if text.isprintable():
        return text
    return "".join(sign if _is_seen(sign) or sign in keep else code(sign) for sign in text)


def _is_seen(sign: str) -> bool:
    return unicodedata.category(sign) not in UNSEEN or sign in JOINERS


def code(sign: str) -> str:
    """What stands for a sign: its number, or, of a file's name that is no UTF-8, its byte."""
    if "\udc80" <= sign <= "\udcff":
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")


def in_csv(text: str) -> str:
    """A cell of a table for spreadsheets, which would run it if it began like a formula.

    The apostrophe is how spreadsheets mark text; they do not show it. Numbers stay numbers.

    >>> in_csv("=1+1"), in_csv("-3.5"), in_csv("cut")
    ("'=1+1", '-3.5', 'cut')
    """
    number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text)
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") and not number else text
