"""Tables for people: frames as lines of cells, written as Markdown and LaTeX.

Written by hand: pandas' Styler knows LaTeX but no Markdown, great_tables neither Markdown nor a
table on several pages, and both would need our cells of three parts (mean, ±, σ) and our escaping.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from xbench.analysis import rows
from xbench.analysis.columns import spreads
from xbench.analysis.rows import Mark, Row
from xbench.analysis.selection import crossing
from xbench.core.columns import RANKING, Column, crossed
from xbench.core.pairs import Pair
from xbench.core.text import in_csv
from xbench.metrics.base import METRICS

#: Column → label → mark.
Marks = Mapping[str, Mapping[str, Mark]]

#: What the signs in cells mean.
LEGEND = (
    "± is half of the 95 % interval over groups (heads, acquisitions) of the mean over pairs, and "
    "over seeds where there are several (variances add up); σ is the standard deviation over seeds."
)
#: What the sign behind the label of a row means that was trained once.
ONE_SEED = "†"
TRAINED_ONCE = f"{ONE_SEED} one seed: another training of the method may differ by more than ±."
#: What marks mean, to be filled with how they look.
MARKED = (
    "{} is better than every other row and {} than all but that one, by 95 % intervals of the "
    "differences between these trained networks; without a mark the lead may be chance."
)
#: Heads of columns of words, which are set flush left.
WORDS = ("method",)


@dataclass(frozen=True)
class Cell:
    """Text, half of its interval, its deviation over seeds, and its mark."""

    text: str = ""
    half: str = ""
    sigma: str = ""
    mark: Mark = ""

    def __str__(self) -> str:
        half, sigma = f" ± {self.half}" * bool(self.half), f" (σ {self.sigma})" * bool(self.sigma)
        return self.text + half + sigma


#: A row of a table by column heads.
Line = dict[str, Cell]


@dataclass(frozen=True)
class Table:
    """A table for people.

    Attributes:
        name: what its files are called.
        caption: what it shows, one line.
        blocks: title → lines; a table of one part has one block without a title.
        notes: remarks below it, after the meaning of signs.
    """

    name: str
    caption: str
    blocks: Mapping[str, Sequence[Line]]
    notes: list[str] = field(default_factory=list)

    @property
    def heads(self) -> list[str]:
        """Column heads, without columns that are empty in all lines."""
        lines = [line for block in self.blocks.values() for line in block]
        heads = dict.fromkeys(head for line in lines for head in line)
        return [head for head in heads if any(head in line and line[head].text for line in lines)]

    def remarks(self, best: str, second: str, escape: Callable[[str], str] = str) -> list[str]:
        """What the signs in its cells mean, given how marks look, and its notes, escaped."""
        cells = [cell for block in self.blocks.values() for line in block for cell in line.values()]
        signs = [escape(LEGEND)] * any(cell.half or cell.sigma for cell in cells)
        signs += [escape(TRAINED_ONCE)] * any(f" {ONE_SEED}" in cell.text for cell in cells)
        signs += [MARKED.format(best, second)] * any(cell.mark for cell in cells)
        return [*signs, *map(escape, self.notes)]


def marked(by_label: Mapping[str, Row], columns: Sequence[Column], pairs: Sequence[Pair]) -> Marks:
    """Best and second row of each column that says how good rows are (`rows.marks`)."""
    marks = {c.name: rows.marks(by_label, c.name, pairs) for c in columns if c.name in METRICS}
    if not by_label:
        return marks
    cross = crossing(rows.first(by_label), pairs)
    for metric in RANKING:
        if crossed(metric) in {column.name for column in columns}:
            marks[crossed(metric)] = rows.marks(by_label, metric, cross)
    return marks


def dictionaries(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The lines of a frame as dictionaries."""
    return [{str(name): v for name, v in line.items()} for line in frame.to_dict("records")]


def lines(frame: pd.DataFrame, columns: Sequence[Column], marks: Marks | None = None) -> list[Line]:
    """A frame of `leaderboard.board_of` as cells of these columns, as far as it has them."""
    there = [column for column in columns if column.name in frame]
    return [
        {column.head: _cell(row, column, marks or {}) for column in there}
        for row in dictionaries(frame)
    ]


def _cell(row: Mapping[str, object], column: Column, marks: Marks) -> Cell:
    if column.name == "method":
        return Cell(_name(row))
    text = column.text(row[column.name])
    if column.name == "params":
        return Cell(text + _live(row, column))
    low, high, over_seeds = (row.get(name) for name in spreads(column.name))
    half = ""
    if text and isinstance(low, float) and isinstance(high, float) and high > low:
        half = column.text((high - low) / 2)
    mark = marks.get(column.name, {}).get(str(row["method"]), "")
    return Cell(text, half, column.text(over_seeds) if text else "", mark)


def _name(row: Mapping[str, object]) -> str:
    """The label, whether it is a reference or trained once, and its pairs if it has not all."""
    text = str(row["method"])
    if row.get("reference"):
        text += " (reference)"
    elif trained_once(row):
        text += f" {ONE_SEED}"
    done, _, total = str(row.get("pairs", "")).partition("/")
    return text if done == total else f"{text} (pairs {done}/{total})"


def trained_once(row: Mapping[str, object]) -> bool:
    """Whether a row's networks have one seed; of rows of other programs it is not known."""
    drawn = row.get("train_images")
    trained = isinstance(drawn, int) and drawn > 0
    return trained and not row.get("reference") and row.get("seeds") == 1


