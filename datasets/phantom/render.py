"""Turns line integrals into the images of the five domains (air white, bone dark).

A domain has three parts, one for each cause of the gap between simulator and fluoroscope in the
MedShift paper: attenuation, noise, soft tissue. A switch replaces one part in all domains by a
common one:

- attenuation off: every domain uses the image formation of `real_normal` (spectrum, real bone,
  scatter, detector blur, logarithm, multi-scale contrast, grey scale).
- noise off: no domain has any noise.
- soft tissue off: the bone in every domain is surrounded as in the real ones, by a little clear
  plastic and the plate of the mount.

With all three off, and without the structures of single acquisitions, the five images of a view are
the same.

If the arteries hold contrast medium, a domain shows them over the anatomy or, subtracted, alone:
the logarithm of the filled image minus that of the mask, which is taken before. Exposure and window
are those of the mask, as they are set before the injection.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xbench.datasets.phantom.acquisition import Acquisition
from xbench.datasets.phantom.detector import Noise, detect, middle, moved, scatter, shading
from xbench.datasets.phantom.physics import BONE, IODINE, SOFT, mass_attenuation, tube_spectrum
from xbench.datasets.phantom.projection import gaussian

#: Density of acrylic (PMMA), g/cm3. From 50 to 80 keV it attenuates, per g/cm2, like soft tissue
#: within 9 % (NIST: .2074 and .2264, .1751 and .1823).
ACRYLIC_RHO = 1.19


@dataclass(frozen=True)
class Contrast:
    """Contrast medium in the arteries of one view.

    Its water attenuates like the blood that it displaces, so that only its iodine counts.

    Attributes:
        vessels: path through the arteries, cm `[H, W]`.
        rho: iodine in them, g/cm3.
        motion: motion of the real head (down, right) between mask and filling, px at 256 px, which
            makes residues of bone in subtracted images.
    """

    vessels: Tensor
    rho: float
    motion: tuple[float, float] = (0.0, 0.0)

    @property
    def iodine(self) -> Tensor:
        """Path through iodine, g/cm2."""
        return self.rho * self.vessels


@dataclass(frozen=True)
class Paths:
    """Line integrals of one view, `[H, W]` each.

    Attributes:
        dens: real bone, g/cm2.
        solid: a simulator's bone, g/cm2.
        tissue: the soft tissue that a simulator shows, g/cm2.
        plastic: the envelope of the head, g/cm2.
        mount: plate of the mount, cm.
        contrast: filled arteries, if any.
    """

    dens: Tensor
    solid: Tensor
    tissue: Tensor
    plastic: Tensor
    mount: Tensor
    contrast: Contrast | None = None


@dataclass(frozen=True)
class SoftTissue:
    """Surroundings of the bone.

    Attributes:
        tissue: share of the soft tissue that is shown.
        plastic: density of a phantom's filling, as a share of water's.
        blur: of both, px at 256 px.
        mount: whether the plate of the mount is shown.
    """

    tissue: float = 0.0
    plastic: float = 0.0
    blur: float = 0.0
    mount: bool = False


@dataclass(frozen=True)
class Simulated:
    """A simulator's image formation: one energy, one bone material, an exponential grey scale.

    Attributes:
        blur: of the bone, px at 256 px.
        rate: display exponent at the mean attenuation in the middle of the image, by which the
            simulator sets its window, as a fluoroscope its exposure.
        depth: difference of the grey values of air and infinitely thick bone.
        white: grey value of air, before clamping to 1.
    """

    blur: float
    rate: float
    depth: float
    white: float


@dataclass(frozen=True)
class Measured:
    """A fluoroscope's image formation.

    Attributes:
        kvp: tube voltage.
        copper: added filter, mm.
        scatter: scatter-to-primary ratio behind the grid.
        psf: detector blur, px.
        gains: of the bands of detail (see `_process`), finest first, and of what is broader.
        shade: uneven background: attenuation from the middle to a corner.
        contrast: grey values per unit of attenuation, for thin objects.
        knee: attenuation above which the grey scale flattens.
        white: grey value of air.
        halo: share of the brightness above air (by edges and range compression) that is shown.
    """

    kvp: float
    copper: float
    scatter: float
    psf: float
    gains: tuple[float, ...]
    shade: float
    contrast: float
    knee: float
    white: float
    halo: float


@dataclass(frozen=True)
class Look:
    """The image formation of a domain; `subtracted` shows filled arteries without the anatomy."""

    attenuation: Simulated | Measured
    noise: Noise
    soft: SoftTissue
    subtracted: bool = False


_TISSUE = SoftTissue(tissue=0.52, blur=3.0)
_PLASTIC = SoftTissue(plastic=0.04, mount=True)
_SIMULATOR = Simulated(blur=1.0, rate=0.80, depth=0.69, white=1.005)
# kVp and copper are usual values; all others, such as scatter, blur and dose, are calibrated to the
# statistics of the paper's images.
_NORMAL = Measured(
    *(76, 0.2, 0.35, 0.60), (2.2, 1.9, 1.5, 1.2, 1.0, 0.9), 0.07, 0.73, 1.3, 0.970, 0.35
)

LOOKS = {
    "synthetic_low": Look(_SIMULATOR, Noise(grain=0.038), _TISSUE),
    "synthetic_high": Look(_SIMULATOR, Noise(grain=0.005), _TISSUE),
    "real_low": Look(
        Measured(
            *(80, 0.4, 0.40, 0.70), (1.8, 1.6, 1.4, 1.2, 1.0, 0.9), 0.07, 0.79, 1.3, 0.970, 0.35
        ),
        Noise(photons=160, electronic=2.5),
        _PLASTIC,
    ),
    "real_normal": Look(_NORMAL, Noise(photons=1000, electronic=2.5), _PLASTIC),
    "real_exposure": Look(
        Measured(
            *(72, 0.1, 0.30, 0.45), (2.4, 2.0, 1.6, 1.25, 1.0, 0.85), 0.16, 0.70, 1.3, 0.965, 0.50
        ),
        Noise(photons=8000, electronic=4.0),
        _PLASTIC,
    ),
}
#: Widths that divide an image into bands of detail, px at 256 px, and the attenuation at which a
#: detail has lost half of its gain: fine structure is enhanced, strong edges are not.
BANDS, STRONG = (1.0, 2.0, 4.0, 8.0, 17.0), 0.25
#: Share of the grey value that a wedge filter takes away.
WEDGE = 0.22
#: Grey scale of subtracted images (our choice): grey value of the background, grey values per unit
#: of attenuation for fine vessels, attenuation above which it flattens, and gain of the edges in
#: subtracted images (more would mostly enhance noise).
VESSEL_GROUND, VESSEL_CONTRAST, VESSEL_KNEE, VESSEL_EDGE = 0.82, 0.95, 0.75, 0.6


def look(
    domain: str, attenuation: bool, noise: bool, soft_tissue: bool, subtracted: bool = False
) -> Look:
    """The image formation of a domain with the three switches, subtracted or not."""
    own, common = LOOKS[domain], LOOKS["real_normal"]
    return Look(
        own.attenuation if attenuation else common.attenuation,
        own.noise if noise else Noise(spread=True),
        own.soft if soft_tissue else common.soft,
        subtracted,
    )


def render(parts: Look, paths: Paths, seed: int, acquisition: Acquisition | None = None) -> Tensor:
    """Image `[H, W]` in [0, 1] of one view in one domain.

    Args:
        parts: the image formation of the domain.
        paths: line integrals of the view.
        seed: determines the noise.
        acquisition: structures of this exposure, if any.

    Raises:
        ValueError: a subtracted image of a view without contrast medium.
    """
    if parts.subtracted and paths.contrast is None:
        raise ValueError("only a view with contrast medium can be subtracted")
    generator = torch.Generator().manual_seed(seed)
    scale = paths.plastic.shape[-1] / 256
    soft = parts.soft.tissue * paths.tissue + parts.soft.plastic * paths.plastic
    if parts.soft.blur:
        soft = gaussian(soft[None], parts.soft.blur * scale)[0]
    if parts.soft.mount:
        soft = soft + ACRYLIC_RHO * paths.mount
    if acquisition is not None:
        metal = acquisition.path(soft.shape[-1])
        paths = replace(paths, dens=paths.dens + metal, solid=paths.solid + metal)
    if isinstance(parts.attenuation, Simulated):
        grey = _simulate(parts, parts.attenuation, paths, soft)
    else:
        grey = _expose(parts, parts.attenuation, paths, soft, generator)
    if parts.noise.grain:
        strength = 0.15 + 0.85 * (2 - 2 * grey).clamp(0, 1)
        if parts.subtracted:
            strength = strength * math.sqrt(2)  # the grain of two images
        white = torch.randn(grey.shape, generator=generator)
        grey = grey + parts.noise.grain * strength * white
    if acquisition is not None:
        grey = grey * (1 - WEDGE * acquisition.wedge(grey.shape[-1]))
    return grey.clamp(0, 1)


def _simulate(parts: Look, model: Simulated, paths: Paths, soft: Tensor) -> Tensor:
    blur = model.blur * soft.shape[-1] / 256
    bone = gaussian(paths.solid[None], max(blur, 0.1))[0]
    # A simulator's single energy: 60 keV, a usual effective energy for skulls (our choice).
    path = mass_attenuation(BONE, 60) * bone + mass_attenuation(SOFT, 60) * soft
    level = float(path[middle(path)].mean()) + 1e-6
    if paths.contrast is not None:
        # A simulator shows vessels finely, for its devices: half the blur (our choice).
        filling = gaussian(paths.contrast.iodine[None], blur / 2)[0] * mass_attenuation(IODINE, 60)
        if parts.subtracted:
            return _show_vessels(filling)
        path = path + filling
    return model.white - model.depth * (1 - torch.exp(-model.rate / level * path))


def _show_vessels(filling: Tensor) -> Tensor:
    """Grey scale of subtracted images: linear for fine vessels, flatter for wide ones."""
    tone = torch.where(filling > 0, VESSEL_KNEE * (1 - torch.exp(-filling / VESSEL_KNEE)), filling)
    return VESSEL_GROUND - VESSEL_CONTRAST * tone


def _expose(
    parts: Look, model: Measured, paths: Paths, soft: Tensor, generator: torch.Generator
) -> Tensor:
    """Detector signal, noise, logarithm and processing of a fluoroscope."""
    scale = soft.shape[-1] / 256
    spectrum = tube_spectrum(model.kvp, model.copper)
    mask = spectrum.transmission(paths.dens, soft)
    reference = float(mask[middle(mask)].mean())
    scattered = scatter(model.scatter, mask, reference)

    def exposed(signal: Tensor) -> Tensor:
        air = 1 + model.scatter * reference
        return detect(model.psf, air, parts.noise, signal, reference, generator)

    if paths.contrast is None:
        return _process(model, exposed(mask + scattered), scale)
    filled = spectrum.transmission(paths.dens, soft, paths.contrast.iodine)
    path = exposed(filled + scattered)
    if not parts.subtracted:
        return _process(model, path, scale)
    before = moved(mask, paths.contrast.motion, scale)
    filling = path - exposed(before + scattered)
    fine = gaussian(filling[None], max(0.7, scale))[0]
    return _show_vessels(filling + VESSEL_EDGE * (filling - fine))


def _process(model: Measured, path: Tensor, scale: float) -> Tensor:
    """Multi-scale contrast and grey scale of the attenuation `path`.

    A fluoroscope amplifies weak details more than strong ones, band by band: a gain g becomes
    g / (1 + |detail| / STRONG).
    """
    rest, result = path, torch.zeros_like(path)
    for width, gain in zip(BANDS, model.gains, strict=False):
        broad = gaussian(path[None], max(width * scale, 0.5))[0]
        detail = rest - broad
        result += gain * detail / (1 + detail.abs() / STRONG)
        rest = broad
    result += model.gains[-1] * rest + model.shade * shading(path.shape[-1])
    # Above the knee the film-like curve flattens, so that dense bone keeps some structure.
    tone = torch.where(
        result > 0, model.knee * (1 - torch.exp(-result / model.knee)), model.halo * result
    )
    return model.white - model.contrast * tone
