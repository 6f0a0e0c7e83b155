"""Which unit: the primary key of records, and the name of a unit's files."""

from typing import NamedTuple

from xbench.core.pairs import Pair
from xbench.core.settings import file_name


class UnitId(NamedTuple):
    """A unit within a results folder: label of its row, seed, source and target domain."""

    label: str
    seed: int
    source: str
    target: str

    @property
    def pair(self) -> Pair:
        """Source and target domain."""
        return self.source, self.target

    @property
    def path(self) -> str:
        """`<label>/seed<k>/<source>--<target>`: its place below `records`, `images`, `strips`.

        >>> UnitId("medshift[tau=0.6]", 0, "real_low", "real_normal").path
        'medshift[tau=0.6]/seed0/real_low--real_normal'
        """
        return f"{file_name(self.label)}/seed{self.seed}/{self.source}--{self.target}"

    def __str__(self) -> str:
        return f"{self.label} seed {self.seed}, {self.source} → {self.target}"
