"""`make home PICTURES=... MODEL=...`: the profile that it writes, and what is left where it refuses."""

import sys

import pytest

from pipeline.base.errors import InputError
from pipeline.base.settings import load_settings
from stages.own import own


@pytest.fixture
def pictures(files):
    """A folder with two classes, in a folder with the settings of a clone."""
    for name in ("cat", "dog"):
        (files / "pictures" / name).mkdir(parents=True)
    return files / "pictures"


def test_a_profile_of_ones_own_is_written_and_chosen(files, pictures):
    own(pictures, "resnet10t")
    settings = load_settings()
    assert (settings.profile, settings.data.root, settings.model.name) == ("own", pictures, "resnet10t")
    own(pictures, None)
    assert load_settings().model.name == "resnet10t"  # what was said of them before stays


@pytest.mark.parametrize(
    ("name", "model", "line"),
    [
        ("~nobody-here/x", None, "PICTURES = ~nobody-here/x: no such folder"),
        ("pictures", "resnet 18", 'model.name = "resnet 18": letters, digits'),
        ("caf\udce9", None, r"PICTURES = 'caf\udce9': allowed: a folder whose name can be written"),
    ],
)
def test_what_is_refused_changes_nothing(files, pictures, name, model, line):
    if name == "caf\udce9":
        if sys.platform == "darwin":
            pytest.skip("a Mac's folders have names that are text")
        (files / "caf\udce9").mkdir()
    before = {path: path.read_bytes() for path in files.rglob("*.yaml")}
    with pytest.raises(InputError) as error:
        own(type(pictures)(name), model)
    assert line in str(error.value)
    assert {path: path.read_bytes() for path in files.rglob("*.yaml")} == before


def test_folders_are_called_as_people_call_them(files):
    """Full-width and other spaces, and what joins emoji: letters that Python does not print as they are."""
    folder = files / "\u5199\u771f\u30002020 a\u00a0b\u202fc \U0001f469\u200d\U0001f52c"
    folder.mkdir()
    own(folder, None)
    assert load_settings().data.root == folder


def test_a_profile_that_is_no_utf8_is_named(files, pictures):
    (files / "profiles/own.yaml").write_text("data:\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"profiles/own\.yaml: is not UTF-8 text"):
        own(pictures, None)
