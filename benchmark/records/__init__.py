"""Finished units on disk: what is stored of them, where it lies, and whether it is fresh.

`schema` says what a record holds, `units` which unit it is of, `store` reads and writes,
`freshness` says in words why a record is out of date, `images` keeps 16-bit images and strips,
`provenance` names code and machine, `folders` finds results folders.

May import `metrics` (declarations), `datasets.registry` and `core`. Reading records imports neither
torch nor a method.
"""
