"""What people write into params.yaml and profiles: taken as every reader takes it, or named in one line."""

import json
import math
import os
import shutil

import hypothesis
import hypothesis.strategies as some
import pytest
from catalogue import note
from clones import ROOT, edited
from dvc.utils.serialize import YAMLFileCorruptedError
from dvc.utils.serialize import parse_yaml as as_dvc_reads

from pipeline.base.errors import InputError
from pipeline.base.settings import load_settings, parse_yaml
from pipeline.base.settings.allowed import MOST, OtherSeed, Repeat, Seed
from stages.common.cli import changes
from stages.fix import READS as READ_BY_FIX
from stages.pretrain import READS as READ_BY_PRETRAIN

PARAMS, PROFILE = "params.yaml", "profiles/mnist5k.yaml"
SECTION = "Settings"
REFUSED = "refused, in one line"


def refused(case):
    """The one line that loading the settings of the current folder ends in, and a row for it."""
    with pytest.raises(InputError) as error:
        load_settings()
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 1000
    note(SECTION, case, REFUSED, line)
    return line


# Case, file, text, text in its place, what the line says.
WRITTEN = [
    ("a number in quotes", PARAMS, "delta: 0.01\n", 'delta: "0.01"\n', 'delta = "0.01": input should be a valid numbe'),
    ("a command as a number", PARAMS, "delta: 0.01\n", 'delta: "0.01; touch x"\n', 'delta = "0.01; touch x": input'),
    ("true where a number is needed", PARAMS, "delta: 0.01\n", "delta: true\n", "delta = true: input should be a vali"),
    ("1.0 where a count is needed", PROFILE, "epochs: 12", "epochs: 12.0", "pretrain.epochs = 12.0: input should be a"),
    ("true where a count is needed", PROFILE, "epochs: 12", "epochs: true", "pretrain.epochs = true: input should be "),
    ("true where 1 or 3 is needed", PROFILE, "channels: 1", "channels: true", "data.channels = true: an integer is ne"),
    ("1 where true or false is needed", PROFILE, "flip: false", "flip: 1", "data.flip = 1: input should be a valid bo"),
    ("yes, which is a text", PROFILE, "flip: false", "flip: yes", 'data.flip = "yes": input should be a valid boolean'),
    ("off", PARAMS, "compile: false", "compile: off", 'hardware.compile = "off": input should'),
    ("010, which is 8 or 10", PARAMS, "seed: 0\n", "seed: 010\n", "line 6: 010 is one thing to some programs and anot"),
    ("1_000", PARAMS, "seed: 0\n", "seed: 1_000\n", "line 6: 1_000 is one thing to some programs and another"),
    ("0x1F", PARAMS, "seed: 0\n", "seed: 0x1F\n", "line 6: 0x1F is one thing to some programs and another"),
    ("1:30, which is 90 to some", PARAMS, "seed: 0\n", "seed: 1:30\n", "line 6: 1:30 is one thing to some programs an"),
    ("a date", PROFILE, "root: null", "root: 2024-01-31", "2024-01-31 is one thing to some programs and another to ot"),
    ("not a number", PARAMS, "alpha: 0.4\n", "alpha: .nan\n", "alpha = NaN: input should be a finite number"),
    ("infinity", PARAMS, "alpha: 0.4\n", "alpha: .inf\n", "alpha = Infinity: input should be a finite number"),
    ("1e400, which is infinite", PARAMS, "delta: 0.01\n", "delta: 1e400\n", "delta = Infinity: input should be a fini"),
    ("minus zero", PARAMS, "alpha: 0.4\n", "alpha: -0.0\n", "alpha = -0.0: write 0.0"),
    ("nothing behind the colon", PARAMS, "delta: 0.01\n", "delta:\n", "delta = null: input should be a valid number"),
    ("a list for a number", PARAMS, "delta: 0.01\n", "delta: [0.01]\n", "delta = [0.01]: input should be a valid numb"),
    ("a number for a list", PARAMS, "repeats:\n  - 1\n  - 2", "repeats: 1", "repeats = 1: input should be a valid lis"),
    ("a number for a section", PROFILE, "options: {}", "options: 3", "model.options = 3: input should be a valid dict"),
    ("a misspelt key", PARAMS, "delta: 0.01\n", "delat: 0.01\n", "delat is not a setting, perhaps delta is meant; all"),
    ("a misspelt key of a section", PARAMS, "clustering: r", "clusterin: r", "fixing.clusterin is not a setting, perh"),
    ("an unknown key of model.stem", PROFILE, "stem: null", "stem: {kernel: 3, stride: 1, pool: no_, x: 1}",
     'model.stem.x is not a setting; allowed here: kernel, stride, pool'),
    ("a section of a profile in params.yaml", PARAMS, "seed: 0\n", "seed: 0\ndata: {}\n", "data: belongs into a profi"),
    ("a key twice, where readers take the last", PARAMS, "seed: 0\n", "seed: 0\ndelta: 0.5\n",
     'line 10: "delta" is given a second time, first in line 7'),
    ("a variant's key twice", PARAMS, "no-pull: {delta: 0.01,", "no-pull: {delta: 0.01, delta: 0.02,",
     '"delta" is given a second time, first in line 92'),
    ("a key called size, which DVC forgets", PROFILE, "options: {}", "options: {size: 8}", "no key can be called size"),
    ("a variant called nfiles", PARAMS, "  no-pull: {", "  nfiles: {delta: 0.5, alpha: 0.0, repeat: 0}\n  no-pull: {",
     "no key can be called nfiles, because DVC does not see its changes"),
    ("a number as a name", PARAMS, "  no-pull: {", "  3: {", "line 92: a key must be a name; one that looks like a nu"),
    ("a name with a command", PARAMS, "  no-pull: {", "  $(touch x): {", 'variants."$(touch x)": a name has letters, '),
    ("a name with a space and a semicolon", PARAMS, "  apot-3: {", "  'a; b': {", 'baselines.quantisers."a; b": a nam'),
    ("a name that leaves its folder", PARAMS, "  no-pull: {", "  ../x: {", 'variants."../x": a name has letters, digi'),
    ("a name with quotes", PARAMS, "  no-pull: {", "  'a\"b': {", 'variants."a\\"b": a name has letters, digits'),
    ("a name with an umlaut", PARAMS, "  no-pull: {", "  größe: {", "variants.größe: a name has letters, digits, - an"),
    ("an empty name", PARAMS, "  no-pull: {", "  '': {", 'variants."": a name has letters, digits, - and _ only'),
    ("a name of 300 letters", PARAMS, "  no-pull: {", f"  {'n' * 300}: {{", "at most 100 of them"),
    ("a name that is an option", PARAMS, "  apot-3: {", "  --help: {", "baselines.quantisers.--help: a name has lette"),
    ("a name that Windows keeps for itself", PARAMS, "  no-pull: {", "  aux: {", "variants.aux: cannot be a folder on"),
    ("names that differ in capitals only", PARAMS, "  no-pull-again: {", "  No-Pull: {",
     "variants: no-pull and No-Pull differ in capitals only, and may be one folder; allowed: other names"),
    ("a data set called ..", PROFILE, "name: mnist5k", "name: ..", 'data.name = "..": letters, digits, -, _ and . onl'),
    ("a network called with a command", PROFILE, "name: resnet18", 'name: "resnet18; ls"', 'model.name = "resnet18; l'),
    ("an empty path", PROFILE, "root: null", 'root: ""', 'data.root = "": a text of 1 to 4096 characters is needed'),
    ("a path with a NUL", PROFILE, "root: null", 'root: "a\\0b"', 'data.root = "a\\u0000b": control characters are no'),
    ("a path of 10,000 letters", PROFILE, "root: null", f"root: {'p' * 10_000}", "a text of 1 to 4096 characters is n"),
    ("a hub's data set with a command", PROFILE, "hub: null", 'hub: "a/b;ls"', 'data.hub = "a/b;ls": string should ma'),
    ("an option that is a setting", PROFILE, "options: {}", "options: {in_chans: 3}", "model.options: in_chans is no "),
    ("an option that is not a number", PROFILE, "options: {}", "options: {a: [.nan]}", "model.options: holds nan; onl"),
    ("an alias that holds itself", PROFILE, "options: {}", "options: &a {x: *a}", "more than 20 deep inside of each o"),
    ("lists 5,000 deep", PROFILE, "options: {}", f"options: {'[' * 5000}", "values lie more than 20 deep inside of ea"),
    ("a tag that makes an object", PARAMS, "seed: 0\n", "seed: !!python/name:os.system\n", "the tag !!python/name:os."),
    ("a tag that does not fit", PARAMS, "seed: 0\n", "seed: !!int x\n", "line 6: the tag !!int is not allowed here"),
    ("an undefined alias", PARAMS, "seed: 0\n", "seed: *x\n", "params.yaml: not valid YAML: line 6: found undefined a"),
    ("a tab", PARAMS, "  - 1\n", "\t- 1\n", "not valid YAML: line "),
    ("two documents", PARAMS, "seed: 0\n", "seed: 0\n---\n", "not valid YAML: line 7: but found another document"),
    ("a number of 5,000 digits", PARAMS, "seed: 0\n", f"seed: {'9' * 5000}\n", "line 6: a number of 5000 digits; allo"),
    ("seed 2**31 (k-means has no larger ones)", PARAMS, "seed: 0\n", f"seed: {2**31}\n", "seed = 2147483648: input sh"),
    ("seed 2**64", PARAMS, "seed: 0\n", f"seed: {2**64}\n", "seed = 18446744073709551616: input should be less than 2"),
    ("a repeat of 2**40", PARAMS, "repeats:\n  - 1", f"repeats:\n  - {2**40}", "repeats.0 = 1099511627776: input shou"),
    ("pictures of 1e9 pixels", PROFILE, "pixels: 28", "pixels: 1000000000", "data.pixels = 1000000000: input should b"),
    ("two million classes", PROFILE, "num_classes: 10", "num_classes: 2000000", "model.num_classes = 2000000: input s"),
    ("a million epochs", PROFILE, "epochs: 12", "epochs: 1000000", "pretrain.epochs = 1000000: input should be less t"),
    ("5,000 worker processes", PARAMS, "workers: 4", "workers: 5000", "hardware.workers = 5000: input should be less "),
    ("2,000 devices", PARAMS, "devices: 1", "devices: 2000", "hardware.devices = 2000: input should be less than or e"),
    ("a width of 64 bits", PARAMS, "bits: 3, ", "bits: 64, ", "apot-3.bits = 64: input should be less than or equal t"),
    ("a repeat twice", PARAMS, "repeats:\n  - 1\n  - 2", "repeats: [1, 2, 1]", "repeats = [1, 2, 1]: 1 is given twice"),
    ("a delta twice in the grid", PARAMS, "    - 0.0075\n  alpha", "    - 0.0150\n  alpha", "0.015 is given twice; al"),
    ("a repeat of the grid without a baseline", PARAMS, "  repeats:\n    - 0\n    - 1\n    - 2", "  repeats: [7]",
     "grid.repeats: there is no baseline for repeat 7; allowed: 0, 1, 2 (0 and those of `repeats`)"),
    ("a quantiser without a repeat", PARAMS, "bits: 3, repeat: 0}", "bits: 3}", "apot-3.repeat is missing"),
    ("a repeat twice in the grid", PARAMS, "  repeats:\n    - 0\n    - 1\n    - 2", "  repeats: [0, 0]",
     "grid.repeats = [0, 0]: 0 is given twice; allowed: once"),
    ("an alpha twice in explore", PARAMS, "    - 0.1\n", "    - 0.4\n", "explore.alpha = [0.0, 0.4, 0.4, 1.0]: 0.4 is"),
    ("two deltas of explore with the same folder", PARAMS, "    - 0.03\n", "    - 0.01500000001\n", "0.015 is given t"),
    ("a learning rate twice", PARAMS, "    - 0.001\n", "    - 0.005\n", "rates.grid = [0.0002, 0.0005, 0.005, 0.005, "),
    ("one quantiser under two names", PARAMS, "bits: 3, repeat: 1}", "bits: 3, repeat: 0}",
     "baselines.quantisers: apot-3 and apot-3-again are the same; allowed: each setting once"),
    ("one variant under two names", PARAMS, "alpha: 0.0, repeat: 1}", "alpha: 0.0, repeat: 2}",
     "variants: no-pull-again and no-pull-once-more are the same; allowed: each setting once"),
    ("a variant that pulls and never trains", PARAMS, "alpha: 0.0, fractions: [1.0],", "alpha: 0.4, fractions: [1.0],",
     "variants.one-shot.alpha = 0.4: nothing is trained in a single round; allowed: 0.0"),
    ("a variant without delta", PARAMS, "one-shot: {delta: 0.01, ", "one-shot: {", "variants.one-shot.delta is missin"),
    ("an ablation that changes nothing", PARAMS, "{distance: euclidean}", "{distance: relative}",
     "explore.ablations.euclidean changes nothing: `fixing` is so already; allowed: other values, or no such line"),
    ("an empty ablation", PARAMS, "{distance: euclidean}", "{}", "explore.ablations.euclidean changes nothing"),
    ("an ablation of an unknown setting", PARAMS, "{distance: euclidean}", "{distanse: x}",
     "explore.ablations.euclidean.distanse is not a setting, perhaps distance is meant"),
    ("more rounds than delta allows", PARAMS, "delta: 0.01\n", "delta: 0.2\n", "delta = 0.2: with 10 rounds the first"),
    ("a shift where pictures stay files", PROFILE, "storage: memory", "storage: files",
     "data.statistics = images: is for storage: memory; allowed with storage: files: model; data.shift = 2: is for"),
    ("a shift as large as the picture", PROFILE, "shift: 2", "shift: 28", "data.shift = 28: shifts pictures out of si"),
    ("five faults at once", PARAMS, "seed: 0\n\n", "seed: -1\nx: 1\ny_: 1\nz: 1\nu: 1\nv: 1\nw: 1\n", "; and 2 more"),
    ("an unknown profile", PARAMS, "profile: mnist5k", "profile: mnist", "unknown; allowed: cifar10, c"),
    ("a profile outside of profiles/", PARAMS, "profile: mnist5k", "profile: ../../x", "profile = '../../x' is unknow"),
    ("a list of profiles", PARAMS, "profile: mnist5k", "profile: [mnist5k]", "profile = \"['mnist5k']\" is unknown; a"),
    ("no profile", PARAMS, "profile: mnist5k\n", "", "params.yaml: profile is missing; allowed: cifar10, c"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "file", "old", "new", "message"), WRITTEN, ids=[case for case, *_ in WRITTEN])
