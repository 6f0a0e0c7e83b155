"""Importers of public data sets: from an archive on the internet to a folder data set.

`xdigiskull` is the importer of X-DigiSkull: `zenodo` downloads the files of a record, `archives`
extracts them safely, `recognise` infers domains and views from file names.

May import the modules of `datasets` (not `phantom`) and `core`.
"""
