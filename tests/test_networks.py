"""Networks that people name: timm's own with their options, and those of a file of their own (model.module)."""

import itertools

import pytest
import timm
import torch
from catalogue import note
from clones import ROOT
from conftest import changed, fixable_weights, working
from torch import nn

import wfn
from pipeline.base.errors import InputError
from pipeline.base.results import read_run
from pipeline.data.memory import prepare, save
from pipeline.data.module import register_networks
from pipeline.data.recipes import input_settings
from pipeline.fixing.rounds import fix_network
from pipeline.network.build import build
from pipeline.network.parameters import fixable_parameters
from pipeline.network.trial import check_runs
from pipeline.packing.network import network_of
from stages.common.baseline import make_baseline, starting_point
from stages.common.folders import Places
from stages.common.work import own_files

SECTION = "Networks"
EXAMPLE = ROOT / "docs" / "examples" / "my_networks.py"


def tried(settings, **model):
    """A network that is built and tried on pictures of the settings' size."""
    chosen = changed(settings, **{"data__pixels": 32} | {f"model__{key}": value for key, value in model.items()})
    register_networks(chosen.model)
    network = build(chosen.model, seed=0)
    check_runs(network, torch.rand(2, chosen.model.in_chans, chosen.data.pixels, chosen.data.pixels), chosen.model)
    return network


def refused(settings, **model):
    with pytest.raises(InputError) as error:
        tried(settings, **model)
    line = str(error.value)
    assert line.isprintable()
    return line


NAMES = {
    "RESNET18": "timm has no such model; allowed: resnet18",
    "resnet19": "timm has no such model; allowed: resnet",
    "mobilnetv3_small_100": "allowed: mobilenetv3_small_100",
    "resnet18.nope": "timm has no such weights of it; allowed: resnet18, resnet18.",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(settings, name):
    """Alike from the network and from what it expects of pictures."""
    line = refused(settings, name=name)
    assert line.startswith(f"model.name = {name!r}: ")
    assert NAMES[name] in line
    with pytest.raises(InputError) as error:
        input_settings(settings.model.model_copy(update={"name": name}))
    assert str(error.value) == line
    note(SECTION, f"`model.name: {name!r}`", "refused", line)


OPTIONS = [
    ("test_resnet", {"wings": 2}, "timm cannot build test_resnet: "),
    ("test_resnet", {"layers": []}, "model"),
    ("test_resnet", {"act_layer": "no_such"}, "timm cannot build test_resnet: "),
    ("test_resnet", {"features_only": True}, "gives a list; one number for each of the 10 classes"),
    ("test_resnet", {"global_pool": ""}, "does not run on pictures of 1x32x32"),
    ("vit_tiny_patch16_224", {"img_size": 64}, "does not run on pictures of 1x32x32 (data.channels, data.pixels): "),
    ("test_vit", {"embed_dim": "wide"}, "timm cannot build test_vit: "),
    ("test_vit", {"patch_size": 0}, "timm cannot build test_vit: "),
    ("test_vit", {"class_token": False}, "timm cannot build test_vit: "),
]


@pytest.mark.parametrize(("name", "options", "said"), OPTIONS, ids=str)
def test_options(settings, name, options, said):
    line = refused(settings, name=name, options=options)
    assert said in line
    note(SECTION, f"`{name}`, `model.options: {options}`", "refused", line)


def test_pictures_of_another_size(settings):
    line = refused(settings, name="vit_tiny_patch16_224")
    assert "does not run on pictures of 1x32x32" in line
    note(SECTION, "a transformer for 224 pixels, 32 given", "refused", line)
    tried(settings, name="vit_tiny_patch16_224", options={"img_size": 32})
    note(SECTION, "the same, `model.options: {img_size: 32}`", "runs")
    line = refused(settings, name="inception_v3")
    note(SECTION, "a network for larger pictures (inception_v3), 32 given", "refused", line)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_byobnet", "test_efficientnet"])
@pytest.mark.parametrize("training", [True, False])
def test_a_trial_changes_nothing(settings, name, training):
    """Neither weights, nor statistics of batch-norm, nor torch's random state, nor the mode."""
    options = {"img_size": 32, "drop_rate": 0.5} if "vit" in name else {"drop_rate": 0.5}
    chosen = changed(settings, model__name=name, model__options=options)
    network = build(chosen.model, seed=0).train(training)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    random = torch.get_rng_state()
    check_runs(network, torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1)), chosen.model)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(module.training is training for module in network.modules())


