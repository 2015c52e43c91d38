"""The command `wfn` on a small packed network: what it prints, what it leaves, and how it ends."""

import json
import subprocess
import sys
import types
import unicodedata

import numpy as np
import pytest
import timm
import torch
from clones import ROOT, clean_environment
from conftest import fixed_network
from packed_parts import with_header
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import wfn
from wfn.cli.app import app
from wfn.files.pictures import PictureError, find_pictures
from wfn.files.tensors.read import read_tensors
from wfn.files.writing import write_safetensors

CLASSES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The weights of a fixed network of 4 classes, as torch saves them."""
    model = fixed_network(num_classes=4)
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def packed(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    done = run("pack", weights, folder / "n.wfn", "--network", "test_resnet", "--classes", folder / "classes.txt")
    assert done.exit_code == 0, done.output
    return folder / "n.wfn"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three pictures of each class, of several sizes, below `val`."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in CLASSES:
        (root / "val" / name).mkdir(parents=True)
        for number in range(3):
            pixels = random.integers(0, 256, (70 + number, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "val" / name / f"{number}.png")
    return root


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def refused(*arguments):
    """The one line that a command ends with, and nothing else."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_packed_and_unpacked(weights, packed, tmp_path):
    """To the bit, and what is loaded knows its classes and its input."""
    done = run("unpack", packed, tmp_path / "again.safetensors")
    assert done.stdout.startswith(f"{tmp_path}/again.safetensors: 92 tensors, ")
    again, state = load_file(tmp_path / "again.safetensors"), torch.load(weights)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    model = wfn.load(packed)
    assert (model.classes, model.num_classes) == (CLASSES, 4)
    assert model.transform(Image.new("RGB", (200, 300))).shape == (3, 160, 160)


def test_what_pack_says(weights, tmp_path):
    done = run("pack", weights, tmp_path / "n.wfn")
    size = (tmp_path / "n.wfn").stat().st_size
    whole = sum(t.numel() * (4 if t.is_floating_point() else 8) for t in torch.load(weights).values())
    assert done.stdout.splitlines()[0] == f"{tmp_path}/n.wfn: {size:,} bytes, {whole / size:.2f} x smaller than float32"
    contents = wfn.inspect(tmp_path / "n.wfn")
    assert f"{len(contents.codebook):,} values for" in done.stdout
    assert f"{contents.entropy:.3f} bits a weight" in done.stdout
    assert contents.network is None


