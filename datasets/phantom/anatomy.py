"""The parts of the head as shapes: skull base, face, jaw, teeth, neck, soft tissue, landmarks.

Axes: x to the left, y to the front, z up, in mm; the origin lies between the ear canals and
z = 0 is the Frankfort plane. All sizes are our choice (anatomical plausibility, tuned by eye);
densities of bone mineral in g/cm3 follow ICRU 44 (cortical bone 1.92), far lower where marrow fills
the bone, and above where it is enamel or the ear's capsule.
"""

import math
import random
from dataclasses import dataclass, field, replace
from typing import TypeVar

from xbench.core.hashing import seed_from
from xbench.datasets.phantom.shapes import (
    Block,
    Ellipsoid,
    Ring,
    Shape,
    Tube,
    Turned,
    Vec,
    mirrored,
)


@dataclass(frozen=True)
class Bone:
    """A shape of cortical bone (`rho`, `cortex` mm thick) around cancellous bone (`core`)."""

    shape: Shape
    cortex: float = 1.5
    rho: float = 1.8
    core: float = 0.5


@dataclass(frozen=True)
class Cavity:
    """A space without bone, inside a wall of compact bone of `wall` mm that ends at y = `open_y`.

    `air` marks spaces that hold air instead of soft tissue, `fine` those that a simulator's mesh
    does not have, `kind` those of a mask (`orbits` or `sinuses`).
    """

    shape: Shape
    wall: float = 0.0
    open_y: float = math.inf
    air: bool = False
    fine: bool = False
    kind: str = ""


#: The lines about which the lower jaw opens and the neck bends, (y, z) in mm.
JOINT, NAPE = (5.0, -8.0), (-18.0, -40.0)


@dataclass(frozen=True)
class Variation:
    """How one head differs from the mean head; drawn by name, so that draws are independent.

    Ranges are our choice, within those of adults: long and broad heads are drawn jointly, and 7 mm
    is the mean thickness of the vault in a CT study. `wide` False draws heads as alike as those of
    version 1.

    Attributes:
        seed: of the head.
        wide: False for heads that are much alike.
        width: scale of x; `length`: of y; `height`: of z above the ear canals; `face`: below.
        vault_mm: mean thickness of the vault.
        jaw: opening of the jaw, degrees.
        lost: share of the teeth that are missing.
        marrow: density of mineral in marrow-filled bone, as a share of the mean head's (age).
        bone: density of all bone, as a share of the mean head's.
        bend: rms of the smooth distortions that make each skull's own shape, mm.
        nod: flexion of the neck, degrees.
    """

    seed: int
    wide: bool = True
    width: float = field(init=False)
    length: float = field(init=False)
    height: float = field(init=False)
    face: float = field(init=False)
    vault_mm: float = field(init=False)
    jaw: float = field(init=False)
    lost: float = field(init=False)
    marrow: float = field(init=False)
    bone: float = field(init=False)
    bend: float = field(init=False)
    nod: float = field(init=False)

    def __post_init__(self) -> None:
        broad = self.draw("cranial index", -0.09, 0.09) if self.wide else 0.0
        toothless = self.draw("toothless", 0, 1)
        for name, middle, narrow, wide in (
            ("width", 1 + broad, 0.05, 0.03),
            ("length", 1 - broad, 0.04, 0.03),
            ("height", 1.0, 0.05, 0.09),
            ("face", 1.0, 0.05, 0.14),
            ("vault_mm", 7.0, 1.75, 2.2),
            ("jaw", 0.0, 0.0, 0.0),
            ("marrow", 1.0, 0.0, 0.20),
            ("bone", 1.0, 0.0, 0.04),
            ("nod", 0.0, 0.0, 12.0),
        ):
            spread = wide if self.wide else narrow
            object.__setattr__(self, name, middle + self.draw(name, -spread, spread))
        object.__setattr__(self, "bend", 2.6 if self.wide else 0.8)
        opened = max(0.0, self.draw("opened", -9, 18)) if self.wide else 0.0
        object.__setattr__(self, "jaw", opened)
        lost = 1.0 if toothless < 0.08 else self.draw("lost", 0, 1) ** 2 * 0.6
        object.__setattr__(self, "lost", lost if self.wide else 0.04)

    def draw(self, name: str, low: float, high: float) -> float:
        """A uniform random number that depends only on the head and the name."""
        return random.Random(seed_from(self.seed, name)).uniform(low, high)

    def tissue(self, name: str, low: float, high: float, mean: float) -> float:
        """A measure of the soft tissue; the same in all heads if they are much alike."""
        return self.draw(name, low, high) if self.wide else mean

    def share(self, region: str, mean: float) -> float:
        """Share of the soft tissue of a region that a simulator shows."""
        return mean * self.tissue(f"share {region}", 0.45, 1.55, 1.0)

    def nodded(self, shape: Shape) -> Shape:
        """A shape of the neck, bent as the neck is."""
        return Turned(shape, self.nod, *NAPE) if self.nod else shape

    def opened(self, bones: list[Bone]) -> list[Bone]:
        """Bones of the lower jaw, turned about the line through its joints."""
        if not self.jaw:
            return bones
        return [replace(bone, shape=Turned(bone.shape, self.jaw, *JOINT)) for bone in bones]