# Networks of one's own

number = itertools.count()
HEAD = "import torch\nfrom torch import nn\nfrom timm.models import register_model\n\n"
BODY = "    return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * 1024, num_classes))\n"
ARGUMENTS = "pretrained=False, in_chans=3, num_classes=10, **options"


@pytest.fixture
def own(repository):
    """Write a file of one's own; a name of a network is used once in a process. Gives the settings of `model`."""

    def write(text, name=None):
        name = name or f"mine{next(number)}"
        (repository / "my_networks.py").write_text(text.replace("NAME", name))
        return {"name": name, "module": "my_networks.py"}

    return write


def plain(line, name):
    """What is noted of a line: networks of these tests have numbers."""
    return line.replace(name, "mine")


MODULES = {
    "a syntax error": ("def broken(:\n", "line 1: SyntaxError: "),
    "an error when it is imported": (f"{HEAD}\nvalue = 1 / 0\n", "line 6: ZeroDivisionError: division by zero"),
    "a package that is not installed": ("import no_such_package\n", "line 1: ModuleNotFoundError: No module named"),
    "a file that ends the program": ("import sys\nsys.exit('bye')\n", "line 2: SystemExit: bye"),
    "no network registered": (HEAD, "registers no network; a function with @timm.models.register_model is needed"),
    "a name that timm has": (
        f"{HEAD}@register_model\ndef resnet10t({ARGUMENTS}):\n{BODY}",
        "registers resnet10t, a name that timm has already",
    ),
}


@pytest.fixture(autouse=True)
def as_timm_was():
    """A test may take a name of timm's away."""
    kept = timm.model_entrypoint("resnet10t")
    yield
    timm.models._registry._model_entrypoints["resnet10t"] = kept


