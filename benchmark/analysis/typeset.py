"""Tables for people: frames as lines of cells, and these as Markdown and LaTeX."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from xbench.analysis import rows
from xbench.analysis.rows import Mark, Row
from xbench.analysis.selection import SORT
from xbench.core.pairs import Pair
from xbench.metrics.base import METRICS

#: Column → label → mark.
Marks = Mapping[str, Mapping[str, Mark]]

#: What the signs in cells mean.
LEGEND = (
    "± is half of the 95 % interval over groups (heads, acquisitions) of the mean over pairs; σ is "
    "the standard deviation over seeds, where there are several."
)
#: What marks mean, to be filled with how they look.
MARKED = (
    "{} is better than every other row and {} than all but that one, by 95 % intervals of the "
    "differences between these trained networks; without a mark the lead may be chance."
)
#: Heads the column by which rows are ranked.
CROSS = "FTD cross ↓"
#: Columns of words.
WORDS = ("method",)


@dataclass(frozen=True)
class Cell:
    """Text, with half its interval, its deviation over seeds, and how it ranks."""

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
        notes: what stands below it, beside the meaning of signs.
    """

    name: str
    caption: str
    blocks: Mapping[str, Sequence[Line]]
    notes: list[str] = field(default_factory=list)

    @property
    def heads(self) -> list[str]:
        """Column heads, without columns that are empty in every line of every block."""
        lines = [line for block in self.blocks.values() for line in block]
        heads = dict.fromkeys(head for line in lines for head in line)
        return [head for head in heads if any(head in line and line[head].text for line in lines)]

    def remarks(self, best: str, second: str) -> list[str]:
        """What the signs in its cells mean, given how marks look; then its notes."""
        cells = [cell for block in self.blocks.values() for line in block for cell in line.values()]
        signs = [LEGEND] * any(cell.half or cell.sigma for cell in cells)
        signs += [MARKED.format(best, second)] * any(cell.mark for cell in cells)
        return [*signs, *self.notes]


def table_metrics(chosen: Iterable[str] = ()) -> list[str]:
    """The metrics that a table shows: the chosen ones, else those meant for tables."""
    return list(chosen) or [name for name, metric in METRICS.items() if metric.in_tables]


def marked(by_label: Mapping[str, Row], metrics: Iterable[str], pairs: Sequence[Pair]) -> Marks:
    """Best and second of each column (`rows.marks`)."""
    return {name: rows.marks(by_label, name, pairs) for name in metrics}


