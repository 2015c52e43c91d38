import shutil

import pytest
import torch
import yaml
from clones import ROOT
from dvc.utils.serialize import modify_yaml

from pipeline.base.errors import InputError
from pipeline.base.settings import Section, load_settings
from stages.common.work import device_and_data


@pytest.fixture
def files(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    return tmp_path


def load(files):
    return load_settings(files / "params.yaml", files / "profiles")


def set_value(path, key, value):
    values = yaml.safe_load(path.read_text())
    section = values
    *parents, last = key.split(".")
    for parent in parents:
        section = section[parent]
    section[last] = value
    path.write_text(yaml.safe_dump(values))


def test_every_profile_is_valid(files):
    for profile in (files / "profiles").glob("*.yaml"):
        set_value(files / "params.yaml", "profile", profile.stem)
        if profile.stem == "custom":  # asks for a person's own pictures
            with pytest.raises(InputError, match="data.root = null: a folder of images is needed"):
                load(files)
            set_value(profile, "data.root", "pictures")
        assert load(files).profile == profile.stem


def test_profiles_differ_in_values_only(files):
    """Whoever copies one finds the same keys in the same order everywhere."""
    keys = {
        profile.stem: [(section, list(values)) for section, values in yaml.safe_load(profile.read_text()).items()]
        for profile in (files / "profiles").glob("*.yaml")
    }
    for name, found in keys.items():
        assert found == keys["mnist5k"], name


def test_the_papers_settings_are_the_default(files):
    settings = load(files)
    assert {settings.delta, *settings.grid.delta} == {0.015, 0.01, 0.0075}
    assert settings.alpha == 0.4
    assert settings.fixing.fractions == (0.3, 0.6, 0.8, 0.9, 0.95, 0.975, 0.99, 0.9975, 0.999, 1.0)
    assert settings.fixing.zero_threshold == 2**-7
    assert settings.fixing.temperature == 0.05


def test_a_number_without_a_dot_is_still_a_number(files):
    text = (files / "params.yaml").read_text().replace("delta: 0.01\n", "delta: 1e-3\n", 1)  # a string to YAML
    (files / "params.yaml").write_text(text)
    assert load(files).delta == 0.001


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("delta", 0, "delta = 0: input should be greater than 0"),
        ("delta", 1, "delta = 1: input should be less than 1"),
        ("delta", "x", 'delta = "x": input should be a valid number'),
        ("delta", 0.2, "delta = 0.2: with 10 rounds the first budget is 2; allowed: below 0.1"),
        ("grid.delta", [0.01, 0.3], "grid.delta = 0.3: with 10 rounds the first budget is 3; allowed: below 0.1"),
        ("grid.delta", [-1.0], "grid.delta.0 = -1.0: input should be greater than 0"),
        ("grid.alpha", [0], "grid.alpha.0 = 0: write 0.0, because folders are named after it as it is written"),
        ("alpha", -0.1, "alpha = -0.1: input should be greater than or equal to 0"),
        ("seed", -1, "seed = -1: input should be greater than or equal to 0"),
        ("colour", 1, "colour is not a setting; allowed here: profile, seed, delta"),
        ("fixing.colour", 1, "fixing.colour is not a setting; allowed here: fractions, clustering"),
        ("fixing.fractions", [0.5, 0.3, 1], "fixing.fractions = [0.5, 0.3, 1]: must increase and end at 1"),
        ("fixing.fractions", [0.5, 0.9], "fixing.fractions = [0.5, 0.9]: must increase and end at 1"),
        ("fixing.fractions", [], "fixing.fractions = []: list should have at least 1 item"),
        ("fixing.clustering", "x", "fixing.clustering = \"x\": input should be 'recluster' or 'incremental'"),
        ("fixing.distance", "x", "fixing.distance = \"x\": input should be 'relative' or 'euclidean'"),
        ("hardware.precision", 16, "hardware.precision = 16: input should be '32-true' or 'bf16-mixed'"),
        ("variants.x", {"delta": 0.01, "repeat": 0}, "variants.x.alpha is missing"),
        ("variants.x", {"delta": 0.01, "alpha": 0.4}, "variants.x.repeat is missing"),
        ("hardware.threads", 0, "hardware.threads = 0: allowed: auto, or a whole number from 1 to 1024"),
        ("hardware.threads", 1.5, "hardware.threads = 1.5: allowed: auto, or"),
        ("hardware.threads", True, "hardware.threads = true: allowed: auto, or"),
        ("hardware.threads", "all", 'hardware.threads = "all": allowed: auto, or'),
        (
            "variants.x",
            {"delta": 0.01, "alpha": 0.4, "repeat": 3},
            "x.repeat: there is no baseline for repeat 3; allow",
        ),
        ("baselines.quantisers.x", {"method": "apot", "bits": 4}, "baselines.quantisers.x.repeat is missing"),
        (
            "variants.x",
            {"delta": 0.01, "alpha": 0.4, "repeat": 0, "bits": 1},
            "x.bits is not a setting; allowed here: delta, alpha",
        ),
        (
            "variants.x",
            {"delta": 0.1, "alpha": 0.4, "repeat": 0},
            "x.delta = 0.1: with 10 rounds the first budget is 1;",
        ),
        (
            "variants.x",
            {"delta": 0.5, "alpha": 0.4, "repeat": 0, "fractions": [0.5, 1]},
            "variants.x.delta = 0.5: with 2 rounds the first budget is 1; allowed: below 0.5",
        ),
        (
            "variants.x",
            {"delta": 0.01, "alpha": 0.4, "repeat": 0, "fractions": [0.5]},
            "variants.x.fractions = [0.5]: must increase and end at 1",
        ),
        (
            "explore.ablations.x",
            {"fractions": [(number + 1) / 40 for number in range(40)]},
            "explore.ablations.x: delta = 0.03: with 40 rounds the first budget is 1.2; allowed: below 0.025",
        ),
        ("variants.a b", {"delta": 0.01, "alpha": 0.4}, 'variants."a b": a name has letters'),
        ("grid.repeats", [-1], "grid.repeats.0 = -1: input should be greater than or equal to 0"),
        ("rates.grid", [], "rates.grid = []: list should have at least 1 item"),
        ("rates.validation_share", 1, "rates.validation_share = 1: input should be less than 1"),
        ("repeats", [0], "repeats.0 = 0: input should be greater than or equal to 1"),
        ("baselines.apot.recipe", "x", "baselines.apot.recipe = \"x\": input should be 'imagenet' or 'cifar'"),
        (
            "baselines.quantisers.x",
            {"method": "apot", "bit": 4},
            "x.bit is not a setting, perhaps bits is meant; allowed here: method",
        ),
        ("baselines.quantisers.x", {"bits": 4}, "baselines.quantisers.x.method is missing"),
        ("baselines.quantisers.x", {"method": "../x"}, 'x.method = "../x": string should match pattern'),
        ("baselines.quantisers.a b", {"method": "apot"}, 'quantisers."a b": a name has letters'),
        (
            "profile",
            "mnist6k",
            "profile = 'mnist6k' is unknown; allowed: cifar10, cifar10-resnet20, cifar10-small, custom, imagenet",
        ),
    ],
)
def test_bad_parameters_are_named(files, key, value, message):
    set_value(files / "params.yaml", key, value)
    with pytest.raises(InputError) as error:
        load(files)
    assert message in str(error.value)
    assert "params.yaml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.name", "imagenet", "data.root = null: a folder of images is needed, or hub"),
        ("model.in_chans", 3, "model.in_chans = 3: must equal data.channels = 1"),
        ("finetune.optimizer", "x", "finetune.optimizer = \"x\": input should be 'adam' or 'sgd'"),
        ("quantise.rates", {"apot": 0}, "quantise.rates.apot = 0: input should be greater than 0"),
        ("pretrain.epochs", 0, "pretrain.epochs = 0: input should be greater than or equal to 1"),
        ("delta", 0.1, "mnist5k.yaml: delta: belongs into"),
    ],
)
def test_bad_profiles_are_named(files, key, value, message):
    set_value(files / "profiles" / "mnist5k.yaml", key, value)
    with pytest.raises(InputError) as error:
        load(files)
    assert message in str(error.value)
    assert "mnist5k.yaml" in str(error.value)


