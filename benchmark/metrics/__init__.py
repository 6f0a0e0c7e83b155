"""Metrics: declarations (`base`, `definitions`) and the pure functions behind them.

A metric is one decorated function in `definitions`, exactly as in a plug-in; lists, columns, units
and ranges of tables follow from it. The other modules compute: `structural` (SSIM, PSNR), `texture`
(62 descriptors; `cooccurrence`, `edges`), `frechet` and `kernel` (distances of features),
`statistics` (scaling of features), `extractors` (`inception`, `clip`, or the user's), `physics`
(noise, attenuation, edges, soft tissue, bone), `uncertainty` (intervals), `paired` (tests of rows).

Metrics know nothing of methods, data sets or records: they import `core` alone.
"""

from xbench.metrics import definitions

__all__ = ["definitions"]