@pytest.mark.parametrize("case", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_files_that_register_nothing(settings, own, case):
    text, said = MODULES[case]
    line = refused(settings, **own(text, "mine"))
    assert line.startswith("model.module = my_networks.py: ")
    assert said in line
    note(SECTION, f"`model.module` with {case}", "refused", line)


def test_places_of_a_module(settings, repository):
    (repository / "folder").mkdir()
    for path in ("nothing.py", "folder"):
        line = refused(settings, module=path)
        assert line.startswith(f"model.module = {path}: ")
        note(SECTION, f"`model.module: {path}`", "refused", line)


NETWORKS = {
    "another name than those it registers": (f"@register_model\ndef NAMEs({ARGUMENTS}):\n{BODY}", "registers none"),
    "a function without **options": (
        f"@register_model\ndef NAME(in_chans, num_classes):\n{BODY}",
        "unexpected keyword argument",
    ),
    "an error while it is built": (
        f"@register_model\ndef NAME({ARGUMENTS}):\n    raise KeyError('depth')\n",
        "line 7: 'depth'",
    ),
    "something else than a network": (
        f"class Net:\n    pass\n@register_model\ndef NAME({ARGUMENTS}):\n    return Net()\n",
        "gives a Net",
    ),
    "no layer whose weights are fixed": (
        f"@register_model\ndef NAME({ARGUMENTS}):\n    return nn.Flatten()\n",
        "has neither convolutions nor linear layers",
    ),
    "an error when it runs": (
        "class Net(nn.Linear):\n    def forward(self, x):\n        return x.no_such\n"
        f"@register_model\ndef NAME({ARGUMENTS}):\n    return Net(1024, num_classes)\n",
        "line 7: 'Tensor' object has no attribute 'no_such'",
    ),
    "as many outputs as it likes": (
        f"@register_model\ndef NAME({ARGUMENTS}):\n    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 7))\n",
        "gives [pictures, 7]; one number for each of the 10 classes",
    ),
    "NaN as outputs": (
        "class Net(nn.Linear):\n    def forward(self, x):\n        return super().forward(x.flatten(1)) / 0 * 0\n"
        f"@register_model\ndef NAME({ARGUMENTS}):\n    return Net(1024, num_classes)\n",
        "gives nan for pictures of 1x32x32",
    ),
    "several outputs while training": (
        "class Net(nn.Linear):\n    def forward(self, x):\n        y = super().forward(x.flatten(1))\n"
        "        return (y, y) if self.training else y\n"
        f"@register_model\ndef NAME({ARGUMENTS}):\n    return Net(1024, num_classes)\n",
        "in training gives a tuple",
    ),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_networks_that_do_not_run(settings, own, case):
    text, said = NETWORKS[case]
    model = own(HEAD + text)
    line = refused(settings, **model)
    assert said in line
    note(SECTION, f"a network of one's own: {case}", "refused", plain(line, model["name"]))


def test_a_network_without_a_description(settings, own):
    """timm has a pretrained_cfg for its own networks only."""
    model = own(f"{HEAD}@register_model\ndef NAME({ARGUMENTS}):\n{BODY}")
    tried(settings, **model)
    chosen = changed(settings, **{f"model__{key}": value for key, value in model.items()})
    assert input_settings(chosen.model)["mean"] is not None
    note(SECTION, "a network of one's own, `pretrained: false`", "is trained; pictures as timm's default has them")
    line = refused(settings, **model, pretrained=True)
    assert "timm names no weights for" in line
    note(SECTION, "the same, `pretrained: true`", "refused", plain(line, model["name"]))


def test_a_checkpoint_of_ones_own_network(settings, own, repository):
    model = own(f"{HEAD}@register_model\ndef NAME({ARGUMENTS}):\n{BODY}")
    network = tried(settings, **model)
    other = {"module." + name: value.repeat(3, *[1] * (value.ndim - 1)) for name, value in network.state_dict().items()}
    torch.save(other, repository / "mine.pth")
    chosen = changed(
        settings, **{f"model__{key}": value for key, value in model.items()},
        model__checkpoint="mine.pth", pretrain__from_weights=True,
    )  # fmt: skip
    found, _ = starting_point(chosen, quiet=True)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in found.state_dict().items())
    note(SECTION, "a checkpoint of a network of one's own with a head for 30 classes, 10 wanted", "a new head")


def test_the_file_is_run_once_and_leaves_nothing_beside_it(settings, own, repository):
    counted = f"{HEAD}open('{repository}/runs', 'a').write('x')\n@register_model\ndef NAME({ARGUMENTS}):\n{BODY}"
    model = own(counted)
    for _ in range(3):
        tried(settings, **model)
    assert (repository / "runs").read_text() == "x"
    assert {path.name for path in repository.iterdir()} == {"runs", "my_networks.py"}


def test_its_content_decides_the_work(settings, own, repository):
    """A checkpoint of unfinished work is found by the content of the file too."""
    chosen = changed(settings, **{f"model__{key}": value for key, value in own(HEAD).items()})
    assert own_files(chosen) == [repository / "my_networks.py"]
    assert own_files(settings) == []


# As many classes as there are


def test_as_many_classes_as_there_are(settings):
    null = changed(settings, model__num_classes=None)
    assert null.for_classes(7) == changed(settings, model__num_classes=7)
    assert settings.for_classes(7) == settings
    note(SECTION, "`num_classes: null`", "as many as there are folders; settings.json has the number")
    with pytest.raises(InputError) as error:
        null.for_classes(1)
    note(SECTION, "`num_classes: null`, one folder of pictures", "refused", str(error.value))
    with pytest.raises(ValueError, match="for_classes"):
        build(null.model, seed=0)


# The example of docs/inputs.md


@pytest.fixture
def example(settings):
    return changed(
        settings, model__name="cifar_resnet20", model__module=str(EXAMPLE), model__in_chans=1,
        fixing__fractions=(0.6, 1.0), data__mini=10, pretrain__batch_size=40, finetune__batch_size=40,
    )  # fmt: skip


@pytest.mark.slow
def test_the_example_is_trained_fixed_and_packed(example, fabric, tmp_path):
    """Through the pipeline's own functions; 270 thousand weights, as the paper says."""
    dataset = prepare(example.data, seed=0)
    save(dataset, tmp_path / "data")
    make_baseline("pretrain", example, fabric, dataset, Places(tmp_path / "data", tmp_path, tmp_path / "baseline"))
    run = read_run(tmp_path / "baseline")
    assert 0.26e6 < run.metrics["parameters"] < 0.28e6
    assert run.settings["model"]["module"] == str(EXAMPLE)
    with working(example, dataset) as work:
        fixed = fix_network(work)
    assert fixable_weights(work.model, example.fixing).unique().tolist() == fixed.codebook.tolist()
    assert len(fixable_parameters(work.model, example.fixing)) == 19 + 1 + 2 * 19 + 1  # one batch-norm a convolution
    assert network_of(run, dataset.card) is None
    wfn.pack(work.model.state_dict(), tmp_path / "own.wfn")
    again = build(example.model, seed=1)
    again.load_state_dict(wfn.unpack(tmp_path / "own.wfn"))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in work.model.state_dict().items())
    note(SECTION, "the example, docs/examples/my_networks.py", "trained, fixed, packed as tensors only")


