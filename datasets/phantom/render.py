"""The five domains: how line integrals become images (air white, bone dark).

A domain is made of three parts, one for each cause of the gap between simulator and fluoroscope
that the MedShift paper names: attenuation, noise, soft tissue. A switch replaces one part in all
domains by a common one:

- attenuation off: every domain uses the image formation of `real_normal` (spectrum, layered bone,
  scatter, detector blur, logarithm, dynamic range compression, edge enhancement, grey scale).
- noise off: no domain has any noise.
- soft tissue off: every domain has the surroundings of the bone that the real ones have (little
  clear plastic and the plate of the mount).

With all three off, the five images of a view are the same.

Where the arteries hold contrast medium, a domain shows them over the anatomy or, subtracted, alone:
the logarithm of the filled image less that of the mask taken before. Exposure and window are those
of the mask, as a run is set before the injection.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from xbench.datasets.phantom.physics import (
    BONE,
    IODINE,
    SOFT,
    Spectrum,
    mass_attenuation,
    tube_spectrum,
)
from xbench.datasets.phantom.projection import gaussian

#: Density of acrylic (PMMA), g/cm3. Per g/cm2 it attenuates like soft tissue within 9 % from 50 to
#: 80 keV (NIST: .2074 against .2264, .1751 against .1823).
ACRYLIC_RHO = 1.19


@dataclass(frozen=True)
class Contrast:
    """Contrast medium in the arteries of one view.

    The medium's water attenuates like the blood it displaces; only its iodine is added.

    Attributes:
        vessels: path through the arteries, cm `[H, W]`.
        rho: iodine in them, g/cm3.
        motion: how far the real head moved (down, to the right) between mask and filling, px at
            256 px: what subtraction leaves of the bone.
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
        dens: layered bone, g/cm2.
        solid: one-material bone, g/cm2.
        soft: envelope of the head, g/cm2.
        mount: plate of the mount, cm.
        contrast: filled arteries, if any.
    """

    dens: Tensor
    solid: Tensor
    soft: Tensor
    mount: Tensor
    contrast: Contrast | None = None


@dataclass(frozen=True)
class SoftTissue:
    """What surrounds the bone: `share` of the tissue path, blurred (px at 256 px), mount or not."""

    share: float
    blur: float
    mount: bool


@dataclass(frozen=True)
class Noise:
    """Photons per pixel in the middle of the image (0: none), electronic noise, display grain.

    Attributes:
        photons: detected quanta per output pixel at the exposure control's reference.
        electronic: standard deviation of the read-out, in quanta.
        grain: standard deviation of white noise added to the grey values at mid-grey; it fades
            towards white, since air saturates in the published images.
    """

    photons: float = 0.0
    electronic: float = 0.0
    grain: float = 0.0


@dataclass(frozen=True)
class Simulated:
    """A simulator's image formation: one energy, one bone material, an exponential grey scale.

    Attributes:
        blur: of the bone, px at 256 px.
        rate: display exponent at the mean attenuation in the middle of the image (the simulator
            sets its window as the fluoroscope sets its exposure).
        depth: grey levels between air and infinitely thick bone.
        white: grey of air before it saturates at 1.
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
        range_compression: share of the broad structure (17 px at 256 px) that is taken out.
        edge: gain of the unsharp mask, and
        edge_width: its width in px at 256 px.
        shade: uneven background, in units of attenuation from the middle to a corner.
        contrast: grey levels per unit of attenuation for thin objects.
        knee: attenuation beyond which the grey scale flattens.
        white: grey of air.
        halo: share of what edges and range compression raise above air that is shown.
    """

    kvp: float
    copper: float
    scatter: float
    psf: float
    range_compression: float
    edge: float
    edge_width: float
    shade: float
    contrast: float
    knee: float
    white: float
    halo: float


@dataclass(frozen=True)
class Look:
    """One domain; `subtracted` shows filled arteries without the anatomy."""

    attenuation: Simulated | Measured
    noise: Noise
    soft: SoftTissue
    subtracted: bool = False


_TISSUE = SoftTissue(share=0.22, blur=4.0, mount=False)
_PLASTIC = SoftTissue(share=0.04, blur=0.0, mount=True)
_SIMULATOR = Simulated(blur=1.5, rate=0.85, depth=0.69, white=1.005)
# kVp and copper as they are in use; the rest, scatter, blur and dose among it, is calibrated to the
# statistics of the paper's images (`real_low` has about five times the dose first assumed).
_NORMAL = Measured(76, 0.2, 0.35, 0.60, 0.12, 3.0, 1.0, 0.02, 0.63, 1.3, 0.970, 0.12)

LOOKS = {
    "synthetic_low": Look(_SIMULATOR, Noise(grain=0.038), _TISSUE),
    "synthetic_high": Look(_SIMULATOR, Noise(grain=0.005), _TISSUE),
    "real_low": Look(
        Measured(80, 0.4, 0.40, 0.70, 0.12, 2.0, 1.0, 0.02, 0.69, 1.3, 0.970, 0.12),
        Noise(photons=160, electronic=2.5),
        _PLASTIC,
    ),
    "real_normal": Look(_NORMAL, Noise(photons=1000, electronic=2.5), _PLASTIC),
    "real_exposure": Look(
        Measured(72, 0.1, 0.30, 0.45, 0.22, 4.5, 1.0, 0.12, 0.63, 1.3, 0.965, 0.40),
        Noise(photons=12000, electronic=4.0),
        _PLASTIC,
    ),
}


#: Grey scale of subtracted images (our choice): grey of the background, grey levels per unit of
#: attenuation for fine vessels, attenuation beyond which it flattens, and the share of a domain's
#: edge enhancement that subtracted images get (more would enhance little but noise).
VESSEL_GROUND, VESSEL_CONTRAST, VESSEL_KNEE, VESSEL_EDGE = 0.82, 0.95, 0.75, 0.25


def look(
    domain: str, attenuation: bool, noise: bool, soft_tissue: bool, subtracted: bool = False
) -> Look:
    """The parts of a domain under the three switches, and whether the mask is taken off."""
    own, common = LOOKS[domain], LOOKS["real_normal"]
    return Look(
        own.attenuation if attenuation else common.attenuation,
        own.noise if noise else Noise(),
        own.soft if soft_tissue else common.soft,
        subtracted,
    )


def bone_channel(parts: Look) -> str:
    """Which bone channel a domain is made of."""
    return "solid" if isinstance(parts.attenuation, Simulated) else "dens"


def render(parts: Look, paths: Paths, seed: int) -> Tensor:
    """Image `[H, W]` in [0, 1] of one view in one domain; `seed` draws the noise.

    Raises:
        ValueError: a subtracted image of a view without contrast medium.
    """
    if parts.subtracted and paths.contrast is None:
        raise ValueError("only a view with contrast medium can be subtracted")
    generator = torch.Generator().manual_seed(seed)
    scale = paths.soft.shape[-1] / 256
    soft = parts.soft.share * paths.soft
    if parts.soft.blur:
        soft = gaussian(soft[None], parts.soft.blur * scale)[0]
    if parts.soft.mount:
        soft = soft + ACRYLIC_RHO * paths.mount
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
    return grey.clamp(0, 1)


def _simulate(parts: Look, model: Simulated, paths: Paths, soft: Tensor) -> Tensor:
    blur = model.blur * soft.shape[-1] / 256
    bone = gaussian(paths.solid[None], blur)[0]
    # A simulator's single energy: 60 keV, a usual effective energy for skull work (our choice).
    path = mass_attenuation(BONE, 60) * bone + mass_attenuation(SOFT, 60) * soft
    level = float(path[_middle(path)].mean()) + 1e-6
    if paths.contrast is not None:
        # A simulator has its vessels as fine as its device needs them: half the blur (our choice).
        filling = gaussian(paths.contrast.iodine[None], blur / 2)[0] * mass_attenuation(IODINE, 60)
        if parts.subtracted:
            return _show_vessels(filling)
        path = path + filling
    return model.white - model.depth * (1 - torch.exp(-model.rate / level * path))


def _show_vessels(filling: Tensor) -> Tensor:
    """Grey scale of subtracted images: linear for fine vessels, flatter for wide ones."""
    tone = torch.where(filling > 0, VESSEL_KNEE * (1 - torch.exp(-filling / VESSEL_KNEE)), filling)
    return VESSEL_GROUND - VESSEL_CONTRAST * tone


def _middle(image: Tensor) -> tuple[slice, slice]:
    """The central half of both axes, where exposure and window are measured."""
    size = image.shape[-1]
    middle = slice(size // 4, size - size // 4)
    return middle, middle


@cache
def _spectrum(kvp: float, copper: float) -> Spectrum:
    return tube_spectrum(kvp, copper)


def _expose(
    parts: Look, model: Measured, paths: Paths, soft: Tensor, generator: torch.Generator
) -> Tensor:
    """Detector signal, noise, logarithm and the processing of a fluoroscope."""
    scale = soft.shape[-1] / 256
    spectrum = _spectrum(model.kvp, model.copper)
    mask = spectrum.transmission(paths.dens, soft)
    reference = float(mask[_middle(mask)].mean())
    scatter = _scatter(model, mask, reference)
    if paths.contrast is None:
        path = _detect(model, parts.noise, mask + scatter, reference, generator)
        return _process(model, path, scale)
    filled = spectrum.transmission(paths.dens, soft, paths.contrast.iodine)
    path = _detect(model, parts.noise, filled + scatter, reference, generator)
    if not parts.subtracted:
        return _process(model, path, scale)
    moved = _moved(mask, paths.contrast.motion, scale)
    filling = path - _detect(model, parts.noise, moved + scatter, reference, generator)
    fine = gaussian(filling[None], max(0.7, model.edge_width * scale))[0]
    return _show_vessels(filling + VESSEL_EDGE * model.edge * (filling - fine))


def _scatter(model: Measured, primary: Tensor, reference: float) -> Tensor:
    """A smooth part that follows the beam and a level one (our choice, specification).

    Arteries are too fine to change it.
    """
    smooth = gaussian(primary.clamp(max=4 * reference)[None], 30 * primary.shape[-1] / 256)[0]
    return model.scatter * (0.65 * smooth + 0.35 * reference)


def _moved(image: Tensor, motion: tuple[float, float], scale: float) -> Tensor:
    """The image moved by a fraction of a pixel, to first order."""
    down, right = torch.gradient(image)
    return (image - scale * (motion[0] * down + motion[1] * right)).clamp(0, 1)


def _detect(
    model: Measured, noise: Noise, signal: Tensor, reference: float, generator: torch.Generator
) -> Tensor:
    """Attenuation as a detector measures it where the share `signal` of the beam arrives.

    `reference` is the primary share that the exposure is set by.
    """
    signal = gaussian(signal[None], max(model.psf, 0.3))[0]
    if noise.photons:
        signal = _quanta(signal * (noise.photons / reference), noise, generator)
        signal = signal * (reference / noise.photons)
    air = 1 + model.scatter * reference
    # Quanta beyond a few times air or below a hundredth of the reference carry no signal.
    return -torch.log((signal / air).clamp(min=0.02 * reference, max=1.25))


def _quanta(expected: Tensor, noise: Noise, generator: torch.Generator) -> Tensor:
    counts = torch.poisson(expected, generator=generator)
    counts += noise.electronic * torch.randn(expected.shape, generator=generator)
    # Light spreads in the scintillator: the noise is correlated over neighbouring pixels.
    return 0.55 * counts + 0.45 * gaussian(counts[None], 0.8)[0]


def _process(model: Measured, path: Tensor, scale: float) -> Tensor:
    """Range compression, edge enhancement and grey scale of attenuation `path`."""
    broad = gaussian(path[None], 17 * scale)[0]
    fine = gaussian(path[None], max(0.7, model.edge_width * scale))[0]
    path = path - model.range_compression * broad + model.edge * (path - fine)
    path = path + model.shade * _shading(path.shape[-1])
    # Beyond the knee the film-like curve flattens, so that dense bone keeps some structure.
    tone = torch.where(
        path > 0, model.knee * (1 - torch.exp(-path / model.knee)), model.halo * path
    )
    return model.white - model.contrast * tone


def _shading(size: int) -> Tensor:
    """Heel effect and vignetting: 0 in the middle of the top, about 1 in the lower corners."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    return 0.3 * (axis[:, None] ** 2 + axis[None, :] ** 2) + 0.2 * (axis[:, None] + 1)