def test_a_grey_network_is_told_by_its_weights(tmp_path):
    model = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    save_file(model.state_dict(), tmp_path / "grey.safetensors")
    run("pack", tmp_path / "grey.safetensors", tmp_path / "grey.wfn", "--network", "test_resnet")
    loaded = wfn.load(tmp_path / "grey.wfn")
    assert loaded.transform(Image.new("RGB", (50, 50))).shape[0] == 1
    assert loaded(torch.zeros(1, 1, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_inspect_fits_the_terminal(packed, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    done = run("inspect", packed)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= max(width, 72)
    assert done.stdout.isascii()
    contents = wfn.inspect(packed)
    assert len([line for line in lines if line.endswith("#")]) == 20
    assert f"entropy        {contents.entropy:.3f} bits a weight" in lines
    assert len(lines) > len(contents.layers) + 20


def test_inspect_for_programs(packed):
    told, contents = json.loads(run("inspect", packed, "--json").stdout), wfn.inspect(packed)
    assert (told["bytes"], told["codebook"]) == (packed.stat().st_size, contents.codebook.tolist())
    assert told["usage"] == contents.usage.tolist()
    assert sum(told["shares_by_terms"].values()) == pytest.approx(1)
    one = sum(n for v, n in zip(told["codebook"], told["usage"], strict=True) if len(wfn.power_terms(v)) == 1)
    assert told["shares_by_terms"]["1"] == pytest.approx(one / sum(told["usage"]))
    assert [layer["name"] for layer in told["layers"]] == [layer.name for layer in contents.layers]


def test_inspect_of_odd_tensors(tmp_path):
    """Tied, empty, scalar, not finite: shown, and JSON stays JSON."""
    weight = torch.tensor([0.5, float("nan"), float("inf"), 0.0]).repeat(50)
    state = {"a": weight, "b": weight, "none": torch.empty(0, 3), "one": torch.tensor(7)}
    wfn.pack(state, tmp_path / "odd.wfn")
    assert "b = a" in run("inspect", tmp_path / "odd.wfn").stdout
    told = json.loads(run("inspect", tmp_path / "odd.wfn", "--json").stdout, parse_constant=pytest.fail)
    assert set(map(str, told["codebook"])) == {"0.0", "0.5", "inf", "nan"}


def test_verify(weights, packed, tmp_path):
    assert run("verify", packed, "--against", weights).exit_code == 0
    state = torch.load(weights)
    state["fc.bias"][2] = -state["fc.bias"][2] + 1
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "other.pt")
    done = run("verify", packed, "--against", tmp_path / "other.pt")
    assert done.exit_code == 1
    assert "fc.bias[2]: " in done.stdout
    assert "1 of 4 values there differ" in done.stdout
    del state["fc.bias"]
    torch.save(state, tmp_path / "fewer.pt")
    done = run("verify", packed, "--against", tmp_path / "fewer.pt")
    assert (done.exit_code, "fc.bias: there only" in done.stdout) == (1, True)


def test_the_sign_of_zero_differs(tmp_path):
    wfn.pack({"w": torch.zeros(2, 2)}, tmp_path / "zero.wfn")
    save_file({"w": torch.tensor([[0.0, -0.0], [0.0, 0.0]])}, tmp_path / "minus.safetensors")
    done = run("verify", tmp_path / "zero.wfn", "--against", tmp_path / "minus.safetensors")
    assert (done.exit_code, "w[0, 1]: 0.0, not -0.0" in done.stdout) == (1, True)


def test_a_damaged_file_in_every_command(packed, tmp_path):
    whole = packed.read_bytes()
    (tmp_path / "damaged.wfn").write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    for command in (["inspect"], ["verify"], ["unpack", tmp_path / "out.safetensors"], ["predict", ROOT]):
        line = refused(command[0], tmp_path / "damaged.wfn", *command[1:])
        assert "damaged" in line
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.wfn"]


def test_predict(packed, data, tmp_path):
    """As the network says of each picture, in their order; one that cannot be read does not stop the others."""
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    places = data / "val" / "bee", tmp_path / "broken.png", data / "val" / "ant" / "1.png"
    done = run("predict", packed, *places, "--top", 2)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/broken.png: not read as a picture")
    paths = [*sorted((data / "val" / "bee").iterdir()), data / "val" / "ant" / "1.png"]
    model = wfn.load(packed)
    for path, said in zip(paths, done.stdout.splitlines(), strict=True):
        with torch.no_grad():
            best = model(model.transform(Image.open(path))[None]).softmax(-1)[0].topk(2)
        (first, second), (one, two) = best.values.tolist(), best.indices.tolist()
        assert said == f"{path}: {CLASSES[one]} {first:.1%}, {CLASSES[two]} {second:.1%}"


def test_evaluate(packed, data):
    done = run("evaluate", packed, data)
    assert done.exit_code == 0, done.output
    assert "4 classes, by their names" in done.stderr
    assert "evaluate: 12 of 12" in done.stderr
    model, right = wfn.load(packed), 0
    for label, name in enumerate(CLASSES):
        for path in (data / "val" / name).iterdir():
            with torch.no_grad():
                right += int(model(model.transform(Image.open(path))[None]).argmax()) == label
    said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert said["top-1"] == f"{right / 12:.2%}"
    assert (said["top-5"], said["pictures"]) == ("100.00%", "12")


def test_evaluate_matches_names(weights, packed, tmp_path):
    """The network gives its last output for all: the class of that name, or, without names, of the last folder."""
    for name, count in zip(CLASSES, (1, 1, 1, 3), strict=True):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(count):
            Image.effect_noise((90, 70), 90).save(tmp_path / "data" / name / f"{number}.png")
    (tmp_path / "names.txt").write_text("dog\nant\nbee\ncat\n")
    run("pack", weights, tmp_path / "cat.wfn", "--network", "test_resnet", "--classes", tmp_path / "names.txt")
    run("pack", weights, tmp_path / "none.wfn", "--network", "test_resnet")
    for file, always, share in (
        (packed, "dog", "50.00%"),
        (tmp_path / "cat.wfn", "cat", "16.67%"),
        (tmp_path / "none.wfn", "3", "50.00%"),
    ):
        said = run("predict", file, tmp_path / "data", "--top", 1).stdout.splitlines()
        assert [line.split(": ")[1].split()[0] for line in said] == [always] * 6
        assert run("evaluate", file, tmp_path / "data").stdout.split()[1] == share
    (tmp_path / "data" / "eel").mkdir()
    assert "no folder for none; no class for eel; allowed" in refused("evaluate", packed, tmp_path / "data")
    (tmp_path / "data" / "eel").rmdir()
    (tmp_path / "data" / "dog").rename(tmp_path / "data" / "Dog")  # comes first, and no order stands for the names
    assert run("evaluate", packed, tmp_path / "data").stdout.split()[1] == "50.00%"
    (tmp_path / "data" / "Dog").rename(tmp_path / "data" / "Aardvark")
    assert "no folder for dog; no class for Aardvark; allowed" in refused("evaluate", packed, tmp_path / "data")
    assert "in order of the folders" in run("evaluate", tmp_path / "none.wfn", tmp_path / "data").stderr


def test_evaluate_takes_two_spellings_of_a_letter_for_one(weights, tmp_path):
    """Else folders of a Mac would be taken in their order, which is another one."""
    names = {"cafz": 0, "caf\u00e9": 3, "dog": 1, " eel": 1}  # of pictures
    for name, count in names.items():
        folder = tmp_path / "data" / unicodedata.normalize("NFD", name)
        folder.mkdir(parents=True)
        for number in range(count):
            Image.effect_noise((90, 70), 90).save(folder / f"{number}.png")
    (tmp_path / "data" / "@eaDir").mkdir()
    (tmp_path / "data" / "cafz" / "thumbs.db").write_bytes(b"left behind")
    Image.effect_noise((90, 70), 90).save(tmp_path / "data" / "cafz" / "without an ending", "PNG")
    (tmp_path / "names.txt").write_text("cafz\ndog\neel\ncaf\u00e9\n")
    run("pack", weights, tmp_path / "cafe.wfn", "--network", "test_resnet", "--classes", tmp_path / "names.txt")
    done = run("evaluate", tmp_path / "cafe.wfn", tmp_path / "data")
    assert "4 classes, by their names" in done.stderr
    assert done.stdout.split()[1] == "50.00%"  # of six pictures, three of the last class


@pytest.fixture
def exporting(monkeypatch):
    """In place of wfn.export: what it was asked for."""
    asked = []
    module = types.ModuleType("wfn.export")

    def write(kind):
        def export(model, path, example, **options):
            asked.append((kind, path.name, tuple(example.shape), options))
            if path.stem == "refused":
                raise ValueError("logits: 0.1 from the network's")
            return types.SimpleNamespace(bytes=500, float_bytes=2000, difference=1e-6, agreement=1.0)

        return export

    module.to_onnx, module.to_exported_program, module.to_coreml = map(write, ("onnx", "program", "coreml"))
    monkeypatch.setitem(sys.modules, "wfn.export", module)
    monkeypatch.setattr(wfn, "export", module, raising=False)
    return asked


def test_export(packed, data, exporting, tmp_path):
    done = run("export", packed, tmp_path / "n.onnx", "--pictures", data)
    assert done.stdout.splitlines()[0] == f"{tmp_path}/n.onnx: 500 bytes, 4.00 x smaller than float32"
    assert done.stderr == ""
    plain = run("export", packed, tmp_path / "n.onnx", "--plain")
    assert plain.stderr == "checked on noise: --pictures FOLDER has it checked on pictures\n"
    run("export", packed, tmp_path / "n.pt2", "--pictures", data)
    run("export", packed, tmp_path / "n.mlpackage", "--pictures", data)
    assert exporting == [
        ("onnx", "n.onnx", (6, 3, 160, 160), {"codebook": True}),
        ("onnx", "n.onnx", (8, 3, 160, 160), {"codebook": False}),
        ("program", "n.pt2", (6, 3, 160, 160), {}),
        ("coreml", "n.mlpackage", (6, 3, 160, 160), {}),
    ]
    assert "--plain is for .onnx only" in refused("export", packed, tmp_path / "n.pt2", "--plain")
    assert "allowed: .onnx, .pt2, .mlpackage" in refused("export", packed, tmp_path / "n.tflite")
    failed = run("export", packed, tmp_path / "refused.onnx", "--pictures", data)
    assert (failed.exit_code, failed.stderr) == (2, "error: logits: 0.1 from the network's\n")


def test_what_pack_refuses(weights, tmp_path):
    out = tmp_path / "n.wfn"
    (tmp_path / "text.pt").write_text("ant\nbee\n")
    (tmp_path / "text.safetensors").write_text("ant\nbee\n")
    (tmp_path / "names.txt").write_text("ant\n")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"weight": torch.zeros(2), "epoch": 3}, tmp_path / "mixed.pt")
    torch.save({"weight": torch.nn.Linear(2, 2)}, tmp_path / "program.pt")
    torch.save({"weight": torch.zeros(2, dtype=torch.complex128)}, tmp_path / "type.pt")
    assert "a text; needed: a .safetensors file, or one that torch.save wrote" in refused(
        "pack", tmp_path / "text.pt", out
    )
    assert "a text; needed" in refused("pack", tmp_path / "text.safetensors", out)
    assert "weight (a torch.nn.modules.linear.Linear)" in refused("pack", tmp_path / "program.pt", out)
    assert "holds a list" in refused("pack", tmp_path / "list.pt", out)
    assert "no tensor: epoch (an int)" in refused("pack", tmp_path / "mixed.pt", out)
    assert "weight: the type" in refused("pack", tmp_path / "type.pt", out)
    assert "No such file" in refused("pack", tmp_path / "nothing.pt", out)
    assert "a text; needed" in refused("pack", tmp_path / "names.txt", out)
    assert "timm has no such model" in refused("pack", weights, out, "--network", "resnet1")
    assert "in the file" in refused("pack", weights, out, "--network", "resnet18")
    assert "1 names; the network has 4" in refused(
        "pack", weights, out, "--network", "test_resnet", "--classes", tmp_path / "names.txt"
    )
    assert "--network is needed" in refused("pack", weights, out, "--classes", tmp_path / "names.txt")
    assert "there is no folder" in refused("pack", weights, tmp_path / "no" / "n.wfn")
    assert not list(tmp_path.glob("*n.wfn*"))


