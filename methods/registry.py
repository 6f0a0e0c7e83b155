"""Methods by name: built in, from entry points, from a file, or registered in Python.

Imports no torch: methods are imported when they are needed.
"""

from typing import TYPE_CHECKING

from xbench.core.registry import Registry
from xbench.core.settings import SHARED

if TYPE_CHECKING:
    from xbench.methods.base import Method

GROUP = "xbench.methods"
#: Name → "module:class", in the order of tables and lists.
BUILT_IN = {
    "identity": "xbench.methods.identity:Identity",
    "floor": "xbench.methods.floor:Floor",
    "expected": "xbench.methods.expected:Expected",
    "shuffle": "xbench.methods.shuffle:Shuffle",
    "nearest": "xbench.methods.nearest:Nearest",
    "paired": "xbench.methods.paired:Paired",
    "vae": "xbench.methods.vae:VaeRoundTrip",
    "histogram": "xbench.methods.histogram:Histogram",
    "fda": "xbench.methods.fda:FDA",
    "filter": "xbench.methods.filter:Filter",
    "medshift": "xbench.methods.medshift:MedShift",
    "directflow": "xbench.methods.directflow:DirectFlow",
    "cyclegan": "xbench.methods.cyclegan:CycleGAN",
    "stargan": "xbench.methods.stargan:StarGAN",
    "cut": "xbench.methods.cut:CUT",
    "fastcut": "xbench.methods.cut:FastCUT",
    "hierarchyflow": "xbench.methods.hierarchyflow:HierarchyFlow",
    "unsb": "xbench.methods.unsb:Unsb",
    "unsb-official": "xbench.methods.unsb:UnsbOfficial",
    "dsbm": "xbench.methods.dsbm:Dsbm",
    "sdedit": "xbench.methods.sdedit:SDEdit",
    "ddib": "xbench.methods.ddib:DDIB",
    "cyclediffusion": "xbench.methods.cyclediffusion:CycleDiffusion",
    "contourdiff": "xbench.methods.contourdiff:ContourDiff",
    "cyclegan-turbo": "xbench.methods.turbo:CycleGANTurbo",
    "zstar": "xbench.methods.pretrained:ZStar",
}
#: Rows that other methods are compared with; `--method all` leaves them out.
REFERENCES = ("identity", "floor", "expected", "shuffle", "nearest", "paired", "vae")
#: Names that a plug-in may not have: methods and sections of `--set`.
RESERVED = {*BUILT_IN, "all", *SHARED}

REGISTRY: Registry["Method"] = Registry(
    "method", "xbench.methods.base:Method", GROUP, BUILT_IN, RESERVED
)
names = REGISTRY.names
get = REGISTRY.get
available = REGISTRY.available
address = REGISTRY.address