Part = TypeVar("Part", Bone, Cavity)


def both(parts: list[Part]) -> list[Part]:
    """Each part of the left side, followed by its mirror image."""
    return [replace(part, shape=s) for part in parts for s in (part.shape, mirrored(part.shape))]


def skull_base() -> list[Bone]:
    """Clivus, sphenoid, petrous and mastoid bone, condyles."""
    bones = [
        Bone(Tube(((0, 6, 11), (0, -7, -24)), (5, 5), (2.4, 1, 1)), 1.2, 1.7, 0.44),
        Bone(Block((0, 20, 10), (14, 13, 9), 5), 1.2, 1.6, 0.36),
        Bone(Block((0, 8, 21), (8, 1.6, 6), 1.5), 1.0, 1.6, 0.48),
    ]
    sided = [
        Bone(Tube(((11, 21, 23), (12, 31, 25)), (2.0, 2.6)), 1.0, 1.7, 0.52),
        Bone(Tube(((9, 29, 23), (28, 37, 26), (46, 44, 31)), (2.6, 2.2, 2.4)), 1.0, 1.7, 0.52),
        Bone(
            Tube(((50, -16, -2), (44, -7, 1), (33, 1, 2), (12, 14, 0)), (8.5, 9.0, 8.0, 4)),
            1.2,
            1.8,
            0.5,
        ),
        Bone(Ellipsoid((39, -4, 3), (8.5, 6.5, 6.0), (0, 0, -35)), 3.0, 2.1, 1.9),
        Bone(
            Tube(((51, -23, 1), (50, -21, -14), (47, -16, -31)), (8.0, 8.0, 4.5), (1, 1.2, 1)),
            1.2,
            1.5,
            0.3,
        ),
        Bone(Tube(((49, -9, -16), (43, 3, -40)), (1.9, 1.1)), 1.0, 1.7, 1.5),
        Bone(Ellipsoid((17, -16, -31), (6, 10, 6)), 1.2, 1.6, 0.44),
        Bone(Ellipsoid((32, -34, -22), (16, 18, 4), (0, 18, 0)), 1.2, 1.6, 0.48),
    ]
    return bones + both(sided)


