"""Dependencies: every file that uv.lock names comes from a registry and has a checksum, and none is known to be faulty.

The advisories are asked for by pip-audit, which is no dependency of this project: uvx runs it where it can be fetched.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.finding import Bench, Finding

TITLE = "Dependencies"
ROOT = Path(__file__).parents[2]
CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
SECONDS = 300.0  # for pip-audit, its download included


def run(bench: Bench) -> Iterator[Finding]:
    """The lock's checksums, and what pip-audit says of the locked versions."""
    packages = locked(ROOT / "uv.lock")
    files = sum(len(artifacts(package)) for package in packages)
    note = f"{files:,} files of {len(packages)} packages"
    yield Finding("uv.lock: a registry and a SHA-256 for every file", files, unchecked(packages), note)
    yield advisories(bench.folder)


def locked(lock: Path) -> list[dict[str, object]]:
    """The packages of a lock of uv's, without the project itself."""
    found = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    return [package for package in found if package["source"] != {"virtual": "."}]


def artifacts(package: dict[str, object]) -> list[dict[str, object]]:
    """The files of a package that can be installed: wheels, and the source."""
    wheels, source = package.get("wheels", []), package.get("sdist")
    assert isinstance(wheels, list)
    return [*wheels, *([source] if isinstance(source, dict) else [])]


def unchecked(packages: list[dict[str, object]]) -> list[str]:
    """What comes from elsewhere than a registry by https, has no file, or a file without a checksum."""
    faults = []
    for package in packages:
        name, source, files = package["name"], package["source"], artifacts(package)
        registry = source.get("registry") if isinstance(source, dict) else None
        if not str(registry).startswith("https://"):
            faults.append(f"{name}: from {source}")
        if not files:
            faults.append(f"{name}: no file")
        faults += [f"{name}: {file.get('url')}" for file in files if not CHECKSUM.fullmatch(str(file.get("hash")))]
    return faults


def advisories(folder: Path) -> Finding:
    """What pip-audit says of the locked versions; where it could not ask, nothing was tried, and the note says so."""
    what = "pip-audit: no locked version with a known vulnerability"
    if shutil.which("uv") is None:
        return Finding(what, 0, note="not asked: there is no uv here")
    folder.mkdir(parents=True, exist_ok=True)
    names = folder / "requirements.txt"
    export = ["uv", "export", "--frozen", "--all-extras", "--no-emit-project", "--quiet", "--output-file", str(names)]
    audit = ["uvx", "pip-audit", "--requirement", str(names), "--disable-pip", "--require-hashes", "--format", "json"]
    try:
        subprocess.run(export, cwd=ROOT, check=True, capture_output=True, timeout=SECONDS)
        done = subprocess.run(audit, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
        dependencies = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        return Finding(
            what, 0, note=f"not asked: pip-audit, or its service, cannot be reached ({type(error).__name__})"
        )
    faults = [
        f"{each['name']} {each['version']}: {', '.join(known['id'] for known in each['vulns'])}"
        for each in dependencies
        if each.get("vulns")
    ]
    skipped = [each for each in dependencies if "skip_reason" in each]
    note = f"{len(skipped)} more could not be asked about" if skipped else ""
    return Finding(what, len(dependencies) - len(skipped), faults, note)
