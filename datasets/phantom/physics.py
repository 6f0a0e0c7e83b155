"""X-ray attenuation and spectra.

Mass attenuation coefficients are those of Hubbell and Seltzer, NIST Standard Reference Database
126 (https://physics.nist.gov/PhysRefData/XrayMassCoef). All agree, figure by figure, with the copy
of these tables in the Python package `roentgen` (iodine: with another public copy).
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

#: Energies of the tables below, keV.
ENERGIES = (30.0, 40.0, 50.0, 60.0, 80.0, 100.0)
#: Cortical bone, ICRU 44, cm2/g.
BONE = (1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855)
#: Soft tissue, ICRU 44, cm2/g.
SOFT = (0.3790, 0.2688, 0.2264, 0.2048, 0.1823, 0.1693)
#: Aluminium, cm2/g.
ALUMINIUM = (1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704)
#: Copper, cm2/g.
COPPER = (10.92, 4.862, 2.613, 1.593, 0.7630, 0.4584)
#: Caesium iodide, cm2/g; it has two K edges between the first two energies (see below).
CAESIUM_IODIDE = (9.045, 22.97, 12.87, 7.921, 3.677, 2.035)
#: Iodine, cm2/g; it has a K edge between the first two energies (see below).
IODINE = (8.561, 22.10, 12.32, 7.579, 3.510, 1.942)
#: Table → its K edges as (keV, below, above). Left out is NIST's point between the edges of caesium
#: iodide (34.55 keV, 26.87), which is above both its neighbours, against physics.
_EDGES: dict[tuple[float, ...], tuple[tuple[float, float, float], ...]] = {
    CAESIUM_IODIDE: ((33.1694, 6.923, 21.22), (35.9846, 17.19, 30.27)),
    IODINE: ((33.1694, 6.553, 35.82),),
}

#: Inherent filter of the tube, mm Al (typical of angiography tubes, IEC minimum 2.5: our choice).
INHERENT_AL_MM = 3.5
#: Scintillator thickness of current flat detectors, mm CsI (typical value, our choice).
SCINTILLATOR_MM = 0.55
#: Densities in g/cm3 of Al, Cu and CsI (CRC handbook values).
DENSITY_AL, DENSITY_CU, DENSITY_CSI = 2.70, 8.96, 4.51


def mass_attenuation(table: tuple[float, ...], energy: float) -> float:
    """Coefficient in cm2/g at an energy of 30 to 100 keV, log-log between the table's points.

    >>> mass_attenuation(BONE, 60), mass_attenuation(IODINE, 33.1) < mass_attenuation(IODINE, 33.2)
    (0.3148, True)
    """
    start, *above = zip(ENERGIES, table, strict=True)
    for edge, before, after in _EDGES.get(table, ()):
        if energy < edge:
            return _log_log([start, (edge, before)], energy)
        start = (edge, after)
    return _log_log([start, *above], energy)


def _log_log(points: list[tuple[float, float]], energy: float) -> float:
    for (e0, m0), (e1, m1) in pairwise(points):
        if energy <= e1 or (e1, m1) == points[-1]:
            share = math.log(energy / e0) / math.log(e1 / e0)
            return math.exp(math.log(m0) + share * math.log(m1 / m0))
    raise ValueError("the table has no two points")


@dataclass(frozen=True)
class Spectrum:
    """Detected spectrum in a few bins: keV, weights (sum 1) and coefficients in cm2/g."""

    energies: tuple[float, ...]
    weights: tuple[float, ...]
    bone: tuple[float, ...]
    soft: tuple[float, ...]
    iodine: tuple[float, ...]

    def transmission(self, bone: Tensor, soft: Tensor, iodine: Tensor | None = None) -> Tensor:
        """Detected share of the beam behind paths through bone, soft tissue and iodine, g/cm2."""
        result = torch.zeros_like(bone)
        rows = zip(self.weights, self.bone, self.soft, self.iodine, strict=True)
        for weight, mu_bone, mu_soft, mu_iodine in rows:
            path = -mu_bone * bone - mu_soft * soft
            if iodine is not None:
                path -= mu_iodine * iodine
            result += weight * torch.exp(path)
        return result


@cache
def tube_spectrum(kvp: float, copper_mm: float, bins: int = 6) -> Spectrum:
    """Filtered spectrum of an X-ray tube, weighted by an energy-integrating CsI detector.

    Kramers' law (without characteristic lines, a small share below 80 kVp), times the transmission
    of the filters, times the energy absorbed in the scintillator.

    Args:
        kvp: tube voltage in kV, the highest energy in keV (at most 100).
        copper_mm: thickness of the added copper filter.
        bins: number of energy bins from 30 keV (filters absorb nearly all below) to `kvp`.
    """
    step = (kvp - 30) / bins
    energies = tuple(30 + (i + 0.5) * step for i in range(bins))
    raw = []
    for energy in energies:
        filtered = mass_attenuation(ALUMINIUM, energy) * DENSITY_AL * INHERENT_AL_MM / 10
        filtered += mass_attenuation(COPPER, energy) * DENSITY_CU * copper_mm / 10
        stopped = mass_attenuation(CAESIUM_IODIDE, energy) * DENSITY_CSI * SCINTILLATOR_MM / 10
        raw.append((kvp / energy - 1) * math.exp(-filtered) * energy * (1 - math.exp(-stopped)))
    return Spectrum(
        energies,
        tuple(value / sum(raw) for value in raw),
        tuple(mass_attenuation(BONE, energy) for energy in energies),
        tuple(mass_attenuation(SOFT, energy) for energy in energies),
        tuple(mass_attenuation(IODINE, energy) for energy in energies),
    )
