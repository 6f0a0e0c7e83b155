"""Expected: the true target without noise, which no output can be expected to be nearer to."""

from xbench.methods.identity import Identity


class Expected(Identity):
    """Returns its input, which for this method is the noise-free target and not the source.

    It bounds distortion, as the floor bounds realism, and fails in realism itself: a good method
    lies between the two (Blau & Michaeli 2018, https://arxiv.org/abs/1711.06077).
    """

    name = "expected"
    about = "the true target without noise (reference)"
    given = "expected"
