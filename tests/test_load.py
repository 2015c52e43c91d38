"""A packed network loads in one line: the same logits as the pipeline's own network, on the same pictures."""

import io

import numpy as np
import pytest
import timm
import torch
from packed_parts import any_network
from PIL import Image

import wfn
from pipeline.base.results import Run
from pipeline.data.images import decode, normalise
from pipeline.data.recipes import input_settings, transforms
from pipeline.network.build import build
from pipeline.packing.network import network_of, picture_of
from wfn.packed.errors import PackedError
from wfn.packed.network.allowed import check
from wfn.packed.network.loading import transform

CARD = {"mean": [0.1], "std": [0.3], "class_names": [str(i) for i in range(10)]}


def stored(state, network=None, **options):
    content = io.BytesIO()
    wfn.pack(state, content, network=network, **options)
    return content


def claiming(state, network):
    """A file that says of these tensors that they are this network's, right or wrong."""

    with any_network():
        return stored(state, network)


def run(settings, **metrics):
    return Run(None, metrics, settings.model_dump(mode="json"), None, None)


@pytest.fixture
def picture():
    """Neither square nor of the size that any network takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (41, 37, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_network_of_the_pipeline(settings, dataset, model):
    network = network_of(run(settings), dataset.card)
    wfn.fix(model, delta=0.02)
    loaded = wfn.load(stored(model.state_dict(), network))
    images = dataset.test[:20].pixels
    pictures = [Image.fromarray(image[0].numpy()) for image in images]
    pixels = torch.stack([loaded.transform(each) for each in pictures])
    assert torch.equal(pixels, normalise(images, dataset.card["mean"], dataset.card["std"]))
    with torch.inference_mode():
        ours, expected = loaded(pixels), model.eval()(pixels)
    torch.testing.assert_close(ours, expected)
    assert loaded.classes == dataset.card["class_names"]
    assert not loaded.training


@pytest.mark.parametrize("stem", [{"kernel": 3, "stride": 1, "pool": False}, {"kernel": 5, "stride": 2, "pool": True}])
def test_another_stem(settings, stem):
    changed = settings.changed({"model.options": {"stem_type": ""}, "model.stem": stem})
    model = build(changed.model, 0).eval()
    loaded = wfn.load(stored(model.state_dict(), network_of(run(changed), CARD)))
    pixels = torch.randn(2, 1, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(pixels), model(pixels))


class OnePicture:
    """A source of pictures that has one."""

    labels = np.zeros(1, np.int64)

    def __init__(self, image):
        self.image = image

    def open(self, i):
        return self.image.copy()

    def title(self, i):
        return str(i)


@pytest.mark.parametrize("statistics", ["images", "model"])
def test_pictures_of_a_data_set_in_memory(settings, picture, statistics):
    """As the pipeline decodes them: squashed, grey."""
    changed = settings.changed({"data.statistics": statistics})
    wanted = picture_of(changed.data, changed.model, CARD)
    images = decode(OnePicture(picture), np.zeros(1, np.int64), changed.data).images
    known = CARD if statistics == "images" else input_settings(changed.model)
    expected = normalise(images.pixels, known["mean"], known["std"])[0]
    assert torch.equal(transform(wanted)(picture), expected)


@pytest.mark.parametrize(
    ("recipe", "network"),
    [("timm", "resnet18"), ("authors", "resnet18"), ("timm", "convnext_base.fb_in22k_ft_in1k_384")],  # which squashes
)
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (224, 224)])
def test_pictures_that_stay_files(settings, recipe, network, size):
    changes = {"data.storage": "files", "data.recipe": recipe, "data.pixels": 96, "data.channels": 3}
    changes |= {"data.statistics": "model", "data.shift": 0}
    changed = settings.changed({**changes, "model.name": network, "model.in_chans": 3})
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(network).to_dict())
    config["input_size"] = (3, 96, 96)
    by_timm = timm.data.create_transform(**config)(Image.fromarray(pixels))
    expected = transforms(changed.data, input_settings(changed.model))[1](Image.fromarray(pixels))
    found = transform(picture_of(changed.data, changed.model, CARD))(Image.fromarray(pixels))
    assert torch.equal(found, expected)
    assert recipe == "authors" or torch.equal(expected, by_timm)


def test_a_crop_that_the_file_has_no_words_for(settings):
    """The network goes without what becomes of a picture, in place of something else."""
    files = {
        "data.storage": "files",
        "data.statistics": "model",
        "data.channels": 3,
        "model.in_chans": 3,
        "data.shift": 0,
    }
    changed = settings.changed({**files, "data.pixels": 96, "model.name": "resnet18"})
    cropped = {"crop_mode": "border"} | dict.fromkeys(("mean", "std"), (0.5,) * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pipeline.packing.network.input_settings", lambda _: cropped | {"crop_pct": 0.9, "interpolation": "x"}
        )
        assert picture_of(changed.data, changed.model, CARD) is None


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "mobilenetv3_small_050"])
def test_the_name_of_a_timm_model_is_enough(name):
    model = timm.create_model(name, num_classes=7).eval()
    loaded = wfn.load(stored(model, name))
    config = timm.data.resolve_data_config({}, model=model)
    pixels = np.random.default_rng(0).integers(0, 256, (260, 250, 3), dtype=np.uint8)
    expected = timm.data.create_transform(**config)(Image.fromarray(pixels))
    assert torch.equal(loaded.transform(Image.fromarray(pixels)), expected)
    with torch.inference_mode():
        assert torch.equal(loaded(expected[None]), model(expected[None]))
    assert loaded.classes is None


def test_a_timm_model_for_grey_pictures():
    model = timm.create_model("test_resnet", in_chans=1).eval()
    loaded = wfn.load(stored(model, "test_resnet"))
    assert loaded.transform(Image.new("RGB", (300, 200))).shape == (1, 160, 160)


def test_buffers_that_no_file_keeps_are_there():
    """MaxViT's tables of positions are made by the model itself."""
    arguments = {"num_classes": 3, "img_size": 32}
    model = timm.create_model("test_maxvit", **arguments).eval()
    assert {name for name, _ in model.named_buffers()} - model.state_dict().keys()
    loaded = wfn.load(stored(model, {"timm": "test_maxvit", "arguments": arguments}))
    pixels = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(pixels), model(pixels))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_of_half_precision_predicts(dtype):
    """Its pictures come in the type of its weights."""
    model = timm.create_model("test_resnet", num_classes=4).to(dtype).eval()
    loaded = wfn.load(stored(model, "test_resnet"))
    pixels = loaded.transform(Image.new("RGB", (200, 200), (9, 99, 200)))[None]
    with torch.inference_mode():
        assert torch.equal(loaded(pixels), model(pixels))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("test_resnet", {"global_pool": "max"}, "pool_type=max.* in place of .*pool_type=avg"),
        ("test_resnet", {"act_layer": "silu"}, "SiLU.* in place of .*ReLU"),
        ("test_vit", {"img_size": 96}, r"pos_embed: \(1, 37, 64\) in the model, \(1, 101, 64\) in test_vit"),
        ("test_resnet", {"output_stride": 8}, "Conv2d.* in place of .*Conv2d"),
    ],
)
def test_a_model_that_its_name_does_not_tell_is_not_packed(name, changes, said):
    """It would be loaded as another network, and nobody would know."""
    with pytest.raises(ValueError, match=f"by that name alone .*{said}"):
        stored(timm.create_model(name, **changes), name)