def test_a_quantiser_has_the_seed_of_its_repeat(files):
    set_value(files / "params.yaml", "baselines.quantisers.again", {"method": "apot", "bits": 4, "repeat": 2})
    settings = load(files)
    repeated, quantiser = settings.for_quantiser("again")
    assert repeated.seed == settings.seed + 2
    assert quantiser.bits == 4
    with pytest.raises(InputError, match="baselines.quantisers has no 'nope'; allowed: again, apot-3"):
        settings.for_quantiser("nope")


def test_a_variant_is_the_same_but_for_its_line(files):
    set_value(files / "params.yaml", "variants.coarse", {"delta": 0.02, "alpha": 0.1, "repeat": 0})
    two_rounds = {"delta": 0.3, "alpha": 0.4, "fractions": [0.5, 1], "repeat": 0}
    set_value(files / "params.yaml", "variants.two-rounds", two_rounds)
    settings = load(files)
    assert settings.for_variant("coarse") == settings.changed({"delta": 0.02, "alpha": 0.1})
    assert settings.for_variant("two-rounds").fixing.fractions == (0.5, 1)
    assert settings.for_variant("two-rounds").delta == 0.3
    one_shot = settings.for_variant("one-shot")
    assert one_shot.training_epochs == 0
    assert one_shot.of_fixing() == settings.of_fixing() | {
        "delta": 0.01,
        "alpha": 0.0,
        "fixing": settings.of_fixing()["fixing"] | {"fractions": [1.0]},
    }
    with pytest.raises(
        InputError, match="variants has no 'nope'; allowed: coarse, no-pull, no-pull-again, no-pull-once-more, one-shot"
    ):
        settings.for_variant("nope")


