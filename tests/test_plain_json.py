"""JSON of others: as `json.loads` reads it, but that nothing in it makes Python call itself without end."""

import json
import subprocess
import sys
import time

import pytest
from clones import ROOT, clean_environment
from hypothesis import given
from hypothesis import strategies as st

from wfn.plain_json import DEEPEST, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.text('[]{}"\\,:'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.text('[]{}"\\'), inner),
)
CRASHING = """
import sys
sys.setrecursionlimit(10**8)
from wfn.plain_json import parse_json
try:
    parse_json({text})
except ValueError as error:
    print(error)
"""


@given(VALUES, st.booleans())
def test_what_it_reads(value, ascii_only):
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only)) == value


@given(st.text('[]{}"\\,:1a '))
def test_what_is_no_json(text):
    try:
        wanted = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match="."):
            parse_json(text)
    else:
        assert parse_json(text) == wanted


@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}"), ('[{"]}":', "}]")])
def test_how_deep_it_may_be(opens, closes):
    levels = DEEPEST // sum(bracket in "]}" for bracket in closes)
    parse_json(opens * levels + "1" + closes * levels)
    with pytest.raises(ValueError, match="more than 100 deep"):
        parse_json(opens * (levels + 1) + "1" + closes * (levels + 1))


def test_brackets_beside_each_other_and_in_texts_are_not_deep():
    value = [[[], {}] * 1000, "[" * 1000, '\\"[[' * 1000, {"{" * 1000: '"'}]
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["'[' * 500_000", "'{\"a\":' * 500_000"])
def test_a_process_whose_recursion_has_no_limit_goes_on(text):
    """As one has that has compiled a network; `json.loads` ends it without a word."""
    command = [sys.executable, "-c", CRASHING.format(text=text)]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "objects and lists lie more than 100 deep inside of each other\n"


@pytest.mark.parametrize("text", ['"' * 4_000_000, '"\\' * 2_000_000, '\\"' * 2_000_000, '"a' * 2_000_000])
def test_texts_without_an_end_take_no_long_time(text):
    start = time.monotonic()
    with pytest.raises(ValueError, match="."):
        parse_json(text)
    assert time.monotonic() - start < 5
