"""What a model expects of images, and how those that stay files are cropped and varied for it.

That is timm's way for the model, or the way of the authors of WFN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from timm.models import PretrainedCfg
from torchvision import transforms as vision

from pipeline.base.settings import Data, Model
from pipeline.data.names import described

# Side of the square that the authors squash images to, as a multiple of the side that the network sees.
AUTHORS_SQUASHED = 256 / 224


def input_settings(settings: Model) -> dict[str, Any]:
    """What timm says of the images that a model's trained weights expect: mean, std, interpolation, crop_pct, ...

    Of a model without trained weights, what timm takes for all. Raises InputError for a model, or weights of it, that
    timm does not have.
    """
    found = resolve_data_config({}, pretrained_cfg=(described(settings) or PretrainedCfg()).to_dict())
    if settings.in_chans == 1:  # timm adds up the weights of the colours
        found |= {key: (sum(found[key]) / len(found[key]),) for key in ("mean", "std")}
    return found


def transforms(settings: Data, model_input: Mapping[str, Any]) -> tuple[Any, Any]:
    """For training and for testing: from a Pillow image to normalised pixels, float32 [C, pixels, pixels].

    model_input: `input_settings` of the model. The random choices are from Python's and torch's own random states.
    """
    make = {"timm": _timm, "authors": _authors}[settings.recipe]
    return make(settings, model_input)


def _timm(settings: Data, model_input: Mapping[str, Any]) -> tuple[Any, Any]:
    """Crops of random size and shape; for testing the middle of an image, whose aspect most models ask to be kept."""
    known = {key: model_input[key] for key in ("mean", "std", "interpolation", "crop_pct", "crop_mode")}
    training, testing = (
        create_transform(settings.pixels, is_training=training, hflip=0.5 * settings.flip, color_jitter=0.0, **known)
        for training in (True, False)
    )
    return training, testing


def _authors(settings: Data, model_input: Mapping[str, Any]) -> tuple[Any, Any]:
    """The whole image squashed to a square (bilinear), its aspect not kept; then a random crop, or the middle."""
    side = round(AUTHORS_SQUASHED * settings.pixels)
    squash = vision.Resize((side, side))
    finish = [vision.ToTensor(), vision.Normalize(model_input["mean"], model_input["std"])]
    mirror = vision.RandomHorizontalFlip(0.5 * settings.flip)
    return (
        vision.Compose([squash, vision.RandomCrop(settings.pixels), mirror, *finish]),
        vision.Compose([squash, vision.CenterCrop(settings.pixels), *finish]),
    )
