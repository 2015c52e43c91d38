"""The README and its commands, for the tests that run them."""

import re

from clones import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
]
# What test_take_home.py runs: the command is installed with the package, not in the environment of a clone.
HOME = [command for command in COMMANDS if command.startswith("wfn ")]
PAPER = "make paper IMAGENET=/data/imagenet"  # test_paper.py
# What every clone in the tests begins with, what runs the tests, and what test_mlflow_page.py starts.
ELSEWHERE = {"make repro", "make home", ". .venv/bin/activate", "make test", "make ui", PAPER, *HOME}


def block(name: str, page: str = README) -> str:
    """The Python block of a page that follows a comment of this name."""
    return re.search(rf"<!-- {name}: run by [\w/.]+ -->\n```python\n(.*?)```", page, re.DOTALL)[1]


_PLAIN = [command for command in COMMANDS if command not in ELSEWHERE]
# A person's own pictures; other settings of the default profile.
PICTURES = [command for command in _PLAIN if "PICTURES" in command or "--show" in command]
SETTINGS = [command for command in _PLAIN if command not in PICTURES]