def face(v: Variation) -> list[Bone]:
    """Brow, cheek and upper jaw, before the air spaces are cut."""
    bones = [
        Bone(Block((0, 60, -33), (19, 24, 2.2), 2), 1.2, 1.6, 0.48),
        Bone(Tube(((0, 84, -27), (0, 92, -31)), (3.0, 2.0)), 1.0, 1.6, 0.48),
    ]
    flare = v.draw("cheek", -1.5, 2.0)
    sided = [
        Bone(
            Tube(((7, 90, 29), (22, 90, 32), (36, 84, 31), (51, 71, 25)), (4.5, 4.0, 3.6, 3.4)),
            1.3,
            1.7,
            0.46,
        ),
        Bone(Ring((33, 79, 9), (20.5, 19), 2.5, "y", (0, 0, -18)), 1.2, 1.7, 0.48),
        Bone(Ellipsoid((46, 62, -12), (10, 9, 11), (0, 0, 35)), 1.3, 1.65, 0.4),
        Bone(Tube(((50, 65, -4), (53, 68, 10), (52, 69, 25)), (4.2, 3.2, 3.6)), 1.3, 1.75, 0.48),
        Bone(
            Tube(
                ((49, 58, -13), (54 + flare, 42, -9), (56 + flare, 24, -6), (54, 8, -3)),
                (3.4, 1.8, 1.7, 2.4),
                (0.75, 1, 1.6),
            ),
            0.9,
            1.5,
            0.36,
        ),
        Bone(Block((23, 63, -18), (20, 20, 17), 10, (0, 0, 20)), 0.9, 1.5, 0.24),
        Bone(
            Tube(((12, 82, -16), (10, 85, 2), (7, 89, 22)), (3.2, 2.6, 2.6), (0.6, 2.2, 1)),
            1,
            1.5,
            0.4,
        ),
        Bone(
            Tube(((2, 92, 25), (3, 96, 14), (4, 102, 4)), (2.6, 1.5, 1.0), (1.6, 1, 1)),
            0.9,
            1.5,
            0.48,
        ),
        Bone(Tube(_arch(22.5, 35, -37), (5.2,) * 7, (1, 1, 1.5)), 1.2, 1.6, 0.44),
    ]
    return bones + both(sided)


def _arch(width: float, depth: float, z: float) -> tuple[tuple[float, float, float], ...]:
    """Half a dental arch, midline to molars."""
    angles = [math.radians(15 * i) for i in range(7)]
    return tuple((width * math.sin(a), 48 + depth * math.cos(a), z) for a in angles)


def cavities(v: Variation) -> list[Cavity]:
    """Orbits, air spaces, great foramen, ear canals, air cells."""
    spaces = [
        Cavity(Tube(((0, -27, -45), (0, -26, -12)), (15, 15), (1, 1.12, 1))),
        Cavity(Ellipsoid((0, 25, 9), (12, 10, 7.5)), air=True, kind="sinuses"),
        # The nasal space, pear-shaped, open to the front and to the pharynx.
        Cavity(Ellipsoid((0, 66, -16), (14, 30, 12)), air=True),
        Cavity(Ellipsoid((0, 68, 0), (8, 27, 20)), air=True),
        Cavity(Tube(((0, 34, -10), (0, 22, -42)), (8, 8), (1.3, 1, 1)), air=True),
        Cavity(Tube(((0, 22, -42), (0, 20, -86), (0, 16, -150)), (8, 7, 8), (1.3, 1, 1)), air=True),
        Cavity(Block((0, 56, 11), (10.5, 20, 10), 4), 0.6, air=True, kind="sinuses"),
    ]
    spaces += _frontal_sinuses(v)
    orbit = Tube(((32.5, 96, 9), (30, 74, 11), (14, 42, 15)), (19, 17.5, 5), (1.06, 1, 0.95))
    sided = [
        Cavity(orbit, 2.2, 78.0, kind="orbits"),
        Cavity(Block((24, 61, -16), (14.5, 16.5, 14), 8, (0, 0, 25)), air=True, kind="sinuses"),
        Cavity(Ellipsoid((33, 64, -9), (8, 10, 7)), air=True, kind="sinuses"),
        Cavity(Tube(((46, -3, 0), (80, -6, 1)), (3.2, 3.4)), air=True),
        Cavity(Tube(((20, -6, 4), (31, -3, 4)), (3.2, 2.6))),
        Cavity(Ellipsoid((19, -27, -36), (3, 6, 3))),
    ]
    return spaces + both(sided) + _mastoid_cells(v)


