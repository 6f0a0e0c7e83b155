"""Blocks of Markdown pages that are made from the code: compared, or rewritten.

`XBENCH_REWRITE=1 pytest tests/test_readme.py tests/test_official.py` writes them.
"""

import os
import re
from pathlib import Path


def same(page: Path, name: str, text: str) -> bool:
    """Whether the block `<!-- name -->` … `<!-- end -->` of a page has this text."""
    block = re.compile(rf"(<!-- {re.escape(name)} -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)
    before = page.read_text("utf-8")
    found = block.search(before)
    if found is None:
        return False
    if os.environ.get("XBENCH_REWRITE") == "1":
        page.write_text(before[: found.start(2)] + text + before[found.end(2) :], "utf-8")
        return True
    return found[2] == text