def test_a_stage_has_the_settings_of_its_name(files):
    settings = load(files)
    assert settings.for_stage("fix") == settings
    assert settings.for_stage("repeats@2") == settings.for_stage("baselines@2") == settings.repeated(2)
    assert settings.for_stage("quantise@apot-3-again") == settings.repeated(1)
    assert settings.for_stage("sweep@0.0075-0.4-1") == settings.changed({"delta": 0.0075}).repeated(1)
    assert settings.for_stage("variants@one-shot") == settings.for_variant("one-shot")
    for stage, message in (
        ("repeats@7", "repeats has no '7'; allowed: 1, 2"),
        ("baselines@0", "baselines has no '0'; allowed: 1, 2"),
        ("sweep@0.01-0.4-0", "sweep has no '0.01-0.4-0'; allowed: 0.015-0.4-0, 0.015-0.4-1"),
    ):
        with pytest.raises(InputError, match=message):
            settings.for_stage(stage)


def test_a_variant_has_the_seed_of_its_repeat(files):
    settings = load(files)
    again = settings.for_variant("no-pull-again")
    assert again == settings.for_variant("no-pull").repeated(1)
    none = settings.model_copy(update={"variants": {}})
    with pytest.raises(InputError, match="variants has no 'one-shot'; allowed: none are set"):
        none.for_variant("one-shot")


def test_what_explore_covers(files):
    """Every delta with every alpha and repeat, and every ablation with every delta and repeat."""
    set_value(files / "params.yaml", "explore.ablations", {"float": {"fix_batch_norm": False}})
    settings = load(files)
    grid, small, cells = settings.explore, settings.for_explore(), settings.explored()
    assert len(cells) == len(grid.delta) * (len(grid.alpha) + 1) * len(grid.repeats)
    assert small.model.name == grid.model
    assert small.fixing.fractions == grid.fractions
    assert small.finetune.epochs == grid.epochs
    assert cells["delta-0.03_alpha-0_repeat-1"] == small.changed({"delta": 0.03, "alpha": 0.0}).repeated(1)
    ablation = {"delta": 0.03, "fixing.fix_batch_norm": False}
    assert cells["float_delta-0.03_alpha-0.4_repeat-0"] == small.changed(ablation)
    trained = settings.explore_baselines()
    assert list(trained) == [f"baseline_repeat-{repeat}" for repeat in grid.repeats]
    assert {each.seed for each in trained.values()} == {each.seed for each in cells.values()}
    set_value(files / "params.yaml", "explore.ablations", {"x": {"colour": 1}})
    with pytest.raises(InputError, match="explore.ablations.x.colour is not a setting; allowed here: fractions"):
        load(files)