def _live(row: Mapping[str, object], column: Column) -> str:
    """How many of the parameters have an effect, where it is not all of them."""
    all_of_them, live = row["params"], row.get("params_live")
    fewer = isinstance(all_of_them, int) and isinstance(live, int) and live < all_of_them
    return f" ({column.text(live)} live)" if fewer else ""


def csv(frame: pd.DataFrame) -> str:
    """A frame as CSV; no text of it is a formula to a spreadsheet."""
    safe = frame.map(lambda value: in_csv(value) if isinstance(value, str) else value)
    return safe.to_csv(index=False, float_format="%.6g")


# --- Markdown --------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """The caption, a table for each block, and the notes."""
    heads, parts = table.heads, [_with_code(table.caption), ""]
    for title, block in table.blocks.items():
        parts += [f"### {in_markdown(title)}", ""] if title else []
        parts += [
            "| " + " | ".join(heads) + " |",
            "|" + "|".join("---" if head in WORDS else "---:" for head in heads) + "|",
            *(
                "| " + " | ".join(_markdown_cell(line.get(head, Cell())) for head in heads) + " |"
                for line in block
            ),
            "",
        ]
    for remark in table.remarks("**Bold**", "*italic*", in_markdown):
        parts += [remark, ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def _markdown_cell(cell: Cell) -> str:
    stars = {"": "", "best": "**", "second": "*"}[cell.mark]
    return str(replace(cell, text=f"{stars}{in_markdown(cell.text)}{stars}"))


def _with_code(text: str) -> str:
    """A text with parts between backticks, which are set as code."""
    parts = text.split("`")
    return "".join(f"`{p}`" if k % 2 else in_markdown(p) for k, p in enumerate(parts))


def in_markdown(text: str) -> str:
    r"""A text with all signs escaped that mean something in Markdown.

    >>> print(in_markdown("a_b|c"))
    a\_b\|c
    """
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Neither links nor pictures, not even those that some readers make of bare addresses.
    plain = plain.replace("://", ":&#47;/").replace("www.", "www&#46;")
    plain = re.sub(r"\](?=[\[(:])", "&#93;", plain)
    return re.sub(r"([\\`*_|$~])", r"\\\1", plain).replace("\n", " ")


# --- LaTeX -----------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{"[": "{[}", "*": "{*}"},  # after \\ they would be options
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "σ": r"$\sigma$",
    "†": r"\textdagger{}",
    "–": "--",
    "\n": " ",
    "\0": "{}",
}


#: Lines of a table that fit on a page.
LINES = 66


def latex(table: Table) -> str:
    """A `table*` of booktabs with all blocks, or several where they need more than a page."""
    pages = _pages(table.blocks)
    notes = [rf"{note}\par" for note in table.remarks("Bold", "underlined", in_latex)]
    parts = [r"% needs \usepackage{booktabs,adjustbox}"]
    for place, blocks in enumerate(pages, 1):
        part = f" Part {place} of {len(pages)}." if len(pages) > 1 else ""
        caption = in_latex(table.caption.replace("`", "") + part)
        parts += _float(table.heads, blocks, caption, notes if place == len(pages) else [])
    return "\n".join([*parts, ""])


def _pages(blocks: Mapping[str, Sequence[Line]]) -> list[dict[str, Sequence[Line]]]:
    """Blocks in their order, as many on each page as fit."""
    pages: list[dict[str, Sequence[Line]]] = [{}]
    for title, block in blocks.items():
        if pages[-1] and sum(map(len, pages[-1].values())) + len(block) > LINES:
            pages.append({})
        pages[-1][title] = block
    return pages


def _float(
    heads: Sequence[str], blocks: Mapping[str, Sequence[Line]], caption: str, notes: Sequence[str]
) -> list[str]:
    """The lines of one `table*`."""
    columns = "".join("l" if head in WORDS else "r" for head in heads)
    body: list[str] = []
    for title, block in blocks.items():
        body += [r"\midrule"]
        if title:
            body += [rf"\multicolumn{{{len(heads)}}}{{l}}{{\emph{{{in_latex(title)}}}}} \\"]
        body += [
            " & ".join(_latex_cell(line.get(head, Cell())) for head in heads) + r" \\"
            for line in block
        ]
    return [
        r"\begin{table*}",
        r"\centering\footnotesize",
        rf"\caption{{{caption}}}",
        rf"\begin{{adjustbox}}{{max width=\textwidth}}\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(in_latex(head) for head in heads) + r" \\",
        *body,
        r"\bottomrule",
        r"\end{tabular}\end{adjustbox}",
        *([r"\par\smallskip\raggedright", *notes] if notes else []),
        r"\end{table*}",
    ]


def _latex_cell(cell: Cell) -> str:
    mark = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}[cell.mark]
    shown = str(replace(cell, text=mark.format(in_latex(cell.text))))
    return shown.replace("±", _LATEX["±"]).replace("σ", _LATEX["σ"])


def in_latex(text: str) -> str:
    r"""A text with all signs escaped that mean something in LaTeX.

    >>> print(in_latex("50 %"))
    50 \%
    """
    apart = re.sub(r"([-`'?!])(?=[-`'])", "\\1\0", text)  # fonts make one sign of two
    return "".join(_LATEX.get(sign, sign) for sign in apart)
