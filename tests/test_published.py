"""What lies in results/: small, from clean commits, without names of people, and as one page."""

import re
from pathlib import Path

import pytest

from xbench import report
from xbench.analysis.identifying import identifying
from xbench.records.folders import profile_folders
from xbench.records.provenance import code_state
from xbench.records.schema import Finished
from xbench.records.store import Store, UtilityStore

RESULTS = Path(__file__).parents[1] / "results"
FOLDERS = profile_folders(RESULTS)
#: Of the page, made by `xbench report --out results --to results/index.html --max-mb 5`.
SHOWN, LIMIT_MB = RESULTS / "phantom" / "quick", 5
#: Pictures, whose bytes may change with the library that writes them.
PICTURES = re.compile(
    r'"data:image/png[^"]*"|<script type="text/plain".*?</script>|"picture":(null|\{.*?\})',
    re.DOTALL,
)


def records(folder: Path) -> list[Finished]:
    return [*Store(folder).records(), *UtilityStore(folder).records()]


@pytest.mark.skipif(not (RESULTS.parent / ".git").exists(), reason="this is no checkout")
def test_a_record_made_in_a_checkout_names_its_commit() -> None:
    state = code_state()
    assert re.fullmatch("[0-9a-f]{40}", state["commit"])
    assert state["dirty"] in (True, False)


def test_the_tree_is_small() -> None:
    size = sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file())
    assert size <= 40e6


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: "/".join(f.parts[-2:]))
def test_records_name_clean_commits_and_nobody(folder: Path) -> None:
    own = records(folder)
    assert [r.unit for r in own if not r.provenance.commit or r.provenance.dirty] == []
    assert identifying(own) == []


@pytest.mark.skipif(SHOWN not in FOLDERS, reason="nothing is published yet")
def test_the_page_is_small_and_shows_the_records_of_today(tmp_path: Path) -> None:
    page = (RESULTS / "index.html").read_text("utf-8")
    assert len(page.encode()) <= LIMIT_MB * 1e6
    for commit in {record.provenance.commit for record in records(SHOWN)}:
        assert commit
        assert commit in page
    again = report.write(SHOWN, tmp_path / "index.html", LIMIT_MB).read_text("utf-8")
    assert PICTURES.sub("", page) == PICTURES.sub("", again)