def test_no_setting_is_left_out_of_the_run_caches_key(files):
    """DVC leaves keys of these names out of it, at any depth: a changed value would bring old results back."""

    def keys(values):
        if isinstance(values, dict):
            for key, value in values.items():
                yield key
                yield from keys(value)

    def sections(kind):
        yield kind
        for each in kind.__subclasses__():
            yield from sections(each)

    written = {key for path in files.rglob("*.yaml") for key in keys(yaml.safe_load(path.read_text()))}
    known = {key for section in sections(Section) for key in section.model_fields}
    assert {"pixels", "delta", "zero_threshold"} <= written & known
    assert not {"size", "nfiles"} & (written | known)


def test_changing_a_value_leaves_the_other_lines_as_they_are(files):
    """As `dvc exp run -S` writes the file, which indents lists otherwise: variants stay one a line."""
    params = files / "params.yaml"

    def lines():
        return [line.strip() for line in params.read_text().splitlines()]

    before = lines()
    with modify_yaml(params) as values:
        values["variants"]["one-shot"]["delta"] = 0.02
    differ = [pair for pair in zip(before, lines(), strict=True) if pair[0] != pair[1]]
    line = "one-shot: {delta: 0.01, alpha: 0.0, fractions: [1.0], repeat: 0}"
    assert differ == [(line, line.replace("0.01", "0.02"))]
    assert load(files).for_variant("one-shot").delta == 0.02


def test_baselines_train_as_long_as_all_rounds_together(files):
    settings = load(files)
    assert settings.training_epochs == 9 * settings.finetune.epochs
    assert settings.of_quantiser(settings.baselines.quantisers["apot-3"])["epochs"] == settings.training_epochs


def test_a_missing_key_is_named(files):
    text = (files / "params.yaml").read_text().replace("alpha: 0.4\n", "", 1)
    (files / "params.yaml").write_text(text)
    with pytest.raises(InputError, match="alpha is missing"):
        load(files)


def test_another_setting_is_checked_too(files):
    settings = load(files)
    assert settings.changed({"delta": 0.02}).delta == 0.02
    assert settings.changed({"fixing.fix_batch_norm": False}).fixing.fix_batch_norm is False
    assert settings.changed({}) == settings
    for key, value, message in (
        ("delta", 1.5, "delta changed: delta = 1.5: input should be less than 1"),
        ("fixing.colour", 1, "fixing.colour is not a setting; allowed here: fractions"),
        ("colour.red", 1, "colour is not a setting; allowed here: profile"),
        ("delta.x", 1, "delta.x is not a setting; delta has no parts"),
    ):
        with pytest.raises(InputError, match=message):
            settings.changed({key: value})


@pytest.mark.parametrize(
    ("change", "threads"),
    [
        ({}, 1),
        ({"data.pixels": 32}, 1),
        ({"data.pixels": 33}, None),
        ({"hardware.threads": 3}, 3),
        ({"hardware.threads": 3, "data.pixels": 224}, 3),
    ],
    ids=str,
)
def test_threads_of_a_stage(monkeypatch, settings, dataset, change, threads):
    """By rule, and in the process."""
    chosen = settings.changed(change | {"hardware.accelerator": "cpu"})
    assert chosen.threads == threads
    before = torch.get_num_threads()
    monkeypatch.setattr("stages.common.work.memory.load", lambda *_: dataset)
    torch.set_num_threads(2)
    try:
        device_and_data(chosen, ROOT)
        assert torch.get_num_threads() == (threads or 2)
    finally:
        torch.set_num_threads(before)
