"""Figures: views of the records, of the 8-bit strips beside them, and of what a run kept."""

from xbench.analysis.figures.curves import training
from xbench.analysis.figures.fronts import tradeoff
from xbench.analysis.figures.grids import contact_sheet, domains, samples
from xbench.analysis.figures.latent import latents
from xbench.analysis.figures.matrix import pairs
from xbench.analysis.figures.spectra import spectra
from xbench.analysis.figures.style import save

__all__ = [
    "contact_sheet",
    "domains",
    "latents",
    "pairs",
    "samples",
    "save",
    "spectra",
    "tradeoff",
    "training",
]
