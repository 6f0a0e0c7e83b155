"""From images to metric values: features once per image, values with their intervals.

`measure` evaluates one metric on one case, `scorer` scores the units of a run, `folders` scores
folders of images of any origin, `features` keeps features on disk.

May import `records` (a metric's stored value), `datasets`, `metrics` and `core`.
"""
