"""Classifiers as weights on disk: the objectives' `Classifier` and `NoisyClassifier` of a stored network."""

from tfg_jax.models.classifiers.config import EvaluatorConfig, GuideConfig, NoisyGuideConfig
from tfg_jax.models.classifiers.network import EvaluatorNet, GuideNet, NoisyGuideNet
from tfg_jax.models.config import need, need_name, need_shape
from tfg_jax.models.family import Family, OneSample, Stored
from tfg_jax.objectives.classifier import Classifier, NoisyClassifier


def classifier(stored: Stored) -> Classifier | NoisyClassifier:
    """The classifier of one sample."""
    net, name, shape = stored.network, need_name(stored.values), need_shape(stored.values["shape"])
    need("shape", list(shape), shape == (net.side, net.side, net.channels), "[side, side, channels] of the network")
    graphdef, params = stored.module()
    apply, features = (OneSample(graphdef, method, shape=shape) for method in ("__call__", "features"))
    if stored.family.network is NoisyGuideNet:
        return NoisyClassifier(params, apply, net.num_classes, name=name)
    return Classifier(params, apply, net.num_classes, features_of=features, name=name)


FAMILIES = {
    "GuideNet": Family(GuideConfig, GuideNet, classifier),
    "EvaluatorNet": Family(EvaluatorConfig, EvaluatorNet, classifier),
    "NoisyGuideNet": Family(NoisyGuideConfig, NoisyGuideNet, classifier),
}
