"""From images to metric values: features once per image, values with their intervals.

`cases` says what is compared, `measure` evaluates one metric on one case, with `described` for
metrics of cells and gradients. `spaces` has features and what scales them, `features` keeps them on
disk. `scorer` scores the units of a run, `folders` scores folders of images of any origin.

May import `records` (a metric's stored value), `datasets`, `metrics` and `core`.
"""