def test_what_acts_in_training_only_needs_no_name():
    model = timm.create_model("test_resnet", drop_rate=0.2, drop_path_rate=0.1)
    assert wfn.load(stored(model, "test_resnet")).classes is None


def test_a_compiled_model_is_not_packed_under_names_that_no_network_has():
    with pytest.raises(ValueError, match="pack what was compiled, model._orig_mod"):
        stored(torch.compile(timm.create_model("test_resnet")), "test_resnet")


def test_weights_of_another_kind():
    state = timm.create_model("test_resnet").state_dict()
    state["fc.bias"] = torch.zeros(len(state["fc.bias"]), dtype=torch.int8)
    with pytest.raises(PackedError, match=r"fc.bias: torch.int8 in the file, torch.float32 in test_resnet"):
        wfn.load(stored(state, {"timm": "test_resnet"}))


def test_a_small_file_cannot_ask_for_large_masks():
    """Swin computes masks for its pictures, whose size is in no tensor of the file."""
    name, arguments = "swin_tiny_patch4_window7_224", {"num_classes": 3, "img_size": 22400, "window_size": 7}
    with torch.device("meta"):
        expected = timm.create_model(name, **arguments).state_dict()
    state = {key: torch.zeros(each.shape, dtype=each.dtype) for key, each in expected.items()}
    with pytest.raises(PackedError, match=f"{name} needs .* bytes beside its tensors"):
        wfn.load(stored(state, {"timm": name, "arguments": arguments}))


