"""What records say: rows, tables, figures, comparisons. All of it is derived and can be deleted.

`rows` averages records, `leaderboard` ranks rows, `selection` chooses pairs and columns, `tables`
writes CSV, Markdown and LaTeX through `typeset`, `terminal` prints, `figures` draws, `compare`
tests two rows, `publish` copies results, `reproduce` prints the commands behind them.

May import `records`, `datasets`, `metrics` and `core`; no method is run here.
"""