def _frontal_sinuses(v: Variation) -> list[Cavity]:
    """Three overlapping lobes on each side, of different sizes, for a scalloped outline."""
    lobes = []
    for sign in (1, -1):
        scale = v.draw(f"frontal sinus {sign}", 0.5, 1.3)
        for i, (x, z) in enumerate(((5, 29), (11, 31), (17, 30))):
            size = scale * v.draw(f"frontal lobe {sign} {i}", 0.6, 1.25)
            center = (sign * x * (0.4 + 0.6 * scale), 91.0 - 0.08 * x, z + 3 * size)
            lobe = Ellipsoid(center, (4.6 * size, 3.0, 6.5 * size))
            lobes.append(Cavity(lobe, air=True, kind="sinuses"))
    return lobes


def _mastoid_cells(v: Variation) -> list[Cavity]:
    cells = []
    for i in range(16):
        side = 1 if i % 2 else -1
        place = [v.draw(f"cell {i} {axis}", -1, 1) for axis in "xyz"]
        center = (side * (50 + 5 * place[0]), -21 + 8 * place[1], -14 + 12 * place[2])
        radius = v.draw(f"cell {i} r", 1.6, 3.4)
        cells.append(Cavity(Ellipsoid(center, (radius, radius * 1.2, radius)), air=True, fine=True))
    return cells


def inside_nose(v: Variation) -> list[Bone]:
    """Thin bones inside the air spaces, added after these have been cut."""
    lean = v.draw("septum", -1.5, 1.5)
    bones = [
        Bone(Block((lean * 0.5, 64, -6), (0.7, 22, 22), 0.6, (0, lean * 2, 0)), 0.7, 1.3, 1.3),
        Bone(Block((0, 62, 23), (5, 16, 1.0), 0.9), 0.8, 1.5, 1.5),
    ]
    conchae: list[Shape] = [
        Ellipsoid((8.5, 63, -17), (2.0, 20, 4.5), (0, -18, 0)),
        Ellipsoid((6.5, 60, -4), (1.6, 16, 4.0), (0, -18, 0)),
        Ellipsoid((5.0, 56, 7), (1.3, 11, 3.0), (0, -14, 0)),
        Block((10.5, 56, 11), (0.6, 19, 9), 0.5, (0, 6, 0)),
        Block((5, 50, 11), (5, 0.6, 9), 0.5),
        Block((5, 60, 11), (5, 0.6, 9), 0.5),
    ]
    plates: list[Shape] = [
        Block((17, 33, -22), (1.1, 7, 13), 0.9, (0, -8, 22)),
        Block((13, 32, -22), (1.0, 6, 12), 0.9, (0, 0, -12)),
    ]
    sided = [Bone(shape, 0.6, 1.1, 1.1) for shape in conchae]
    return bones + both(sided + [Bone(shape, 0.8, 1.6, 1.5) for shape in plates])


def jaw(v: Variation) -> list[Bone]:
    """Mandible: body, chin, rami (varied in angle and width), condyles, coronoids."""
    drop = v.draw("jaw", -2, 2)
    body = ((0, 86, -74), (11, 83, -75), (25, 67, -74), (36, 44, -71), (43, 22, -66))
    chin = Bone(Ellipsoid((0, 88, -79 + drop), (10, 4.5, 8), (14, 0, 0)), 1.6, 1.5, 0.36)
    flare, yaw = v.draw("ramus flare", -1, 2.5), v.draw("ramus yaw", -30, -18)
    # Two flat columns join in the ramus and separate above at the notch.
    back = ((47, 10, -62), (49 + flare, 8, -42), (50 + flare, 5, -24), (48.5, 4, -12))
    front = ((40, 25, -66), (40.5 + flare, 23, -46), (42 + flare, 25, -28), (44, 28, -11))
    sided = [
        Bone(Tube(body, (4.8, 5.0, 5.0, 4.8, 4.2), (1, 1, 2.3)), 1.8, 1.65, 0.4),
        Bone(Tube(back, (11, 10, 7.5, 4), (0.36, 1, 1)), 1.1, 1.5, 0.36),
        Bone(Tube(front, (10, 10.5, 8, 2.2), (0.33, 1, 1)), 1.1, 1.45, 0.36),
        Bone(Ellipsoid((43.5, 15, -65), (4.2, 12, 7), (-28, 0, yaw)), 1.3, 1.5, 0.4),
        Bone(Ellipsoid((48, 5, -7), (7.5, 4.0, 4.4), (0, 8, -15)), 1.1, 1.5, 0.44),
        # The lower alveolar ridge carries the teeth.
        Bone(Tube(_arch(22, 35, -63), (4.4,) * 7, (1, 1, 1.4)), 1.3, 1.6, 0.44),
    ]
    return v.opened([chin, *both(sided)])


