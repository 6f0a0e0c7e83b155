"""The names of version 0.1 for the classes of `conditional`, for plug-ins that use them.

In version 0.1 the training had the objective and made the learner; now the method does.
"""

from xbench.methods.base import TrainData
from xbench.methods.conditional import ConditionalConfig as LabelledConfig
from xbench.methods.conditional import ConditionalLearner as LabelledLearner
from xbench.methods.conditional import ConditionalMethod, ConditionalTraining
from xbench.methods.training import Learner

__all__ = ["LabelledConfig", "LabelledLearner", "LabelledMethod", "LabelledTraining"]


class LabelledMethod(ConditionalMethod):
    """A `ConditionalMethod` whose `trainings` are children of `LabelledTraining`."""

    objective = ""

    def make_learner(self, data: TrainData, seed: int) -> Learner:
        """What its training makes."""
        (training,) = self.trainings([])
        assert isinstance(training, LabelledTraining)
        return training.make_learner(data, seed)


class LabelledTraining(ConditionalTraining):
    """A training with its own `objective` and `make_learner`."""

    objective: str

    def __init__(self, method: ConditionalMethod) -> None:
        super().__init__(method)
        self.recipe["objective"] = self.objective
