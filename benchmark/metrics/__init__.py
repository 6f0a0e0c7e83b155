"""Metrics: declarations (`base`, `definitions`, `local`) and the pure functions behind them.

A metric is one decorated function, exactly as in a plug-in; lists, columns, units and ranges of
tables follow from it. `definitions` declares those of pixels and of sets of images, `local` those
that compare place by place. The other modules compute: `structural` (SSIM, PSNR), `texture` (62
descriptors; `cooccurrence`, `edges`), `cells` (local texture, copies), `gradients` (directions,
whose anatomy is shown), `contours` (edges, outline of bone), `physics` (noise, attenuation, edges,
soft tissue), `lpips`; `frechet`, `kernel` and `manifold` (sets of features), `statistics` (scaling
of features), `extractors` (`inception`, `clip`, or the user's); `uncertainty` (intervals), `paired`
(tests of rows).

Metrics know nothing of methods, data sets or records: they import `core` alone.
"""

from xbench.metrics import definitions, local

__all__ = ["definitions", "local"]