def teeth(v: Variation) -> list[Bone]:
    """Two arches of sixteen teeth: enamel crowns 2.35, roots 2.05, fillings 5 g/cm3."""
    upper_row: list[Bone] = []
    lower_row: list[Bone] = []
    for upper in (True, False):
        bones = upper_row if upper else lower_row
        for i in range(16):
            name = f"tooth {upper} {i}"
            if v.draw(name, 0, 1) < v.lost:
                continue
            # Teeth get wider from the incisors to the molars; angles start at the midline.
            rank = abs(i - 7.5) - 0.5
            angle = math.copysign(math.radians(5.5 + rank * 11.6), i - 7.5)
            turn = v.draw(name + " tilt", -1.2, 1.2)
            x, y = 24.0 * math.sin(angle), 48 + 37.5 * math.cos(angle)
            crown = 2.6 + 0.28 * rank
            near, far = (-48.0, -42.5) if upper else (-57.0, -52.5)
            tip = -31.0 if upper else -68.0
            neck = far if upper else near
            filled = v.draw(name + " filling", 0, 1) < 0.10 and rank > 3
            rho = 5.0 if filled else 2.35
            bones.append(
                Bone(Tube(((x, y, near), (x + turn, y, far)), (crown, crown * 0.9)), 1.2, rho, 2.2)
            )
            root = ((x + turn * 0.5, y, neck), (x * 0.94, 48 + (y - 48) * 0.94, tip))
            bones.append(Bone(Tube(root, (crown * 0.75, 1.2)), 1.0, 2.05, 1.8))
    return upper_row + v.opened(lower_row)


def neck(v: Variation) -> list[Bone]:
    """Atlas, axis, C3 to C6 (each with its own tilt, shift and size), hyoid."""
    bones = [
        Bone(Ring((0, -24, -44), (20, 18), 3.6, "z", (-6, 0, 0)), 1.2, 1.6, 0.4),
        Bone(Tube(((0, -8, -64), (0, -9, -38)), (6.0, 4.2)), 1.2, 1.65, 0.44),
    ]
    bones += both([Bone(Ellipsoid((19, -17, -44), (8, 9, 7), (0, 15, 0)), 1.2, 1.6, 0.42)])
    bones += both([Bone(Tube(((22, -18, -46), (36, -18, -47)), (3.5, 2.8)), 1.0, 1.5, 0.4)])
    z, y = -66.0, -10.0
    for level in range(5):
        bones += _vertebra(v, level, y, z)
        z -= v.draw(f"disc {level}", 15.5, 19.0)
        y += v.draw(f"lordosis {level}", -0.5, 2.0) - 1.5 * (level > 2)
    bones.append(
        Bone(Tube(((-10, 50, -90), (0, 54, -91), (10, 50, -90)), (2.4,) * 3), 1, 1.5, 0.44)
    )
    horn = Tube(((11, 50, -90), (17, 38, -88), (20, 26, -84)), (2.0, 1.5, 1.2))
    bones += both([Bone(horn, 1.0, 1.5, 0.48)])
    return [replace(bone, shape=v.nodded(bone.shape)) for bone in bones]


