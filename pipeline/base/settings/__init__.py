"""Settings: params.yaml and one profile, checked once and frozen.

The comments in params.yaml and profiles/*.yaml say what each setting is for; these modules say what is allowed.
"""

from pipeline.base.settings.allowed import Section
from pipeline.base.settings.params import (
    Apot,
    Baselines,
    Explore,
    Fixing,
    Grid,
    Hardware,
    Quantiser,
    Rates,
    Variant,
)
from pipeline.base.settings.plain_yaml import parse_yaml
from pipeline.base.settings.profile import HUB, Data, Finetune, Model, Pretrain, Quantise, Stem
from pipeline.base.settings.reading import load_settings
from pipeline.base.settings.stages import Settings

__all__ = [
    "HUB", "Apot", "Baselines", "Data", "Explore", "Finetune", "Fixing", "Grid", "Hardware", "Model", "Pretrain",
    "Quantise", "Quantiser", "Rates", "Section", "Settings", "Stem", "Variant", "load_settings", "parse_yaml",
]  # fmt: skip