def test_the_example_explores_too(example):
    small = changed(example, explore={**example.explore.model_dump(), "model": "cifar_resnet20"}).for_explore()
    assert isinstance(build(small.model, seed=0), nn.Module)


# Last, because a name is registered once in a process, and lines above name those that there are.
LAYER = "\n\nclass Own(nn.Module):\n    num_classes = 10\n\n    def __init__(self):\n        super().__init__()\n"
UNTRAINABLE = {
    "computes without gradients": (
        "        self.layer = nn.Linear(1024, 10)\n\n    @torch.inference_mode()\n    def forward(self, x):\n"
        "        return self.layer(x.flatten(1))\n",
        "does not run on pictures of 1x32x32",
    ),
    "is made for one size of batch": (
        "        self.layer = nn.Linear(1024, 10)\n\n    def forward(self, x):\n"
        "        return self.layer(x.reshape(2, 1024))\n",
        "does not run on pictures of 1x32x32",
    ),
    "keeps a graph between batches": (
        "        self.layer, self.last = nn.Linear(1024, 10), 0\n\n    def forward(self, x):\n"
        "        y = self.layer(x.flatten(1))\n        self.last = y.mean() + self.last\n"
        "        return y + self.last\n",
        "does not run on pictures of 1x32x32",
    ),
    "has weights of half precision": (
        "        self.layer, self.narrow = nn.Linear(1024, 10), nn.Parameter(torch.ones(1, dtype=torch.bfloat16))\n\n"
        "    def forward(self, x):\n        return self.layer(x.flatten(1)) * self.narrow\n",
        "narrow is torch.bfloat16; torch.float32 is needed",
    ),
    "keeps what is no tensor": (
        "        self.layer = nn.Linear(1024, 10)\n\n    def get_extra_state(self):\n        return {'a': 1}\n\n"
        "    def forward(self, x):\n        return self.layer(x.flatten(1))\n",
        "_extra_state is a dict; a tensor with a shape is needed",
    ),
    "has no shape yet": (
        "        self.layer, self.first = nn.LazyLinear(10), nn.Linear(1, 1)\n\n    def forward(self, x):\n"
        "        return self.layer(x.flatten(1))\n",
        "layer.weight is a UninitializedParameter; a tensor with a shape is needed",
    ),
    "makes a layer when it is used": (
        "        self.layer = nn.Linear(1024, 10)\n\n    def forward(self, x):\n"
        "        self.later = getattr(self, 'later', None) or nn.Linear(10, 10)\n"
        "        return self.later(self.layer(x.flatten(1)))\n",
        "later.bias comes or goes when it is used",
    ),
}


@pytest.mark.parametrize(("body", "said"), UNTRAINABLE.values(), ids=UNTRAINABLE)
def test_a_network_that_could_not_be_trained(settings, own, body, said):
    text = f"{HEAD}{LAYER}{body}\n\n@register_model\ndef NAME({ARGUMENTS}):\n    return Own()\n"
    assert said in refused(settings, **own(text))
