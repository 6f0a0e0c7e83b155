"""Paths as they are published: without the folders, and so the names, of people and machines."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

#: The folders of installed packages and of Python's own modules, of any system.
LIBRARIES = (
    re.compile(r".*/((?:site|dist)-packages/.*)"),
    re.compile(r".*/(lib(?:64)?/python3(?:\.\d+)?/.*)"),
)
#: The folder above `benchmark/` in a checkout.
PROJECT = Path(__file__).resolve().parents[2]
#: A part of a path that stands in no quotes.
_PART = r"[^\s/\\\"'`<>|:;,()\[\]{}]+"
_DRIVE = r"[A-Za-z]:[\\/]+"
#: Paths from the root on, in quotes (where they may have blanks) or between other words.
ABSOLUTE = re.compile(
    rf"(?P<quote>[\"'`])(?P<quoted>(?:/(?!/)|{_DRIVE}|\\\\)[^\"'`\n]*[^\"'`\n/\\])(?P=quote)"
    rf"|(?<![\w.~…/\\])(?:file://)?(?P<bare>(?:/{_PART}){{2,}}"
    rf"|{_DRIVE}{_PART}(?:[\\/]+{_PART})*|\\\\{_PART}(?:\\{_PART})+)"
)


def without_folders(text: str) -> str:
    """A text, such as a traceback, in which no path begins at the root.

    Paths below the working folder, the project or the folder of a plug-in are relative to it,
    those of libraries to the folder of all libraries; of others the file's name is left.

    >>> without_folders("cannot read '/home/jane/x rays/a.png' or /home/jane/b.png: see a/b")
    "cannot read '…/a.png' or …/b.png: see a/b"
    """

    def shorter(match: re.Match[str]) -> str:
        quote = match["quote"] or ""
        return f"{quote}{_shorter(match['quoted'] or match['bare'])}{quote}"

    user = str(Path.home())
    short = ABSOLUTE.sub(shorter, text)
    return short.replace(user, "~") if len(Path(user).parts) > 1 else short


def folders_in(text: str) -> list[str]:
    """The paths in a text that begin at the root.

    >>> folders_in("mine[weights=/home/jane/w.pt], s/mm, https://a.org/b/c")
    ['/home/jane/w.pt']
    """
    return [match["quoted"] or match["bare"] for match in ABSOLUTE.finditer(text)]


def address(name: str) -> str:
    """What `--method` was given, with a file below the working folder as relative to that.

    Of a file that lies elsewhere the name is left: whoever runs it again says where it is.

    >>> address("/home/jane/mine.py:Mine"), address("medshift")
    ('mine.py:Mine', 'medshift')
    """
    if ".py:" not in name:
        return name
    file, _, attribute = name.rpartition(":")
    path = Path(file.replace("\\", "/") if re.match(_DRIVE, file) else file).expanduser()
    below = next(_below(os.path.abspath(path), *_here()), None)
    return f"{below or path.name}:{attribute}"


def _shorter(path: str) -> str:
    """A path from the root on, in short."""
    plain = re.sub(r"[\\/]+", "/", path)
    for library in LIBRARIES:
        if match := library.fullmatch(plain):
            return f"…/{match[1]}"
    project = [PROJECT] if (PROJECT / "pyproject.toml").is_file() else []
    for below in _below(plain, *_here(), *project):
        return below
    for below in _below(plain, *_plugins()):
        return f"…/{below}"
    name = plain.rpartition("/")[2]
    return f"…/{name}" if plain.count("/") > 1 or plain != path else path


def _here() -> list[Path]:
    """The working folder, unless the homes of users lie below it, so that paths name them."""
    here = Path.cwd()
    return [] if here in Path.home().parents else [here]


def _plugins() -> list[Path]:
    """The folders of the plug-ins that are loaded."""
    from xbench.core import outside

    return outside.folders()


def _below(path: str, *roots: Path) -> Iterator[str]:
    """The path relative to those of the folders that hold it, also through links."""
    for root in roots if os.path.isabs(path) else ():
        for whole in (path, os.path.realpath(path)):
            if Path(whole) != root and Path(whole).is_relative_to(root):
                yield Path(whole).relative_to(root).as_posix()
