"""The structure that dvc.yaml and the readers rely on: who imports whom, and what a stage depends on."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

OURS = ("pipeline", "stages")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in OURS
    for path in (ROOT / package).rglob("*.py")
}
# One module a method; a new one has its place by being there.
METHODS = {name for name in MODULES if name.startswith("pipeline.quantisers.")}
# Nothing of a later line may be imported by an earlier one.
ORDER = [
    {"pipeline.config", "pipeline.metrics", "pipeline.results", "pipeline.progress"},
    {"pipeline.wfn.centres", "pipeline.wfn.threads"},
    {"pipeline.sources", "pipeline.hub", "pipeline.tracking", "pipeline.wfn.line", "pipeline.wfn.piecewise"},
    {"pipeline.images", "pipeline.models"},
    {
        "pipeline.layout",
        "pipeline.data",
        "pipeline.wfn.prefix",
        "pipeline.wfn.summary",
        "pipeline.wfn.free",
        "pipeline.coding",
    },
    {
        "pipeline.checkpoint",
        "pipeline.device",
        "pipeline.streaming",
        "pipeline.averaging",
        "pipeline.wfn.clustering",
        "pipeline.wfn.regulariser",
    },
    {"pipeline.quantised", "pipeline.training"},
    {"pipeline.evaluation", "pipeline.quantisers", "pipeline.wfn.towards"},
    {"pipeline.wfn.fixing", "pipeline.quantising"},
    {"pipeline.fake_quantisation", "pipeline.palette"},
    METHODS,
    {"pipeline.report.formats", "pipeline.report.style", "pipeline.report.weights"},
    {"pipeline.report.tables", "pipeline.report.figures", "pipeline.report.rounds", "pipeline.report.page"},
    {"pipeline.report.document"},
    {"stages.cli", "stages.runs", "stages.work"},
    {
        "stages.check",
        "stages.data",
        "stages.pretrain",
        "stages.fix",
        "stages.quantise",
        "stages.report",
        "stages.track",
    },
]
FOUNDATIONS = {"pipeline.config", "pipeline.metrics", "pipeline.results", "pipeline.wfn.centres", "pipeline.coding"}


@cache
def imports(module: str) -> frozenset[str]:
    """Every name that a module imports, also inside functions, with our packages resolved to modules."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES.keys()) or {node.module}
    return frozenset(found)


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


def outside(module: str) -> set[str]:
    return {name.partition(".")[0] for each in reached(module) for name in imports(each)} - set(OURS)


def test_every_module_has_its_place():
    listed = [name for line in ORDER for name in line]
    packages = {"pipeline", "pipeline.wfn", "pipeline.report", "stages"}
    assert sorted(listed) == sorted(MODULES.keys() - packages)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_one_way(module):
    place = {name: number for number, line in enumerate(ORDER) for name in line}
    for other in ours(module):
        assert place[other] < place[module], f"{module} imports {other}"


@pytest.mark.parametrize("module", sorted(FOUNDATIONS))
def test_foundations_import_nothing_of_ours(module):
    assert ours(module) == set()


def test_only_tracking_imports_mlflow():
    assert {module for module in MODULES if any(name.startswith("mlflow") for name in imports(module))} == {
        "pipeline.tracking"
    }


def test_only_stages_import_typer():
    assert {module.partition(".")[0] for module in MODULES if "typer" in imports(module)} == {"stages"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("pipeline.report.")] + ["stages.track"])
def test_reports_come_without_torch(module):
    assert not outside(module) & {"torch", "timm", "lightning_fabric", "torchvision"}


def stage_definitions():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return [pytest.param(stage.get("do", stage), id=name) for name, stage in stages.items()]


METHOD = "pipeline/quantisers/${item.method}.py"


def covers(dependencies: list[str], path: Path) -> bool:
    """A stage's own method stands for any: every one of them must be covered by the same list."""
    written = [ROOT / each for each in dependencies]
    is_method = path.parent == (ROOT / METHOD).parent and path.name != "__init__.py"
    return any(path == each or each in path.parents for each in written) or (is_method and METHOD in dependencies)


@pytest.mark.parametrize("stage", stage_definitions())
def test_a_stage_depends_on_all_the_code_that_it_runs(stage):
    """Otherwise an edit leaves stale results. `track` runs always and needs no list."""
    module = stage["cmd"].split()[2]
    if stage.get("always_changed"):
        return
    modules = set(reached(module))
    if METHOD in stage["deps"]:
        modules |= {each for method in METHODS for each in reached(method)}
    code = [MODULES[each] for each in sorted(modules)]
    missing = [str(path.relative_to(ROOT)) for path in code if not covers(stage["deps"], path)]
    assert missing == []
    listed = [each for each in stage["deps"] if each.startswith(("pipeline/", "stages/"))]
    superfluous = [each for each in listed if not any(covers([each], path) for path in code)]
    assert superfluous == []


@pytest.mark.parametrize("stage", stage_definitions())
def test_every_dependency_exists_or_is_made(stage):
    for each in stage["deps"]:
        assert each == METHOD or each.startswith(("runs/", "reports/")) or (ROOT / each).exists(), each
