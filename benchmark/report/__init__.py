"""The whole comparison as one HTML file that needs no server and no network.

`gather` collects what the page shows, `data` what its script computes with, `pictures` its images,
`drawings` its figures, `origin` where each row comes from, `predictions` what networks of
`xbench utility` saw; `page` fills the template in `page/` with all of it. `vendor/` has libraries
of others, unchanged.

May import `analysis` and all below it; neither torch nor a method is imported, but where such
predictions are drawn, and no matplotlib, but where there are figures.
"""

from xbench.report.page import write

__all__ = ["write"]
