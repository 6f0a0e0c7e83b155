"""Filter: tone curves, one radial filter and noise, from training statistics. No network.

The bar that a network must clear. A change of domain is taken to be the same everywhere in an
image: a monotone curve of grey values, a radial filter (sharpness), noise that depends on the grey
value, and a last curve. All four are estimated from training images of the two domains, which need
not be paired.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbench.methods.base import Method, MethodConfig, TrainData, evenly_spaced, normals, setting

Array = NDArray[np.float64]

#: Shares of the grey values at which tone curves have a knot.
LEVELS = np.concatenate([[0], np.linspace(0.002, 0.998, 200), [1]])
#: Response of a Laplacian difference to noise of deviation 1 is 6 (Immerkær 1996).
NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
#: Quantile of the responses from which noise is estimated, and its place in a normal distribution:
#: less than the median, as edges respond too.
NOISE_LEVEL, NOISE_SHARE = 0.25, 0.3186
#: Grey bins of the noise curve; smoothing of the greys that it depends on, in px.
NOISE_BINS, NOISE_SIGMA = 12, 1.5
#: Rings per half cycle/px in which power spectra are averaged; bound on the filter's gain.
RINGS, MOST_GAIN = 24, 4.0


class FilterConfig(MethodConfig):
    """Settings of the filter."""

    references: int = setting(
        128, "infer", "training images of each domain for the statistics (our choice)", ge=2
    )
    smooth: float = setting(
        0.7, "infer", "px of blur at 64 px before the first tone curve is fitted (our choice)", ge=0
    )


class Curve(NamedTuple):
    """A monotone map by its knots."""

    x: Array
    y: Array

    def __call__(self, values: Array) -> Array:
        """Interpolate linearly; constant beyond the ends."""
        return np.interp(values, self.x, self.y)


class Domain(NamedTuple):
    """Statistics of a domain's training images."""

    images: Array
    noise: Curve
    power: Array


class Fit(NamedTuple):
    """What translates one pair."""

    tone: Curve
    gains: Array
    left: float
    own_noise: Curve
    noise: Curve
    last: Curve


