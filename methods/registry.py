"""Finding methods: built in, from entry points, from a file, or registered in Python."""

from xbench.methods.base import Method
from xbench.plugins import Registry

GROUP = "xbench.methods"
#: Name → "module:class", imported on demand; the order of tables and lists.
BUILT_IN = {
    "identity": "xbench.methods.identity:Identity",
    "vae": "xbench.methods.vae:VaeRoundTrip",
    "histogram": "xbench.methods.histogram:Histogram",
    "fda": "xbench.methods.fda:FDA",
    "medshift": "xbench.methods.medshift:MedShift",
    "cyclegan": "xbench.methods.cyclegan:CycleGAN",
    "cut": "xbench.methods.cut:CUT",
    "fastcut": "xbench.methods.cut:FastCUT",
    "unsb": "xbench.methods.unsb:Unsb",
    "unsb-official": "xbench.methods.unsb:UnsbOfficial",
    "sdedit": "xbench.methods.sdedit:SDEdit",
    "ddib": "xbench.methods.ddib:DDIB",
    "cyclediffusion": "xbench.methods.cyclediffusion:CycleDiffusion",
}
#: Labels and `--set` sections that are taken.
RESERVED = {*BUILT_IN, "all", "floor", "data", "budget"}

REGISTRY: Registry[Method] = Registry("method", Method, GROUP, BUILT_IN, RESERVED)
names = REGISTRY.names
get = REGISTRY.get
available = REGISTRY.available
address = REGISTRY.address