def dictionaries(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The lines of a frame as dictionaries."""
    return [{str(name): v for name, v in line.items()} for line in frame.to_dict("records")]


def lines(frame: pd.DataFrame, metrics: Sequence[str], marks: Marks | None = None) -> list[Line]:
    """A frame of `leaderboard.board_of`, or a part of its columns, as lines of text."""
    marks, found = marks or {}, []
    for row in dictionaries(frame):
        label = str(row["method"])
        line = {"#": _whole(row["rank"])} if "rank" in row else {}
        line["method"] = _name(row)
        for name in metrics:
            cell = _mean(row, name, METRICS[name].decimals)
            line[head(name)] = replace(cell, mark=marks.get(name, {}).get(label, ""))
        if SORT in row:
            cell = _mean(row, SORT, METRICS["ftd"].decimals)
            line[CROSS] = replace(cell, mark=marks.get(SORT, {}).get(label, ""))
        found.append(line | costs(row))
    return found


def costs(row: Mapping[str, object]) -> Line:
    """What a row says beside metrics, as far as it does."""
    columns: dict[str, tuple[str, Callable[[object], str]]] = {
        "gap closed ↑": ("gap_closed", lambda value: number(value, 3)),
        "params": ("params", lambda value: _live(value, row.get("params_live"))),
        "params, all pairs": ("params_total", millions),
        "params, training only": ("params_training", millions),
        "nfe": ("nfe", lambda value: number(value, 0)),
        "ms/image": ("seconds_per_image", lambda value: number(value, 1, 1000)),
        "train images": ("train_images", lambda value: number(value, 0)),
        "train s": ("train_seconds", lambda value: number(value, 0)),
    }
    return {text: Cell(show(row[name])) for text, (name, show) in columns.items() if name in row}


def head(name: str) -> str:
    """The head of a metric's column, with an arrow towards the better values."""
    metric = METRICS[name]
    return f"{metric.label} {'↑' if metric.higher_is_better else '↓'}"


def number(value: object, decimals: int, factor: float = 1) -> str:
    """A number with thousands marked; nothing where it is absent."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return f"{value * factor:,.{decimals}f}"


def millions(params: object) -> str:
    """Parameters, readable: 1.13 M; empty where they are not known."""
    return "0" if params == 0 else f"{text} M" if (text := number(params, 2, 1e-6)) else ""


def _live(params: object, live: object) -> str:
    """Parameters, and those of them that have an effect where these are fewer."""
    some = isinstance(params, int) and isinstance(live, int) and live < params
    return millions(params) + (f" ({millions(live)} live)" if some else "")


def _name(row: Mapping[str, object]) -> Cell:
    text = str(row["method"])
    if row.get("reference"):
        text += " (reference)"
    done, _, total = str(row.get("pairs", "")).partition("/")
    if done != total:
        text += f" (pairs {done}/{total})"
    return Cell(text)


def _whole(value: object) -> Cell:
    return Cell(str(value) if isinstance(value, int) else "")


def _mean(row: Mapping[str, object], name: str, decimals: int) -> Cell:
    """A mean with its interval and its deviation over seeds."""
    text = number(row[name], decimals)
    low, high, sigma = (row.get(f"{name}_{kind}") for kind in rows.KINDS)
    half = ""
    if text and isinstance(low, float) and isinstance(high, float) and high > low:
        half = number((high - low) / 2, decimals)
    return Cell(text, half, number(sigma, decimals) if text else "")


# --- Markdown --------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """A table, or one for each of its blocks, with what stands above and below."""
    heads, parts = table.heads, [table.caption, ""]
    for title, block in table.blocks.items():
        parts += [f"### {in_markdown(title)}", ""] if title else []
        parts += [
            "| " + " | ".join(heads) + " |",
            "|" + "|".join("---" if head in WORDS else "---:" for head in heads) + "|",
            *(_markdown_line(line, heads) for line in block),
            "",
        ]
    for remark in table.remarks("**Bold**", "*italic*"):
        parts += [remark, ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def _markdown_line(line: Line, heads: Sequence[str]) -> str:
    return "| " + " | ".join(_markdown_cell(line.get(head, Cell())) for head in heads) + " |"


def _markdown_cell(cell: Cell) -> str:
    stars = {"": "", "best": "**", "second": "*"}[cell.mark]
    text = f"{stars}{in_markdown(cell.text)}{stars}"
    return str(replace(cell, text=text))


def in_markdown(text: str) -> str:
    """A text that shows as it is, whatever signs are in it."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
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
    "[": "{[}",  # after \\ it would be an option
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "σ": r"$\sigma$",
    "–": "--",
    "\n": " ",
}


#: Lines of a table that fit on a page.
LINES = 66


def latex(table: Table) -> str:
    """A `table*` of booktabs; blocks stand below one another, on as many pages as they need."""
    pages = _pages(table.blocks)
    notes = [rf"{in_latex(remark)}\par" for remark in table.remarks("Bold", "underlined")]
    parts = [r"% needs \usepackage{booktabs,adjustbox}"]
    for place, blocks in enumerate(pages, 1):
        part = f" Part {place} of {len(pages)}." if len(pages) > 1 else ""
        caption = in_latex(table.caption.replace("`", "") + part)
        parts += _float(table.heads, blocks, caption, notes if place == len(pages) else [])
    return "\n".join([*parts, ""])


def _pages(blocks: Mapping[str, Sequence[Line]]) -> list[dict[str, Sequence[Line]]]:
    """Blocks dealt to floats in their order, so that each fits on a page."""
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
    text = in_latex(cell.text)
    text = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}[cell.mark].format(
        text
    )
    half = rf" $\pm$ {cell.half}" if cell.half else ""
    return text + half + (rf" ($\sigma$ {cell.sigma})" if cell.sigma else "")


def in_latex(text: str) -> str:
    """A text that shows as it is, whatever signs are in it."""
    return "".join(_LATEX.get(sign, sign) for sign in text)