def test_what_is_not_allowed_is_named(files, case, file, old, new, message):
    edited(files / file, old, new)
    assert message in refused(case)


def test_a_profile_whose_name_a_shell_would_split(files):
    (files / PROFILE).rename(files / "profiles" / "my profile; ls.yaml")
    edited(files / PARAMS, "profile: mnist5k", "profile: my profile; ls")
    assert 'profile = "my profile; ls": a name has letters' in refused("a profile called `my profile; ls`")


@pytest.mark.parametrize(
    ("case", "content", "message"),
    [
        ("an empty params.yaml", b"", "params.yaml: is empty; a mapping of settings expected"),
        ("nothing but comments", b"# nothing\n", "params.yaml: is empty; a mapping of settings expected"),
        ("a text", b"just text", "params.yaml: a mapping of settings expected, not str"),
        ("a list", b"- 1\n- 2\n", "params.yaml: a mapping of settings expected, not list"),
        ("UTF-16", "seed: 0".encode("utf-16"), "params.yaml: not a text in UTF-8, from byte 0 on"),
        ("a program", b"\x7fELF\x02\x01\x01\x00\x00", "params.yaml: not valid YAML: unacceptable character #x007f"),
        ("300 KB", b"# " + b"x" * 300_000, "params.yaml: 300,002 bytes; allowed for settings: at most 250,000"),
        ("a bracket that stays open", b"a: [1", "params.yaml: not valid YAML: expected ',' or ']', but got '<stream e"),
        (
            "aliases of aliases, a billion values in ten lines",
            b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
            + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)),
            "params.yaml: line 1: more than 100,000 values, with aliases (*name) as what they stand for",
        ),
    ],
)  # fmt: skip
def test_files_that_are_no_settings(files, case, content, message):
    (files / PARAMS).write_bytes(content)
    assert message in refused(f"params.yaml is {case}")


