"""The harness: from a request to finished units.

`plan` lists the units, `sweep` the units of a grid; `pending` says which are left; `session` does
one run from plan to summary; `runner` trains (`trainings`), translates (`translation`), scores and
stores unit by unit, alone or beside other processes (`workers`, `engines`). `status`, `verify` and
`clean` look at what earlier runs left; `own_images` and `external` take images of the user's own.

May import every room below: `analysis`, `scoring`, `records`, `plugins`, `methods`, `datasets`,
`metrics`, `core`.
"""
