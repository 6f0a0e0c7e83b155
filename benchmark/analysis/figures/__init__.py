"""Figures of records, of the 8-bit strips beside them, and of the images of a run.

One module for each kind of figure, `style` for what they share. A function here draws the `Results`
of a folder, which were read before, or a data set, and returns the files that it wrote: `to`, or
PNG, SVG and CSV files in the folder. `labels` are the rows to draw, by default all but those of
sweeps, and `chosen` pairs as `SRC:TGT`. The same records give the same bytes.

May import what `analysis` may, and matplotlib; torch only inside a function that measures images.
"""

from xbench.analysis.figures.costs import budget, evaluations
from xbench.analysis.figures.curves import training
from xbench.analysis.figures.differences import differences
from xbench.analysis.figures.fronts import tradeoff
from xbench.analysis.figures.grids import contact_sheet, domains, samples
from xbench.analysis.figures.latent import latents
from xbench.analysis.figures.matrix import pairs
from xbench.analysis.figures.predictors import utility
from xbench.analysis.figures.spectra import spectra
from xbench.analysis.figures.trials import tuning

__all__ = [
    "budget",
    "contact_sheet",
    "differences",
    "domains",
    "evaluations",
    "latents",
    "pairs",
    "samples",
    "spectra",
    "tradeoff",
    "training",
    "tuning",
    "utility",
]
