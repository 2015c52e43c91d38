"""A sheet of training pictures, a row for each class, as the network sees them: wrong sizes, colours, labels show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.base.settings import Settings
from pipeline.data.choosing import Choice, choose
from pipeline.data.dataset import SHOWN_CLASSES, shown
from pipeline.data.images import Images, decode, refuse
from pipeline.data.module import register_networks
from pipeline.data.recipes import input_settings, transforms
from pipeline.data.streaming import seen

# Pixels. Smaller pictures are enlarged, by the largest whole factor that keeps them within DRAWN, larger ones reduced.
DRAWN, GAP, NAMES, TEXT = 112, 4, 180, 14
LONGEST_NAME = 80  # characters that are drawn; more would not fit anyway
PAPER, INK = "#ffffff", "#1b1f24"


def find_examples(settings: Settings, count: int) -> tuple[Images, Sequence[str]]:
    """The training images that `shown` names as the network will see them, uint8 and not varied; names of all classes.

    Raises InputError as stage data does, but of no other images.
    """
    data = settings.data
    train, _ = choose(data, settings.seed)
    chosen = Choice(train.source, train.rows[shown(train.labels, count)])
    if data.storage == "files":
        register_networks(settings.model)
        return seen(chosen, transforms(data, input_settings(settings.model))[1], data), chosen.source.classes
    found = decode(chosen.source, chosen.rows, data)
    refuse(found.problems)
    return found.images, chosen.source.classes


def sheet(images: Images, names: Sequence[str]) -> bytes:
    """A PNG with a row for each class of the images, its name before them. images: uint8. names: of all classes."""
    labels = images.labels.cpu().numpy()
    rows = np.unique(labels).tolist()
    pixels = images.pixels.shape[2]
    side = DRAWN // pixels * pixels or DRAWN
    how = Image.Resampling.NEAREST if pixels <= DRAWN else Image.Resampling.LANCZOS
    font = ImageFont.load_default(TEXT)
    titles = [_fitting(names[label], font) for label in rows]
    first = 2 * GAP + math.ceil(max(map(font.getlength, titles)))
    width = first + int(np.bincount(labels).max()) * (side + GAP)
    below = GAP + len(rows) * (side + GAP)
    cut = len(names) > len(rows) == SHOWN_CLASSES
    picture = Image.new("RGB", (width, below + cut * 2 * TEXT), PAPER)
    draw = ImageDraw.Draw(picture)
    for row, (label, title) in enumerate(zip(rows, titles, strict=True)):
        top = GAP + row * (side + GAP)
        draw.text((GAP, top), title, INK, font)
        for column, place in enumerate(np.flatnonzero(labels == label).tolist()):
            one = images.pixels[place].permute(1, 2, 0).cpu().numpy()
            drawn = Image.fromarray(one if one.shape[2] == 3 else one[..., 0]).resize((side, side), how)
            picture.paste(drawn, (first + column * (side + GAP), top))
    if cut:
        draw.text((GAP, below), f"the first {len(rows)} of {len(names):,} classes", INK, font)
    content = BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _fitting(name: str, font: Any) -> str:
    """A name in one line that fits before the pictures; what cannot be drawn is a question mark."""
    text = " ".join(name.encode("utf-8", "replace").decode().split())[:LONGEST_NAME]
    kept = text
    while font.getlength(kept) > NAMES:
        text = text[:-1]
        kept = f"{text}\u2026"
    return kept
