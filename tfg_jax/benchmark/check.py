"""Whether the values of a suite fit each other, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping

from tfg_jax.benchmark.methods import methods_of, names_of, presets_of, settings_of
from tfg_jax.benchmark.suite import PRESETS, TRUSTS, UNGUIDED, Entry, Need, Suite
from tfg_jax.benchmark.tables import MOST, Unfit, counted, folder_name, one_of, unique
from tfg_jax.metrics.titles import METRICS

GIVES = {
    "model": ("model",), "guides": ("classifier", "predictor"), "images": ("images",), "features": ("features",),
    "evaluators": ("classifier", "predictor", "features"), "score": ("score",),
}  # fmt: skip
"""What the needs of each role have to give."""
GRIDS = ("", "Leading", "Linspace", "Trailing")
WANTED = {
    "labels": ("guides", "evaluators"), "attributes": ("guides", "evaluators"), "properties": ("guides", "evaluators"),
    "restoration": ("images", "operator"), "style": ("features", "images"),
}  # fmt: skip
"""What a task needs beside its model where it names no data set, by its kind."""
SPARED = {"restoration": ("evaluators", "score"), "style": ("evaluators", "score")}
"""What a task can do without where it names no data set, and an optional need may stand for; of other kinds the score
alone."""
RANKING = {
    "labels": ("evaluator_accuracy", "evaluator_target_probability"),
    "attributes": ("attribute_accuracy", "all_attributes"),
    "restoration": ("feature_distance", "psnr", "ssim", "lpips", "dtw"),
    "properties": ("error",),
    "style": ("style_distance",),
}
"""Metrics that have a value for every sample, by which methods are paired."""


def check(suite: Suite) -> None:
    """Raise `Unfit` for a suite that no run could be made of."""
    needs = {need.name: need for need in suite.needs}
    unique("need", [need.name for need in suite.needs])
    for need in suite.needs:
        folder_name("need: name", need.name)
        one_of(f"need {need.name!r}: gives", need.gives, {each for gives in GIVES.values() for each in gives})
    counted("tasks", len(suite.tasks))
    counted("seeds", len(suite.seeds))
    unique("seed", suite.seeds)
    for seed in suite.seeds:
        counted("seeds", seed, 0)
    for entry in suite.tasks:
        _check_entry(entry, needs)
    unique("task", [name for entry in suite.tasks for name in dict.fromkeys(map(entry.task, entry.targets))])
    methods = {name for entry in suite.tasks for name in names_of(entry)}
    for name in filter(None, (suite.headline, *suite.baselines, *suite.beyond)):
        one_of("headline, baselines or beyond", name, sorted(methods))
    if suite.headline and (not suite.baselines or suite.headline in (*suite.baselines, *suite.beyond)):
        raise Unfit(f"baselines={list(suite.baselines)} must name methods other than headline={suite.headline!r}")
    for name in ("baselines", "beyond", "published"):
        if getattr(suite, name) and not suite.headline:
            raise Unfit(f"{name} has no effect without headline, the method that is compared; set headline")


def _check_entry(entry: Entry, needs: Mapping[str, Need]) -> None:
    at = f"task {entry.name!r:.40}"
    one_of(f"{at}: kind", entry.kind, WANTED)
    one_of(f"{at}: grid", entry.grid, GRIDS)
    for name in ("samples", "steps", "chunk"):
        counted(f"{at}: {name}", getattr(entry, name))
    if entry.kind != "restoration" and entry.noise_std != Entry.noise_std:
        raise Unfit(f"{at}: noise_std has no effect on a task of kind {entry.kind!r}, which measures nothing; drop it")
    for name, right, words in (
        ("rate", 0.0 <= entry.rate < MOST, "0 or more"), ("noise_std", 0.0 < entry.noise_std < MOST, "above 0"),
        ("eta", 0.0 <= entry.eta <= 1.0, "in [0, 1]"),
    ):  # fmt: skip
        if not right:
            raise Unfit(f"{at}: {name}={getattr(entry, name)} must be {words}")
    for name in ("targets", "methods"):
        counted(f"{at}: {name}", len(getattr(entry, name)))
    for name in (entry.name, *names_of(entry)):
        folder_name(f"{at}: name or method", name)
    for target in entry.targets:
        folder_name(f"{at}: target", target.name, most=2)  # one name of a class may hold a slash
    unique(f"{at}: target", [target.name for target in entry.targets])
    unique(f"{at}: method", entry.methods)
    for role, gives in GIVES.items():
        for name in _named(entry, role):
            one_of(f"{at}: {role}", name, needs)
            one_of(f"{at}: {role} {name!r} gives", needs[name].gives, gives)
    _check_shipped(at, entry) if entry.data else _check_own(at, entry, needs)
    one_of(f"{at}: metric", entry.metric, RANKING[entry.kind])
    if entry.metric in ("lpips", "dtw") and not entry.score:
        raise Unfit(f"{at}: score is missing, which metric={entry.metric!r} comes from")
    if unknown := [name for name in entry.also if name not in METRICS and not entry.score]:
        raise Unfit(f"{at}: also={unknown[0]!r:.60} is no number of metrics.json; name one, such as psnr")
    for target, name in settings_of(entry):
        one_of(f"{at}: settings of", name, names_of(entry))
        if name in UNGUIDED:
            raise Unfit(f"{at}: settings.{name} has no effect, as nothing guides there; drop it")
        one_of(f"{at}: trust of target {target.name!r}", target.trust, TRUSTS)
    for target in entry.targets:
        methods_of(entry, target)
    for number in entry.published:
        one_of(f"{at}: trust of a published number", number.trust, TRUSTS[1:])


def _named(entry: Entry, role: str) -> list[str]:
    """The needs that a task names for a role, none or one or several."""
    named = getattr(entry, role)
    return [name for name in ([named] if isinstance(named, str) else named) if name]


def _check_shipped(at: str, entry: Entry) -> None:
    from tfg_jax.tasks.dataset import MoleculeSet
    from tfg_jax.tasks.find import find_task, task_names
    from tfg_jax.tasks.inverse import PROBLEMS

    one_of(f"{at}: data", entry.data, task_names())
    molecules = isinstance(find_task(entry.data), MoleculeSet)
    one_of(f"{at}: kind", entry.kind, ("properties",) if molecules else ("labels", "restoration"))
    if needless := [role for role in (*GIVES, "operator") if getattr(entry, role)]:
        raise Unfit(f"{at}: {needless[0]} has no effect with data={entry.data!r}, whose own is taken; drop one of them")
    unguided = UNGUIDED if entry.kind == "labels" else UNGUIDED[:1]
    for name in entry.methods:
        one_of(f"{at}: methods", name, (*unguided, PRESETS, *presets_of(entry)))
    for target in entry.targets if entry.kind == "restoration" else ():
        one_of(f"{at}: targets", target.name, PROBLEMS)
    if molecules and entry.clip:
        raise Unfit(f"{at}: clip=true has no effect on molecules, whose positions have no range; set clip = false")
    if molecules:
        _check_properties(at, entry)


def _check_own(at: str, entry: Entry, needs: Mapping[str, Need]) -> None:
    _check_roles(at, entry, needs)
    if entry.metric == "feature_distance" and not entry.evaluators:
        raise Unfit(f"{at}: evaluators is missing, in whose features metric='feature_distance' is measured")
    for name in entry.methods:
        if name != "none" and "type" not in entry.settings.get(name, {}):
            raise Unfit(f"{at}: settings.{name}.type is missing; a task without data has no tuned methods")
    for role in ("guides", "evaluators"):
        if entry.kind != "attributes" and len(getattr(entry, role)) > 1:
            named = list(getattr(entry, role))
            raise Unfit(f"{at}: {role}={named} must be one; a task of kind 'attributes' takes several")
    if entry.kind == "attributes" and any(len(target.request) != len(entry.guides) for target in entry.targets):
        raise Unfit(f"{at}: targets must name one class for each of {len(entry.guides)} guides")
    if entry.kind == "attributes" and len(entry.guides) != len(entry.evaluators):
        raise Unfit(f"{at}: guides and evaluators must be as many")
    if entry.kind == "restoration":
        from tfg_jax.benchmark.operators import OPERATORS

        one_of(f"{at}: operator.type", entry.operator.get("type", ""), OPERATORS)
    if entry.kind == "properties":
        _check_properties(at, entry)


def _check_roles(at: str, entry: Entry, needs: Mapping[str, Need]) -> None:
    """That every role of an own task is filled which its kind reads, and no other, with what is there when it runs."""
    spared = SPARED.get(entry.kind, ("score",))
    for role in ("model", *WANTED[entry.kind]):
        if not getattr(entry, role):
            raise Unfit(f"{at}: {role} is missing, which a task of kind {entry.kind!r} needs where it names no data")
    for role in (*GIVES, "operator"):
        named = getattr(entry, role)
        if named and role not in ("model", *WANTED[entry.kind], *spared):
            raise Unfit(f"{at}: {role} has no effect on a task of kind {entry.kind!r}; drop it")
    ranks = "score" if entry.metric in ("lpips", "dtw") else "evaluators"
    if entry.metric in ("feature_distance", "lpips", "dtw"):
        spared = tuple(role for role in spared if role != ranks)
    for role in GIVES:
        for name in _named(entry, role):
            if needs[name].optional and role not in spared:
                raise Unfit(f"{at}: {role} {name!r} is optional, though there is no {entry.metric} without it; drop "
                            "optional = true")  # fmt: skip


def _check_properties(at: str, entry: Entry) -> None:
    from tfg_jax.data.qm9 import PROPERTIES

    if not entry.apart and len({target.request for target in entry.targets}) > 1:
        raise Unfit(f"{at}: targets are of several properties, whose errors have no common unit; set apart = true")
    for target in entry.targets:
        unique(f"{at}: property", target.request)
        for name in target.request:
            one_of(f"{at}: targets", name, PROPERTIES)
