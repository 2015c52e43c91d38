"""The structure that dvc.yaml and the readers rely on: which room imports which, and what a stage depends on."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from clones import ROOT

PACKAGES = ("wfn", "pipeline", "stages")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
}
# A room imports itself and those before it. What only looks on is imported by those that do the work.
ROOMS = (
    *("wfn.compiling", "wfn.method", "wfn.stem", "wfn.picture", "wfn.plain_json", "wfn.packed", "wfn"),
    *("wfn.files", "wfn.export", "wfn.hub", "wfn.cli"),
    *("pipeline.base", "pipeline.watching", "pipeline.data", "pipeline.network", "pipeline.training"),
    *("pipeline.measuring", "pipeline.fixing", "pipeline.comparing", "pipeline.methods"),
    *("pipeline.packing", "pipeline.report", "pipeline.ahead", "pipeline.paper", "pipeline.spreading"),
    *("stages.common", "stages"),
)
LOOKING_ON = "pipeline.watching"
METHOD = "pipeline/methods/${item.method}.py"


@cache
def imports(module: str) -> frozenset[str]:
    """Every name that a module imports, also inside functions, with our packages resolved to modules."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else defined_in(node.module, alias.name))
    return frozenset(found)


@cache
def defined_in(module: str, name: str) -> str:
    """The module of `wfn` that a public name comes from; of any other, the module itself."""
    if module == "wfn":
        for node in ast.parse(MODULES[module].read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
                return node.module
    return module


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name in MODULES}


@cache
def reached(module: str) -> frozenset[str]:
    """The module and everything of ours that it imports, directly or not."""
    found, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += ours(name)
    return frozenset(found)


def room(module: str) -> str:
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len, default="")


def outside(module: str) -> set[str]:
    return {name.partition(".")[0] for each in reached(module) for name in imports(each)} - set(PACKAGES)


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"pipeline"}))
def test_imports_run_one_way(module):
    """From room to room, and without a circle inside of one."""
    for other in ours(module):
        assert ROOMS.index(room(other)) <= ROOMS.index(room(module)), other
        assert module not in reached(other), f"{module} <-> {other}"


def test_the_library_imports_nothing_of_the_pipeline():
    """What only some of it needs is named here; that `import wfn` does without is tested with the wheel."""
    everywhere = {"torch", "numpy", "numba", "llvmlite"}  # llvmlite is a part of numba
    extras = {
        "wfn.packed.network": {"timm", "torchvision"},
        "wfn.picture": {"PIL"},
        "wfn.packed.download": {"huggingface_hub"},
        "wfn.files": {"PIL", "safetensors"},
        "wfn.export": {"onnx", "onnxruntime", "coremltools"},
        "wfn.hub": {"huggingface_hub", "timm"},
        "wfn.cli": {"typer", "rich", "PIL", "safetensors", "timm"},
    }
    for module in (name for name in MODULES if name.partition(".")[0] == "wfn"):
        assert all(other.partition(".")[0] == "wfn" for other in ours(module))
        found = {name.partition(".")[0] for name in imports(module)} - {"wfn", "__future__"}
        own = set().union(*(names for part, names in extras.items() if f"{module}.".startswith(f"{part}.")))
        assert found - set(sys.stdlib_module_names) <= everywhere | own, module


def test_only_what_looks_on_imports_mlflow():
    assert {room(each) for each in MODULES if any(name.startswith("mlflow") for name in imports(each))} == {LOOKING_ON}


def test_only_command_lines_import_typer():
    assert {room(module) for module in MODULES if "typer" in imports(module)} <= {"stages.common", "stages", "wfn.cli"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("pipeline.report.")] + ["stages.track"])
def test_reports_come_without_torch(module):
    assert not outside(module) & {"torch", "timm", "lightning_fabric", "torchvision"}


@pytest.mark.parametrize("package", ["pipeline", "stages"])
def test_functions_take_five_arguments_at_most(package):
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                names = [each.arg for each in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
                assert len(set(names) - {"self", "cls"}) <= 5, f"{path}: {names}"


def stage_definitions():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return [pytest.param(stage.get("do", stage), id=name) for name, stage in stages.items()]


def covers(dependencies: list[str], path: Path) -> bool:
    """A stage's own method stands for any: every one of them must be covered by the same list."""
    written = [ROOT / each for each in dependencies]
    is_method = path.parent == (ROOT / METHOD).parent
    return any(path == each or each in path.parents for each in written) or (is_method and METHOD in dependencies)


def code_of(stage) -> list[Path]:
    """The files that decide what a stage writes: all that it imports, but for what looks on and for mere packages."""
    modules = set(reached(stage["cmd"].split()[2]))
    if METHOD in stage["deps"]:
        modules |= {each for name in MODULES if room(name) == "pipeline.methods" for each in reached(name)}
    paths = [MODULES[each] for each in sorted(modules) if room(each) != LOOKING_ON]
    return [path for path in paths if path.name != "__init__.py"]


@pytest.mark.parametrize("stage", stage_definitions())
def test_a_stage_depends_on_all_the_code_that_decides_its_result(stage):
    """Otherwise an edit leaves stale results. `track` runs always: what looks on is all that it has."""
    listed = [each for each in stage["deps"] if each.startswith(("wfn", "pipeline/", "stages/"))]
    if stage.get("always_changed"):
        assert "pipeline/watching" in listed
        return
    code = code_of(stage)
    assert [str(path.relative_to(ROOT)) for path in code if not covers(listed, path)] == []
    assert [each for each in listed if not any(covers([each], path) for path in code)] == []
    assert "pipeline/watching" not in listed


@pytest.mark.parametrize("stage", stage_definitions())
def test_every_dependency_exists_or_is_made(stage):
    for each in stage["deps"]:
        assert each == METHOD or each.startswith(("runs/", "reports/", "packed/")) or (ROOT / each).exists(), each


@pytest.mark.parametrize("stage", stage_definitions())
def test_no_setting_gets_into_a_command_line(stage):
    """A shell would run what a person wrote there."""
    assert "$" not in stage["cmd"]


def test_the_graph_is_short():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 180
