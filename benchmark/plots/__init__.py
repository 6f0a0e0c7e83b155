"""Figures: views of the records, of the 8-bit strips beside them, and of what a run kept."""

from xbench.plots.curves import training
from xbench.plots.fronts import tradeoff
from xbench.plots.grids import contact_sheet, domains, samples
from xbench.plots.latent import latents
from xbench.plots.matrix import pairs
from xbench.plots.spectra import spectra
from xbench.plots.style import save

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