def test_files_that_cannot_be_read(files, monkeypatch):
    (files / PARAMS).unlink()
    assert refused("no params.yaml") == "params.yaml: No such file or directory; a file of settings is needed"
    (files / PARAMS).mkdir()
    assert refused("params.yaml is a folder") == "params.yaml: not a file; a file of settings is needed"
    (files / PARAMS).rmdir()
    os.mkfifo(files / PARAMS)
    assert refused("params.yaml is a pipe") == "params.yaml: not a file; a file of settings is needed"
    (files / PARAMS).unlink()
    shutil.copy(ROOT / PARAMS, files)

    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", forbidden)
    assert refused("params.yaml may not be read") == "params.yaml: Permission denied; a file of settings is needed"


def test_lists_that_are_too_long(files):
    fractions = ", ".join(str(n / 10_000) for n in range(1, 10_001))
    for case, key, new, message in (
        ("10,000 rounds", "fractions", f"  fractions: [{fractions}]\n", f"10000 values; allowed: at most {MOST}"),
        ("a grid of 1,000,000", "repeats", f"  repeats: {list(range(1000))}\n", "grid: asks for 2,000 networks"),
    ):
        values = (files / PARAMS).read_text()
        lines = values.splitlines(keepends=True)
        start = next(n for n, line in enumerate(lines) if line.startswith(f"  {key}:"))
        end = next(n for n in range(start + 1, len(lines)) if not lines[n].startswith("    -"))
        (files / PARAMS).write_text("".join([*lines[:start], new, *lines[end:]]))
        assert message in refused(case)
        (files / PARAMS).write_text(values)


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("a byte order mark", lambda content: b"\xef\xbb\xbf" + content),
        ("line ends of Windows", lambda content: content.replace(b"\n", b"\r\n")),
        ("1e-2, a number to DVC and a text to older YAML", lambda content: content.replace(b": 0.01\n", b": 1e-2\n")),
        ("a grid cell that is `fix` once more", lambda content: content.replace(b"    - 0.015\n    - 0.0075\n  al",
                                                                             b"    - 0.015\n    - 0.01\n  al")),
        ("an alias of a list", lambda content: content.replace(b"repeats:\n  - 1\n  - 2\n", b"repeats: &r [1, 2]\n")),
    ],
)  # fmt: skip
def test_what_means_the_same_is_taken(files, case, change):
    before, content = load_settings(), (files / PARAMS).read_bytes()
    changed = change(content)
    assert changed != content
    (files / PARAMS).write_bytes(changed)
    settings = load_settings()
    assert settings.model_copy(update={"grid": before.grid}) == before
    note(SECTION, case, "taken as it is meant")