def _vertebra(v: Variation, level: int, y: float, z: float) -> list[Bone]:
    size = v.draw(f"vertebra {level}", 0.9, 1.12) * (1 + 0.03 * level)
    tilt = v.draw(f"tilt {level}", -7, 5) + 3 * (level - 2)
    shift = v.draw(f"shift {level}", -1.2, 1.2)
    long = 19 if level == 0 else v.draw(f"spinous {level}", 9, 14) + 3 * level
    body = Block((shift, y, z), (10 * size, 8.6 * size, 6.8 * size), 2.5, (tilt, 0, 0))
    parts: list[tuple[Shape, float]] = [(body, 0.35)]
    for sign in (1, -1):
        roll = v.draw(f"pillar {level} {sign}", -10, 10)
        pillar = Ellipsoid(
            (shift + sign * 20 * size, y - 15, z - 2), (6 * size, 7.5, 10), (32 + tilt, roll, 0)
        )
        lamina = Tube(
            ((shift + sign * 17 * size, y - 20, z - 3), (shift, y - 30, z - 7)),
            (2.6, 2.8),
            (1, 1, 2.0),
        )
        process = Tube(((shift + sign * 10, y - 3, z), (shift + sign * 22, y - 6, z - 3)), (2.4, 2))
        parts += [(pillar, 0.4), (lamina, 0.5), (process, 0.5)]
    tip = (
        shift + v.draw(f"bifid {level}", -2, 2),
        y - 30 - long,
        z - 11 - v.draw(f"drop {level}", 0, 6),
    )
    parts.append((Tube(((shift, y - 30, z - 7), tip), (2.6, 3.0), (1, 1, 1.3)), 0.5))
    return [Bone(shape, 1.0, 1.5, core) for shape, core in parts]


def soft_shapes(v: Variation) -> list[tuple[Shape, float]]:
    """Shapes of face and neck, and the width of the rounded joint of each with the rest, mm."""
    stout = v.draw("neck width", 0.88, 1.12)
    nose = v.draw("nose", 0.85, 1.15)
    front: list[tuple[Shape, float]] = [
        (Ellipsoid((0, 42, -28), (60 + 3 * stout, 56, 62)), 14),
        (Ellipsoid((0, 66, -72), (38, 33, 24)), 14),
        (Tube(((0, 95, 16), (0, 112 * (0.9 + 0.1 * nose), -12)), (5, 8.5 * nose), (1.1, 1, 1)), 9),
        (Ellipsoid((0, 93, -46), (24, 10, 13)), 8),
        (Ellipsoid((0, 91, -82), (17, 11, 12)), 10),
        (
            v.nodded(Tube(((0, -22, -30), (0, -26, -150)), (53 * stout, 58 * stout), (1.05, 1, 1))),
            26,
        ),
    ]
    ear = Ellipsoid((77, -12, 2), (3.6, 16, 29), (-12, 0, 26))
    return [*front, (ear, 5.0), (mirrored(ear), 5.0)]


def muscles(v: Variation) -> list[tuple[Shape, float]]:
    """Temporal, chewing and neck muscles and cheeks, which a simulator shows; as `soft_shapes`."""
    strong, cheek = v.tissue("muscle", 0.0, 6.0, 2.0), v.tissue("cheeks", 0.0, 9.0, 3.0)
    sided: list[tuple[Shape, float]] = [
        (Ellipsoid((66, 22, 26), (8 + strong, 34, 36), (0, 0, -12)), 10),
        (Ellipsoid((54, 20, -42), (9 + strong, 21, 29)), 10),
        (Ellipsoid((42, 60, -38), (12 + cheek, 22, 24)), 12),
        (v.nodded(Tube(((20, -62, -8), (24, -58, -150)), (16 + strong, 20 + strong))), 14),
    ]
    return [(part, blend) for shape, blend in sided for part in (shape, mirrored(shape))]


def landmarks(v: Variation) -> dict[str, Vec]:
    """Eight points of the skull in the frame of the mean head, mm."""
    drop = v.draw("jaw", -2, 2)
    chin = v.opened([Bone(Ellipsoid((0, 88, -79 + drop), (10, 4.5, 8), (14, 0, 0)))])[0].shape
    low: Vec = (0.0, 89.0, -87 + drop)
    table = v.vault_mm
    return {
        "nasion": (0.0, 92.0, 24.0),
        "sella": (0.0, 13.0, 18.0),
        "basion": (0.0, -9.0, -24.0),
        "bregma": (0.0, 36.0, 107.0 + table),
        "inion": (0.0, -86.0 - table, 6.0),
        "orbitale left": (33.0, 82.0, -11.0),
        "orbitale right": (-33.0, 82.0, -11.0),
        "chin": chin.moved(low) if isinstance(chin, Turned) else low,
    }
