"""What records say: rows, tables, figures, comparisons. All of it can be deleted and recomputed.

`results` reads a folder's records, `rows` averages them, `columns` lists the columns of tables,
`selection` chooses pairs and the column that ranks, `leaderboard` and `breakdowns` make frames,
`tables` writes them as CSV, Markdown and LaTeX through `typeset` with `footnotes`, `terminal`
prints them. `tradeoffs`, `compare`, `differing` and `latents` compute what `figures` draws.
`publish` copies results, `identifying` finds what in them identifies a person, `reproduce` prints
the commands behind them.

May import `records`, `datasets`, `metrics` and `core`; no method is run here. Importing a module
from here imports neither torch nor, outside of `figures`, a plotting library.
"""
