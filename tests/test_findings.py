"""Numbers in README.md and results/FINDINGS.md are those of the published results.

A paragraph, list item or table that quotes results is followed by comments that nobody sees:

    MedShift reaches 0.080 (0.071 to 0.089) with 1.13 M parameters on 20 pairs.
    <!-- from phantom/quick/leaderboard.csv: method=medshift ltd_cross ltd_cross_ci_low
         ltd_cross_ci_high params -->
    <!-- given 20 -->

- `from FILE: COLUMN=VALUE … COLUMN …`: a file below results/, the rows that are meant, and the
  columns whose values stand in the text. The same column named twice chooses both rows
  (`method=medshift method=filter`); a value with a space stands in quotes. In a table the values
  of one row stand in one line.
- `from phantom/quick compare A B [METRIC [GROUP]]: difference ci_low ci_high`: what
  `xbench compare A B --metric METRIC --group GROUP --out results` says; also `wins`, `ties`
  and `losses`.
- `given`: numbers of the setup, such as 20 pairs or the 95 of "95 %".

Values are compared as they are rounded in the text. `99 %`, `1.13 M`, `5 min` and `2 h` are
0.99, 1130000, 300 and 7200 there. Every number in such a block needs a source, and every value
that is named must stand in it. In FINDINGS.md this holds for the whole page. Numbers in `code` do
not count.
"""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
claims = runpy.run_path(str(Path(__file__).with_name("claims.py")))
problems = claims["problems"]

TABLE = """method,ltd,params,note
medshift,0.0804,1130000,a
filter,0.0876,0,b
"cut[images=1024]",,1,c
"""


PAGES = [("README.md", False), ("results/FINDINGS.md", True)]


@pytest.mark.parametrize(("page", "everywhere"), PAGES)
def test_numbers_on_pages_are_those_of_the_results(page: str, everywhere: bool) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert problems(text, ROOT / "results", everywhere=everywhere) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "board.csv").write_text(TABLE)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "MedShift has .080 with 1.1 M.\n<!-- from board.csv: method=medshift ltd params -->",
        "MedShift has 8.0 % on 20 pairs.\n<!-- from board.csv: note=a ltd --><!-- given 20 -->",
        "| medshift | 0.080 |\n| filter | 0.088 |\n\n"
        "<!-- from board.csv: method=medshift method=filter ltd -->",
        "Code such as `tau=0.3`, [a page](x-1.5.md) and v1.2 claim nothing.",
    ],
)
def test_numbers_as_they_are_rounded_are_right(folder: Path, text: str) -> None:
    assert problems(text, folder, everywhere=True) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("It has 0.081.\n<!-- from board.csv: method=medshift ltd -->", "ltd 0.0804 is not in"),
        ("0.080 and 7.\n<!-- from board.csv: method=medshift ltd -->", "7 has no source"),
        ("−0.080\n<!-- from board.csv: method=medshift ltd -->", "ltd 0.0804 is not in"),
        ("0.080\n<!-- from board.csv: method=cut ltd -->", "no row with method=cut"),
        ("0.080\n<!-- from board.csv: method=medshift fid -->", "no column fid"),
        ("0.080\n<!-- from other.csv: method=medshift ltd -->", "there is no file"),
        ("0\n<!-- from board.csv: note=c ltd -->", "ltd is empty"),
        (
            "| medshift | 0.088 |\n| filter | 0.080 | 0 |\n"
            "<!-- from board.csv: method=medshift method=filter ltd params -->",
            "params 1.13e+06 is not in",
        ),
        ("A number of an earlier paragraph, 0.5.\n\nNo number.\n<!-- given 0.5 -->", "0.5 has no"),
    ],
)
def test_numbers_that_are_not_those_of_the_source_are_told(
    folder: Path, text: str, problem: str
) -> None:
    assert any(problem in found for found in problems(text, folder, everywhere=True))


def test_a_page_may_have_numbers_without_a_source_where_it_claims_none(folder: Path) -> None:
    assert problems("On 64 px.", folder, everywhere=False) == []
    assert problems("On 64 px.", folder, everywhere=True) == ["64 has no source: On 64 px."]
