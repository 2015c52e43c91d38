"""A clone whose stages are one short program: what they read, print and write when spread can be followed to the line.

For the tests of `python -m stages.spread` and for its benchmark.
"""

import subprocess
from collections import Counter
from pathlib import Path

import yaml
from clones import make_clone

STEP = '''"""Stands for every stage: says that it works, takes its time, writes what it has read and its own name."""

import os, signal, sys, time
from pathlib import Path

out, seconds, *reads = sys.argv[1:]
stage, log = os.environ["DVC_STAGE"], Path({log!r})
hold = log.with_suffix(".hold")
kept = Path(os.environ["DVC_ROOT"], ".ckpt", stage)
kept.parent.mkdir(exist_ok=True)


def note(word):
    with log.open("a") as file:
        file.write(f"{{stage}} {{word}}\\n")


def stop(*_):
    time.sleep({stopping})
    note("stopped")
    sys.exit(143)


signal.signal(signal.SIGTERM, stop)
done = float(kept.read_text()) if kept.exists() else 0.0
note(f"goes on" if done else "begins")
while done < float(seconds):
    time.sleep(0.1)
    if not done or stage == "data" or not hold.exists():  # a test holds it where it has a checkpoint
        done += 0.1
        written = kept.with_suffix(".new")
        written.write_text(str(done))
        written.replace(kept)  # whole, whenever it is killed
        print(f"{{stage}}: {{done:.1f}} of {{seconds}} s, top-1 90.00", flush=True)
texts = [Path(path, "text").read_text() for path in reads]
Path(out).mkdir(parents=True, exist_ok=True)
Path(out, "text").write_text(f"{{stage}}({{', '.join(texts)}})")
kept.unlink(missing_ok=True)
note("ends")
'''
RUNS = "runs/mnist5k"
# The stages by their names in the pipeline, with what they read.
READS = {
    "data": [],
    "pretrain": ["data"],
    "fix": ["pretrain"],
    "variants@no-pull": ["pretrain"],
    "explore": ["data"],
    "report": ["fix", "variants/no-pull", "explore"],
}


def make_small_clone(folder: Path, seconds: float = 0.5, stopping: float = 0.0) -> Path:
    """The clone, committed; returns the log in which the stages say when they begin and end.

    seconds: of a stage; stopping: those that it takes to stop when it is told to.
    """
    make_clone(folder)
    log = folder.with_name(f"{folder.name}.log")
    (folder / "step.py").write_text(STEP.format(log=str(log), stopping=stopping))
    stages = {}
    for stage, reads in READS.items():
        out = f"{RUNS}/{stage.replace('@', '/')}"
        inputs = [f"{RUNS}/{each}" for each in reads]
        command = " ".join(["python step.py", out, str(seconds), *inputs])
        stages[stage.partition("@")[0]] = {"cmd": command, "deps": ["step.py", *inputs], "outs": [out]}
    stages["variants"] = {"foreach": {"no-pull": {}}, "do": stages["variants"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    (folder / "dvc.lock").unlink()
    commit(folder, "small stages")
    return log


def make_held_clone(folder: Path, stopping: float = 0.0) -> tuple[Path, Path]:
    """The same, with stages of five seconds of which all but `data` stay at their first checkpoint.

    Returns the log, and the file that holds them as long as it is there.
    """
    log = make_small_clone(folder, 5, stopping)
    hold = log.with_suffix(".hold")
    hold.touch()
    return log, hold


def commit(clone: Path, message: str) -> None:
    subprocess.run(["git", "add", "--all"], cwd=clone, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", message], cwd=clone, check=True)


def noted(log: Path, word: str) -> Counter[str]:
    """How often each stage has said so."""
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(line.split()[0] for line in lines if line.split(maxsplit=1)[1] == word)


def whole(clone: Path) -> str:
    """What the last stage has written, which holds what every other one has."""
    return (clone / RUNS / "report" / "text").read_text()


WHOLE = "report(fix(pretrain(data())), variants@no-pull(pretrain(data())), explore(data()))"
EACH_ONCE = Counter(dict.fromkeys(READS, 1))
