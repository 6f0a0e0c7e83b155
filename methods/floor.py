"""Floor: a second exposure of the true target, which no method is expected to beat."""

from xbench.methods.identity import Identity


class Floor(Identity):
    """Returns its input, which for this method is the target and not the source.

    Without second exposures in the data set, its input is one half of the target's images, which
    are compared with the other half; its row is then called `floor[n/2]`.
    """

    name = "floor"
    about = "a second exposure of the true target (reference)"
    given = "target"
