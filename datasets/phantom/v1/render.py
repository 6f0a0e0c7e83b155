"""The image formation of version 1 in five domains (air white, bone dark); see `phantom.render`."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xbench.datasets.phantom.detector import Noise, detect, middle, moved, scatter, shading
from xbench.datasets.phantom.physics import BONE, IODINE, SOFT, mass_attenuation, tube_spectrum
from xbench.datasets.phantom.projection import gaussian
from xbench.datasets.phantom.render import Contrast

#: Density of acrylic (PMMA), g/cm3. From 50 to 80 keV it attenuates, per g/cm2, like soft tissue
#: within 9 % (NIST: .2074 and .2264, .1751 and .1823).
ACRYLIC_RHO = 1.19


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
    """Surroundings of the bone: a `share` of soft tissue, its `blur` (px at 256 px), the mount."""

    share: float
    blur: float
    mount: bool


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
        range_compression: share of the broad structure (17 px at 256 px) that is subtracted.
        edge: gain of the unsharp mask.
        edge_width: width of the unsharp mask, px at 256 px.
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
    """The image formation of a domain; `subtracted` shows filled arteries without the anatomy."""

    attenuation: Simulated | Measured
    noise: Noise
    soft: SoftTissue
    subtracted: bool = False


_TISSUE = SoftTissue(share=0.22, blur=4.0, mount=False)
_PLASTIC = SoftTissue(share=0.04, blur=0.0, mount=True)
_SIMULATOR = Simulated(blur=1.5, rate=0.85, depth=0.69, white=1.005)
# kVp and copper are usual values; all others, such as scatter, blur and dose, are calibrated to the
# statistics of the paper's images.
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
#: Grey scale of subtracted images (our choice): grey value of the background, grey values per unit
#: of attenuation for fine vessels, attenuation above which it flattens, share of a domain's edge
#: enhancement in subtracted images (more would mostly enhance noise).
VESSEL_GROUND, VESSEL_CONTRAST, VESSEL_KNEE, VESSEL_EDGE = 0.82, 0.95, 0.75, 0.25


def look(
    domain: str, attenuation: bool, noise: bool, soft_tissue: bool, subtracted: bool = False
) -> Look:
    """The image formation of a domain with the three switches, subtracted or not."""
    own, common = LOOKS[domain], LOOKS["real_normal"]
    return Look(
        own.attenuation if attenuation else common.attenuation,
        own.noise if noise else Noise(),
        own.soft if soft_tissue else common.soft,
        subtracted,
    )


def bone_channel(parts: Look) -> str:
    """The bone channel that a domain shows."""
    return "solid" if isinstance(parts.attenuation, Simulated) else "dens"


def render(parts: Look, paths: Paths, seed: int) -> Tensor:
    """Image `[H, W]` in [0, 1] of one view in one domain; `seed` determines the noise.

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
    fine = gaussian(filling[None], max(0.7, model.edge_width * scale))[0]
    return _show_vessels(filling + VESSEL_EDGE * model.edge * (filling - fine))


def _process(model: Measured, path: Tensor, scale: float) -> Tensor:
    """Range compression, edge enhancement and grey scale of the attenuation `path`."""
    broad = gaussian(path[None], 17 * scale)[0]
    fine = gaussian(path[None], max(0.7, model.edge_width * scale))[0]
    path = path - model.range_compression * broad + model.edge * (path - fine)
    path = path + model.shade * shading(path.shape[-1])
    # Above the knee the film-like curve flattens, so that dense bone keeps some structure.
    tone = torch.where(
        path > 0, model.knee * (1 - torch.exp(-path / model.knee)), model.halo * path
    )
    return model.white - model.contrast * tone