def test_loading_leaves_the_random_state_alone():
    content = stored(timm.create_model("test_resnet"), "test_resnet")
    before = torch.get_rng_state()
    wfn.load(content)
    assert torch.equal(torch.get_rng_state(), before)


def test_quantised_activations_cannot_be_built_by_timm(settings):
    assert network_of(run(settings, activation_bits=3), CARD) is None
    assert network_of(run(settings.changed({"model.options": {"block_args": 1}})), CARD) is None


def test_a_file_without_a_network():
    with pytest.raises(PackedError, match="holds tensors only, no network"):
        wfn.load(stored({"a": torch.ones(3)}))


def test_weights_of_another_network():
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    eight = {"timm": "test_resnet", "arguments": {"num_classes": 8}}
    with pytest.raises(PackedError, match=r"fc\.bias: \(7,\) in the file, \(8,\) in test_resnet"):
        wfn.load(claiming(state, eight))
    with pytest.raises(ValueError, match=r"another network \(fc\.bias: \(7,\) in the model, \(8,\) in test_resnet\)"):
        stored(state, eight)
    with pytest.raises(PackedError, match="no such tensor in the file"):
        wfn.load(claiming({}, {"timm": "test_resnet"}))


def test_what_neither_shapes_nor_descriptions_tell():
    """As many weights in as many heads more."""
    model = timm.create_model("test_vit", num_classes=7, num_heads=4)
    with pytest.raises(ValueError, match=r"another network \(blocks\.0\.attn\.head_dim = 16 in place of 32\)"):
        stored(model, "test_vit")
    stored(timm.create_model("test_vit", num_classes=7, drop_rate=0.1, drop_path_rate=0.1), "test_vit")


def test_what_acts_in_training_only_is_no_difference():
    """Other batch-norm momenta, and batch-norm over several processes; packed as a description says, too."""
    model = timm.create_model("test_resnet", num_classes=7)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.01
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for network in ("test_resnet", {"timm": "test_resnet", "arguments": {"num_classes": 7}}):
        stored(model, network)
    with pytest.raises(ValueError, match="a: names and tensors are needed, not int"):
        stored({"a": 3}, {"timm": "test_resnet"})


@pytest.mark.parametrize("names", [["a", "b"], list("abcdefghi")])
def test_as_many_names_as_outputs(names):
    network = {"timm": "test_resnet", "arguments": {"num_classes": 7}, "classes": names}
    state = timm.create_model("test_resnet", num_classes=7).state_dict()
    for packing, error in ((claiming, PackedError), (stored, ValueError)):
        with pytest.raises(error, match=f"network.classes: {len(names)} names for 7 outputs"):
            wfn.load(packing(state, network))


def test_a_description_without_what_the_model_was_built_with():
    model = timm.create_model("test_resnet", num_classes=7, act_layer="silu")
    told = {"timm": "test_resnet", "arguments": {"num_classes": 7}}
    with pytest.raises(ValueError, match="as it is described it would be loaded as another network .*SiLU"):
        stored(model, told)
    loaded = wfn.load(stored(model, {**told, "arguments": {"num_classes": 7, "act_layer": "silu"}}))
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(loaded(images), model.eval()(images))


