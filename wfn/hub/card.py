"""The page that a packed network gets on the Hugging Face hub, and what timm reads there."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from typing import Any

from wfn.packed.decode import Contents
from wfn.packed.network.allowed import check

# Of a packed file's metadata, what this project writes, and how the page puts it.
SAID = {
    "data": "data set",
    "top1": "top-1",
    "top5": "top-5",
    "test_images": "test pictures",
    "method": "method",
    "delta": "δ",
    "alpha": "α",
}


def card(repository: str, contents: Contents, metadata: Mapping[str, Any], licence: str | None, weights: bool) -> str:
    """A model card in Markdown. metadata: what the page says beyond the file's own; weights: timm can load it too."""
    network = contents.network or {}
    head: dict[str, Any] = {} if licence is None else {"license": licence}
    if network:
        head["pipeline_tag"] = "image-classification"
    if weights:
        head["library_name"] = "timm"
    head["tags"] = [*(["image-classification", "timm"] if network else []), "weight-fixing"]
    rows = {
        "network": network.get("timm", "tensors only"),
        **{SAID.get(key, _cell(key)): _cell(value) for key, value in {**contents.metadata, **metadata}.items()},
        "values": f"{len(contents.codebook):,} for {int(contents.usage.sum()):,} weights",
        "entropy": f"{contents.entropy:.3f} bits a weight",
        "size": f"{contents.bytes:,} bytes, {contents.unpacked_bytes:,} unpacked",
        **({} if licence is None else {"licence": licence}),
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items())
    return (
        f"---\n{front}\n---\n\n# {repository}\n\n{_use(repository, contents, weights)}\n\n| | |\n|---|---|\n{table}\n"
    )


def _use(repository: str, contents: Contents, weights: bool) -> str:
    if contents.network is None:
        lines = [f'tensors = wfn.unpack("hf-hub:{repository}")']
    else:
        lines = [f'model = wfn.load("hf-hub:{repository}")']
        if contents.network.get("input"):
            lines.append('probabilities = model(model.transform(Image.open("picture.jpg"))[None]).softmax(-1)')
    imports = ["import wfn", *(["from PIL import Image"] if len(lines) > 1 else [])]
    code = "\n".join([*imports, "", *lines])
    told = "A network whose weights share few values, in a file of about the size of their entropy.\n\n"
    told += f"```sh\npip install 'weight-fixing[hub]'\n```\n\n```python\n{code}\n```"
    if weights:
        told += f'\n\nWithout that package: `timm.create_model("hf-hub:{repository}", pretrained=True)`.'
    return told


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return html.escape(" ".join(text.replace("|", "\\|").split()), quote=False)


def timm_config(network: Mapping[str, Any]) -> dict[str, Any]:
    """config.json as timm reads it: architecture, arguments, classes, and what becomes of a picture."""
    known = check(network)
    arguments = dict(known["arguments"])
    outputs = arguments.pop("num_classes", None)
    config: dict[str, Any] = {"architecture": known["timm"], "model_args": arguments}
    if outputs is not None:
        config["num_classes"] = outputs
    if known["classes"] is not None:
        config["label_names"] = known["classes"]
    return config | {"pretrained_cfg": _pretrained(known, outputs)}


def _pretrained(network: Mapping[str, Any], outputs: int | None) -> dict[str, Any]:
    import timm

    own = timm.get_pretrained_cfg(network["timm"])
    layers = {key: getattr(own, key, None) for key in ("first_conv", "classifier", "fixed_input_size")}
    config: dict[str, Any] = {key: value for key, value in layers.items() if value is not None}
    if outputs is not None:
        config["num_classes"] = outputs
    wanted = network["input"]
    if wanted is None:
        return config
    share, mode = (_share(wanted["crop"][0], wanted["squash"][0]), "squash") if "squash" in wanted else ("", "center")
    return config | {
        "input_size": [wanted["channels"], *wanted["crop"]],
        **{key: wanted[key] for key in ("interpolation", "mean", "std")},
        **{"crop_pct": share or _share(min(wanted["crop"]), wanted["shorter"]), "crop_mode": mode},
    }


def _share(crop: int, resized: int) -> float:
    """timm's crop_pct: it resizes to the whole number below crop / crop_pct."""
    share = crop / resized
    while math.floor(crop / share) < resized:
        share = math.nextafter(share, 0)
    return share