def test_nothing_to_do_is_allowed(files):
    """No grid, no repeats, no variants, no other methods, nothing to explore."""
    settings = load_settings()
    empty = {
        "repeats": [], "variants": {}, "baselines.quantisers": {}, "grid.delta": [], "grid.repeats": [],
        "explore.delta": [], "explore.ablations": {},
    }  # fmt: skip
    assert settings.changed(empty).explored() == {}
    note(SECTION, "empty lists: repeats, grid, variants, quantisers", "taken: nothing of them is made")


# A line break in a text is a blank to YAML.
TEXTS = some.text(some.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
PLAIN = [
    *("0", "-1", "+7", "0.5", "1.", ".5", "1e-3", "1E+5", "12e3", "-.5", ".inf", "-.INF", ".NaN", "~", "null", "NULL"),
    *(
        "true",
        "False",
        "TRUE",
        "x",
        "nUll",
        "a b",
        "1,000",
        "1e",
        "-",
        "_1",
        "0.1.2",
        "12abc",
        "a:b",
        "010",
        "1_0",
        "08",
    ),
    *(
        "0o17",
        "0x1F",
        "0b11",
        "yes",
        "Off",
        "1:30",
        "2001-01-01",
        "2001-1-1 10:00",
        "-010",
        "0.0_1",
        "00",
        ".5e1",
        "+.5",
    ),
]


def taken(text):
    """What a text holds; None where it is refused, in one line."""
    try:
        return parse_yaml(text, "x")
    except InputError as error:
        line = str(error)
    assert line.isprintable()
    return None


def agreed(text):
    """What DVC takes a plain value for is what we take it for, or we refuse it."""
    ours = taken(f"a: {text}")
    if ours is None:
        return False
    try:
        theirs = as_dvc_reads(f"a: {text}", "x")
    except (YAMLFileCorruptedError, ValueError):
        return False
    both_nan = isinstance(ours["a"], float) and math.isnan(ours["a"]) and math.isnan(theirs["a"])
    assert both_nan or (type(ours["a"]), ours) == (type(theirs["a"]), theirs), text
    return True


def test_plain_values_are_what_dvc_takes_them_for():
    assert 25 < sum(agreed(text) for text in PLAIN) < len(PLAIN)


@hypothesis.given(some.text("0123456789.-+_eExob:natruflsyi ~", max_size=12))
def test_any_plain_value_is_what_dvc_takes_it_for(text):
    agreed(text)


@hypothesis.given(some.recursive(
    some.none() | some.booleans() | some.floats(allow_nan=False, allow_infinity=False) | some.integers(-(2**99), 2**99)
    | TEXTS,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(TEXTS, inner, max_size=4), max_leaves=20,
))  # fmt: skip
def test_what_is_written_is_read_back(value):
    """JSON is YAML: whatever is written as such comes back, or is refused in one line."""
    assert taken(json.dumps(value, ensure_ascii=False)) in (value, None)


def test_no_seed_is_too_large_for_k_means():
    """A seed, the repeat of a quantiser and that of the search for rates are added."""

    def largest(kind):
        return next(getattr(each, "le", None) or each.lt - 1 for each in kind.__metadata__[-1].metadata[-1:])

    assert largest(Seed) + largest(Repeat) + largest(OtherSeed) < 2**32


@pytest.mark.parametrize(
    ("stage", "text", "message"),
    [
        ("fix", "profile=../../x", "--set profile=../../x: stage fix does not read it, or reads what was made with it; "
         "allowed: delta, alpha, seed, fixing, finetune, hardware, and their parts, as in hardware.devices"),
        ("fix", "data.pixels=64", "--set data.pixels=64: stage fix does not read it"),
        ("fix", "model.name=resnet10t", "--set model.name=resnet10t: stage fix does not read it"),
        ("fix", "grid.delta=[0.1]", "--set grid.delta=[0.1]: stage fix does not read it"),
        ("fix", "delat=0.1", "--set delat=0.1: stage fix does not read it"),
        ("fix", "delta=010", "--set delta=010: 010 is one thing to some programs and another to others"),
        ("fix", "delta='0.02'", "delta changed: delta = \"0.02\": input should be a valid number"),
        ("fix", "fixing={distance: x, distance: y}", '"distance" is given a second time'),
        ("fix", "delta.x=1", "delta.x is not a setting; delta has no parts"),
        ("fix", "delta", "--set delta: key=value is needed, as in --set fixing.fix_batch_norm=false"),
        ("fix", "=1", "--set =1: key=value is needed"),
        ("fix", "delta=[", "--set delta=[: not valid YAML: expected the node content, but found '<stream end>'"),
        ("pretrain", "data.shift=3", "--set data.shift=3: stage pretrain does not read it"),
        ("pretrain", "delta=0.02", "--set delta=0.02: stage pretrain does not read it"),
        ("pretrain", "finetune.lr=0.1", "--set finetune.lr=0.1: stage pretrain does not read it"),
        ("pretrain", "pretrain.epoch=3", "pretrain.epoch is not a setting, perhaps epochs is meant"),
    ],
)  # fmt: skip
def test_a_change_that_cannot_act_is_named(settings, stage, text, message):
    reads = {"fix": READ_BY_FIX, "pretrain": READ_BY_PRETRAIN}[stage]
    with pytest.raises(InputError) as error:
        settings.changed(changes([text], stage, reads))
    assert message in str(error.value)
    assert str(error.value).isprintable()
    note(SECTION, f"`--set` for stage {stage}: {text}", REFUSED, str(error.value))


def test_a_change_that_acts(settings):
    given = changes(["delta=2e-2", "fixing.distance=euclidean", "hardware.devices=2"], "fix", READ_BY_FIX)
    changed = settings.changed(given)
    assert (changed.delta, changed.fixing.distance, changed.hardware.devices) == (0.02, "euclidean", 2)
    with pytest.raises(InputError, match="--set delta=0.5: delta is set a second time; allowed: once"):
        changes(["delta=0.2", "delta=0.5"], "fix", READ_BY_FIX)
    note(SECTION, "`--set` for stage fix: delta=2e-2", "acts in this stage, and is in its settings.json")


def test_a_stage_reads_what_decides_it(settings):
    """What `--set` takes are settings that the stage's settings.json says, but for what was made before it."""
    assert set(READ_BY_FIX) == set(settings.of_fixing()) - {"profile", "data", "model", "pretrain"}
    assert set(READ_BY_PRETRAIN) == set(settings.of_baseline()) - {"profile", "data"}
