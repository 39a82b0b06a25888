"""The horizon study from its options: mixtures, images, and the page of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfg_jax.runs.study import Study
from tfg_jax.studies.horizon.cells import images_study
from tfg_jax.studies.horizon.images import Networks
from tfg_jax.studies.horizon.mixtures import mixtures_study, read_mixtures
from tfg_jax.studies.horizon.page import write_page


def parts(options: Any) -> list[tuple[Study, tuple[str, ...]]]:
    """The parts that are wanted, and which rows of them. Raises ValueError for a wrong word, whatever the part."""
    if not options.problems or not options.budgets:
        raise ValueError("problems and budgets must name at least one each; leave them out for the defaults")
    if options.part == "mixtures" and options.only:
        raise ValueError(f"only={' '.join(options.only)!r} has no effect with part='mixtures'; drop one of them")
    if options.part == "images" and options.quick:
        raise ValueError("quick has no effect with part='images'; drop one of them")
    images = _images(options)
    images.selected(options.only)
    mixtures = [] if options.part == "images" else [(mixtures_study(options.out / "mixtures", options.quick), ())]
    return mixtures + ([] if options.part == "mixtures" else [(images, options.only)])


def write(options: Any) -> Path:
    """The page from what is known."""
    page = options.page or options.out / "page.md"
    write_page(page, read_mixtures(options.out / "mixtures"), list(_images(options).known().values()))
    return page


def _images(options: Any) -> Study:
    networks = Networks(options.model, options.guide, options.evaluator)
    return images_study(options.out / "images", options.problems, options.budgets, options, networks)