class Filter(Method):
    """Tone curve, Wiener filter, signal-dependent noise and tone curve, fitted for each pair."""

    name = "filter"
    about = "tone curves, a radial filter and noise from training statistics, no network"
    stochastic = True
    Config = FilterConfig
    config: FilterConfig

    def setup(self, data: TrainData) -> None:
        """Keep the training images; their statistics are computed when a pair needs them."""
        self._training = {domain: data.train(domain) for domain in self.domains}
        self._domains: dict[str, Domain] = {}
        self._fits: dict[tuple[str, str], Fit] = {}

    def _domain(self, name: str) -> Domain:
        if name not in self._domains:
            images = evenly_spaced(self._training[name], self.config.references)
            greys = images[:, 0].double().numpy()
            self._domains[name] = Domain(greys, noise_curve(greys), radial_power(greys))
        return self._domains[name]

    def translate(
        self, images: Tensor, source: str, target: str, *, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Apply what was fitted for the pair."""
        if (source, target) not in self._fits:
            self._fits[source, target] = self._fit(source, target)
        fit = self._fits[source, target]
        drawn = normals(generators, *images.shape[2:]).double().cpu().numpy()
        greys = images[:, 0].double().cpu().numpy()
        result = fit.last(filtered(greys, fit, drawn))
        return torch.from_numpy(result)[:, None].to(images)

    def _fit(self, source: str, target: str) -> Fit:
        given, wanted = self._domain(source), self._domain(target)
        sigma = self.config.smooth * given.images.shape[-1] / 64
        tone = tone_curve(_blurred(given.images, sigma), _blurred(wanted.images, sigma))
        toned = tone(given.images)
        own_noise, power = noise_curve(toned), radial_power(toned)
        own, theirs = (
            float(np.mean(curve(images) ** 2))
            for curve, images in ((own_noise, toned), (wanted.noise, wanted.images))
        )
        signal = np.maximum(power - own, 1e-3 * power)
        aim = np.maximum(wanted.power - theirs, 1e-3 * wanted.power)
        # The gain that makes the signal as strong as the target's, times Wiener's against noise.
        gains = np.clip(np.sqrt(aim / signal) * signal / power, 0, MOST_GAIN)
        gains[0] = 1.0
        height, width = given.images.shape[1:]
        left = float(np.mean(_gain_map(gains, height, width) ** 2))
        identity = Curve(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
        fit = Fit(tone, gains, left, own_noise, wanted.noise, identity)
        drawn = np.random.default_rng(0).standard_normal(given.images.shape)
        result = filtered(given.images, fit, drawn)
        return fit._replace(last=tone_curve(result, wanted.images))


def tone_curve(source: Array, target: Array) -> Curve:
    """The monotone curve that gives the grey values of `source` the distribution of `target`."""
    x = np.quantile(source, LEVELS)
    return Curve(x + 1e-12 * np.arange(len(x)), np.quantile(target, LEVELS))


def noise_curve(images: Array) -> Curve:
    """Standard deviation of white noise by grey value, from images [n, H, W]."""
    from scipy import ndimage  # it takes longer to import than everything else here

    response = np.abs(ndimage.convolve(images, NOISE_MASK[None], mode="nearest")).ravel()
    grey = _blurred(images, NOISE_SIGMA).ravel()
    ends = np.quantile(grey, np.linspace(0, 1, NOISE_BINS + 1)[1:-1])
    bins = np.searchsorted(ends, grey, side="right")
    filled = [bins == k for k in np.unique(bins)]
    return Curve(
        np.array([grey[chosen].mean() for chosen in filled]),
        np.array([np.quantile(response[chosen], NOISE_LEVEL) for chosen in filled]) / NOISE_SHARE,
    )


def radial_power(images: Array) -> Array:
    """Mean power spectrum of images [n, H, W] by rings of .5 / `RINGS` cycles/px."""
    height, width = images.shape[1:]
    window = np.hanning(height)[:, None] * np.hanning(width)
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centred * window)) ** 2).mean(axis=0) / np.square(window).sum()
    rings = _radii(height, width).round().astype(int)
    sums = np.bincount(rings.ravel(), power.ravel())
    means: Array = sums / np.maximum(np.bincount(rings.ravel()), 1)
    # A ring that no frequency falls into takes the power of the one before.
    for ring in np.flatnonzero(np.bincount(rings.ravel()) == 0):
        means[ring] = means[ring - 1]
    return means


def filtered(images: Array, fit: Fit, drawn: Array) -> Array:
    """Images [n, H, W] after tone curve, filter and noise; `drawn` is standard normal."""
    toned = fit.tone(images)
    height, width = images.shape[1:]
    border = max(height, width) // 4
    padded = np.pad(toned, ((0, 0), (border, border), (border, border)), mode="reflect")
    mean = padded.mean(axis=(1, 2), keepdims=True)
    gains = _gain_map(fit.gains, *padded.shape[1:])
    result = np.fft.ifft2(np.fft.fft2(padded - mean) * gains).real + mean
    result = result[:, border : border + height, border : border + width]
    # Noise that came with the source and passed the filter is there already.
    missing = fit.noise(result) ** 2 - fit.left * fit.own_noise(result) ** 2
    noisy: Array = result + np.sqrt(np.maximum(missing, 0)) * drawn
    return noisy


def _gain_map(gains: Array, height: int, width: int) -> Array:
    """Gains by ring as a map over frequencies, [H, W]."""
    return np.interp(_radii(height, width), np.arange(len(gains)), gains)


def _radii(height: int, width: int) -> Array:
    """Frequencies in rings, [H, W]."""
    down, across = np.fft.fftfreq(height), np.fft.fftfreq(width)
    radii: Array = np.hypot(down[:, None], across) * 2 * RINGS
    return radii


def _blurred(images: Array, sigma: float) -> Array:
    from scipy import ndimage

    return ndimage.gaussian_filter(images, (0, sigma, sigma)) if sigma else images