def test_a_folder_is_no_file_to_write(weights, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    assert "kept: is a folder" in refused("pack", weights, tmp_path / "kept")
    with pytest.raises(IsADirectoryError, match="kept: is a folder"):
        wfn.pack({"w": torch.zeros(3)}, tmp_path / "kept")
    assert (tmp_path / "kept" / "notes.txt").read_text() == "mine"


def test_names_out_of_a_file_cannot_steer_the_terminal(tmp_path):
    path = tmp_path / "n.wfn"
    tied = torch.zeros(3)
    state = {"w\x1b]52;c;eA==\x07": tied, "tied": tied}
    content = with_header(state, lambda header, _: header.update(network={"timm": "\x1b]0;owned\x07\nfile  1 bytes"},
                                                                 metadata={"\x1b[2J": "a\nb\x1b[31m"}))  # fmt: skip
    path.write_bytes(content)
    shown = run("inspect", path).stdout
    assert "\x1b" not in shown
    assert "\nfile  1 bytes" not in shown
    assert "\x1b" not in run("inspect", path, "--json").stdout
    save_file({"\x1b[1m": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert "\x1b" not in run("verify", path, "--against", tmp_path / "other.safetensors").stdout
    assert "a?b?[31m" in shown


def test_tensors_only_predict_nothing(tmp_path):
    wfn.pack({"w": torch.zeros(3)}, tmp_path / "t.wfn")
    assert "holds tensors only" in refused("predict", tmp_path / "t.wfn", tmp_path)


def test_tied_tensors_as_safetensors(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    write_safetensors({"a": weight, "b": weight}, tmp_path / "tied.safetensors")
    found = read_tensors(tmp_path / "tied.safetensors").tensors
    assert torch.equal(found["a"], weight)
    assert torch.equal(found["b"], weight)
    (tmp_path / "other").touch()
    assert (tmp_path / "tied.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


# Pictures


def test_which_files_of_a_folder_are_pictures(data, tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a.webp", "notes.txt", ".hidden/1.png", ".x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_pictures([tmp_path, tmp_path / "notes.txt"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.webp", "b/1.jpg", "b/2.PNG", "notes.txt"]
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nothing"):
        with pytest.raises(PictureError, match=place.name):
            find_pictures([place])


# As a process


def process(*arguments, program=None):
    command = [sys.executable, *(("-c", program) if program else ("-m", "wfn.cli")), *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_exit_codes_of_the_process(packed, tmp_path):
    assert process("verify", packed).returncode == 0
    missing = process("verify", tmp_path / "nothing.wfn")
    assert (missing.returncode, missing.stderr) == (2, f"error: {tmp_path}/nothing.wfn: No such file or directory\n")
    assert process("--version").stdout == f"weight-fixing {wfn.__version__}\n"


WITHOUT = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
sys.argv = ["wfn", *sys.argv[1:]]
from wfn.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "command", "said"),
    [
        (["typer"], ["--help"], "pip install 'weight-fixing[cli]'"),
        (["timm"], ["predict", "FILE", "."], "pip install 'weight-fixing[timm]'"),
        (["huggingface_hub"], ["inspect", "hf-hub:a/b"], "pip install 'weight-fixing[hub]'"),
    ],
)  # fmt: skip
def test_a_missing_package_is_one_line(packed, missing, command, said):
    given = [str(packed) if each == "FILE" else each for each in command]
    done = process(*given, program=WITHOUT.format(missing=missing))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {missing[0]} is not installed: {said}\n"


@pytest.mark.slow
def test_importing_the_library_brings_none_of_them():
    names = {"typer", "rich", "timm", "torchvision", "PIL", "huggingface_hub"}
    assert process(program=f"import sys, wfn; print(*{names} & {{*sys.modules}})").stdout == "\n"