def test_networks_are_built_on_the_cpu_in_float32_whatever_the_defaults():
    model = timm.create_model("test_vit", num_classes=7)
    content = stored(model, {"timm": "test_vit", "arguments": {"num_classes": 7}})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            loaded = wfn.load(content)
    finally:
        torch.set_default_dtype(before)
    kinds = {(each.device.type, each.dtype) for each in (*loaded.parameters(), *loaded.buffers())}
    assert kinds == {("cpu", torch.float32)}


def test_a_file_cannot_ask_for_a_large_network():
    """It is laid out without memory before it is built."""
    with pytest.raises(PackedError, match="in the file"):
        wfn.load(claiming({}, {"timm": "test_resnet", "arguments": {"num_classes": 10**12}}))


FITTING = {
    "channels": 1,
    "squash": [28, 28],
    "interpolation": "bilinear",
    "crop": [28, 28],
    "mean": [0.1],
    "std": [0.3],
}


@pytest.mark.parametrize(
    ("network", "named"),
    [
        ({"timm": "no_such_model"}, "network.timm"),
        ({"timm": "hf-hub:owner/name"}, "network.timm"),
        ({"timm": "../../etc"}, "network.timm"),
        ({"timm": 3}, "network.timm"),
        ({}, "network.timm"),
        ({"timm": "resnet18", "code": "import os"}, "'code' is unknown"),
        *(
            ({"timm": "resnet18", "arguments": {key: value}}, f"'{key}' is not allowed")
            for key, value in {
                "pretrained": True,
                "checkpoint_path": "/etc/passwd",
                "pretrained_cfg": {"file": "x"},
                "pretrained_cfg_overlay": {"url": "x"},
                "cache_dir": "/",
                "block": "x",
            }.items()
        ),
        ({"timm": "resnet18", "arguments": {"num_classes": {"a": 1}}}, "arguments.num_classes"),
        ({"timm": "resnet18", "arguments": []}, "arguments: an object"),
        ({"timm": "resnet18", "arguments": {"img_size": 3}}, "timm cannot build resnet18"),
        ({"timm": "resnet18", "stem": {"kernel": 3}}, "network.stem"),
        ({"timm": "resnet18", "stem": {"kernel": 0, "stride": 1, "pool": True}}, "network.stem.kernel"),
        ({"timm": "test_vit", "stem": {"kernel": 3, "stride": 1, "pool": True}}, "no conv1 and maxpool"),
        ({"timm": "resnet18", "classes": [1]}, "network.classes"),
        ({"timm": "resnet18", "input": []}, "network.input"),
        ({"timm": "resnet18", "input": FITTING | {"channels": 2}}, "network.input"),
        ({"timm": "resnet18", "input": FITTING | {"shorter": 3}}, "network.input"),
        ({"timm": "resnet18", "input": FITTING | {"squash": [28]}}, "network.input.squash"),
        ({"timm": "resnet18", "input": FITTING | {"squash": [10**6, 1]}}, "network.input.squash"),
        ({"timm": "resnet18", "input": FITTING | {"interpolation": "x"}}, "network.input.interpolation"),
        ({"timm": "resnet18", "input": FITTING | {"mean": [0.1, 0.1]}}, "network.input.mean"),
        ({"timm": "resnet18", "input": FITTING | {"std": [0]}}, "network.input.std"),
        ({"timm": "resnet18", "input": FITTING | {"std": [True]}}, "network.input.std"),
    ],
)
def test_a_network_is_built_from_an_allow_list(network, named):
    with pytest.raises(PackedError, match=named):
        wfn.load(stored({}, network)) if named.startswith(("timm", "no conv1")) else check(network)


def test_what_load_would_refuse_is_not_packed(tmp_path):
    with pytest.raises(ValueError, match="'pretrained' is not allowed"):
        wfn.pack({}, tmp_path / "x.wfn", network={"timm": "resnet18", "arguments": {"pretrained": True}})
    with pytest.raises(ValueError, match="a model that timm has built is needed"):
        wfn.pack({}, tmp_path / "x.wfn", network="resnet18")
    assert list(tmp_path.iterdir()) == []
