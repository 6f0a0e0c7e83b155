"""Floor: a second exposure of the true target. What no method can be expected to beat."""

from xbench.methods.identity import Identity


class Floor(Identity):
    """Returns what it is given, which is the target and not the source.

    Where a data set has no second exposures, it is given one half of the target's images, which
    are compared with the other half; its row is then called `floor[n/2]`.
    """

    name = "floor"
    about = "a second exposure of the true target (reference)"
    given = "target"
