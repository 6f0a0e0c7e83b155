"""The names of version 0.1 for what `xbench.methods.conditional` holds; plug-ins may use them."""

from xbench.methods.conditional import ConditionalConfig as LabelledConfig
from xbench.methods.conditional import ConditionalLearner as LabelledLearner
from xbench.methods.conditional import ConditionalMethod as LabelledMethod
from xbench.methods.conditional import ConditionalTraining as LabelledTraining

__all__ = ["LabelledConfig", "LabelledLearner", "LabelledMethod", "LabelledTraining"]
