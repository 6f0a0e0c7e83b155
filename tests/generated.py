"""Blocks of Markdown pages that are made from the code: compared, or written anew.

`XBENCH_REWRITE=1 pytest tests/test_readme.py tests/test_official.py` writes them.
"""

import os
import re
from pathlib import Path


def same(page: Path, name: str, text: str) -> bool:
    """Whether the block `<!-- name -->` … `<!-- end -->` of a page has this text."""
    block = re.compile(rf"(<!-- {re.escape(name)} -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)
    before = page.read_text()
    if os.environ.get("XBENCH_REWRITE") == "1":
        page.write_text(block.sub(lambda found: found[1] + text + found[3], before))
        return True
    found = block.search(before)
    return found is not None and found[2] == text
