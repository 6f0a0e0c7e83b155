"""Raw values to Hounsfield units (HU): checks that they are HU, or applies the setting `hu`."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from xbench.core.errors import UserError

Voxels = NDArray[np.float32]

#: Range of HU that is kept: air, and the largest value of 12 bits (denser is metal).
AIR, HIGHEST = -1000.0, 3071.0
#: HU of brain, for the suggested calibration.
BRAIN = 40.0
#: HU within which a calibrated volume shows air, and soft tissue, and the least shares of voxels.
AIR_RANGE, AIR_SHARE = (-1100.0, -850.0), 0.01
TISSUE_RANGE, TISSUE_SHARE = (-150.0, 150.0), 0.02


@dataclass(frozen=True)
class Calibration:
    """Points (raw value, HU) for the volumes whose names match a pattern."""

    pattern: str
    points: tuple[tuple[float, float], ...]


def parse(text: str | None) -> tuple[Calibration, ...]:
    """Read the setting `hu`: `[PATTERN=]RAW:HU,RAW:HU[,…]`, several ones separated by `;`.

    >>> parse("102:-1000,1085:40")[0].points
    ((102.0, -1000.0), (1085.0, 40.0))
    >>> [part.pattern for part in parse("scan*=0:-1000,900:-100;0:-1024,1024:0")]
    ['scan*', '*']

    Raises:
        UserError: it cannot be read, has fewer than two points, or does not rise.
    """
    return tuple(_parse_part(text, part) for part in (text or "").split(";") if part.strip())


def _parse_part(text: str | None, part: str) -> Calibration:
    pattern, _, points = part.strip().rpartition("=")
    try:
        pairs = [point.split(":") for point in points.split(",")]
        known = sorted((float(raw), float(hu)) for raw, hu in pairs)
    except ValueError:
        raise _unreadable(text, f"'{part.strip()}' is no list of points") from None
    if len(known) < 2 or not np.isfinite(known).all():
        raise _unreadable(text, f"'{part.strip()}' has fewer than two finite points")
    if (np.diff(known, axis=0) <= 0).any():
        raise _unreadable(text, f"in '{part.strip()}' HU do not rise with the raw value")
    return Calibration(pattern or "*", tuple(known))


def _unreadable(text: str | None, why: str) -> UserError:
    return UserError(
        f"the setting hu={text} cannot be read: {why}",
        "expected: RAW:HU,RAW:HU with two points or more, for some volumes PATTERN=RAW:HU,…;…",
        "for example: --set data.hu=0:-1024,1024:0",
    )


def to_hu(values: Voxels, name: str, calibrations: tuple[Calibration, ...]) -> Voxels:
    """HU of a volume, from -1000 to 3071, by the first calibration whose pattern its name matches.

    Between its points HU are linear; beyond them the outer lines go on. The air around the head
    (the commonest value of the volume's sides) is -1000 if these lines end above -900 there.
    Without a calibration the values are taken as HU.

    Args:
        values: raw values `[z, y, x]`.
        name: name of the volume.
        calibrations: of the setting `hu`.

    Raises:
        UserError: the result is not in HU; the error suggests a calibration.
    """
    chosen = next((c for c in calibrations if fnmatchcase(name, c.pattern)), None)
    sample = np.ascontiguousarray(values[::2, ::3, ::3])
    air, tissue = _landmarks(values, sample)
    suggestion = f"{air:g}:{AIR:g},{tissue:g}:{BRAIN:g}"
    curve = None
    wrong = None
    if chosen is None:
        wrong = _not_hu(sample)
    else:
        curve = _curve(chosen, air, float(values.min()), float(values.max()))
        wrong = _not_hu(np.interp(sample, *curve)) or _odd_tissue(float(np.interp(tissue, *curve)))
    if wrong:
        with_hu = f" with hu={_text(chosen)}" if chosen else ""
        others = [f"{c.pattern}={_text(c)}" for c in calibrations if c is not chosen]
        setting = ";".join([f"{name}={suggestion}", *others])
        raise UserError(
            f"the values of '{name}' are no Hounsfield units{with_hu}: {wrong}",
            f"expected: air at about -1000 and soft tissue at about 40; the volume's sides have "
            f"{air:g}, its commonest tissue {tissue:g}",
            f"give two points RAW:HU, for instance: --set 'data.hu={setting}'",
        )
    result = np.empty(values.shape, np.float32)
    for k, plane in enumerate(values):
        np.clip(plane if curve is None else np.interp(plane, *curve), AIR, HIGHEST, out=result[k])
    return result


def _text(calibration: Calibration) -> str:
    return ",".join(f"{raw:g}:{hu:g}" for raw, hu in calibration.points)


def _curve(
    calibration: Calibration, air: float, low: float, high: float
) -> tuple[list[float], list[float]]:
    """Points of the calibration (raw, HU), with its lines continued to the ends of the values."""
    raws = [raw for raw, _ in calibration.points]
    hus = [hu for _, hu in calibration.points]

    def beyond(raw: float, a: int, b: int) -> float:
        return hus[a] + (raw - raws[a]) * (hus[b] - hus[a]) / (raws[b] - raws[a])

    if air < raws[0] and beyond(air, 0, 1) > -900:
        raws, hus = [air, *raws], [AIR, *hus]
    if low < raws[0]:
        raws, hus = [low, *raws], [beyond(low, 0, 1), *hus]
    if high > raws[-1]:
        raws, hus = [*raws, high], [*hus, beyond(high, -2, -1)]
    return raws, hus


def _not_hu(values: NDArray[np.floating]) -> str | None:
    """Why values are no HU, or None."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 255:
        return f"they span 8 bits ({low:g} to {high:g})"
    if _share(values, AIR_RANGE) < AIR_SHARE:
        return f"there is no air at about -1000 (they go from {low:g} to {high:g})"
    if _share(values, TISSUE_RANGE) < TISSUE_SHARE:
        return f"there is no soft tissue at about 40 (they go from {low:g} to {high:g})"
    return None


def _odd_tissue(hu: float) -> str | None:
    """Why the HU of the commonest tissue are wrong, or None."""
    low, high = TISSUE_RANGE
    return None if low <= hu <= high else f"its commonest tissue comes to {hu:.0f} HU"


def _share(values: NDArray[np.floating], ends: tuple[float, float]) -> float:
    return float(((values >= ends[0]) & (values <= ends[1])).mean())


def _landmarks(values: Voxels, sample: Voxels) -> tuple[float, float]:
    """Raw values of air (most of the volume's sides) and of the commonest denser tissue."""
    sides = np.concatenate([values[:, edge].ravel() for edge in (0, -1)])
    sides = np.concatenate([sides, *(values[:, :, edge].ravel() for edge in (0, -1))])
    # Scanners fill what lies outside their round field with a value below that of air.
    inside = sides[sides > sides.min()]
    padded = 0.01 * sides.size < inside.size < 0.8 * sides.size
    air = float(np.median(inside if padded else sides))
    top = float(np.quantile(sample, 0.995))
    counts, edges = np.histogram(sample, bins=100, range=(air + 0.25 * (top - air), top))
    peak = int(np.argmax(counts))
    return round(air), round(float(edges[peak] + edges[peak + 1]) / 2)
