import re

import numpy as np
import pytest
import torch

from pipeline.base.errors import InputError
from pipeline.data import memory
from pipeline.data.choosing import split
from pipeline.data.dataset import WHOLE, Share, check_classes, full_batches
from pipeline.data.images import augment, normalise
from pipeline.data.memory import load, prepare, save


def numbered(count, size=8):
    """Images of one colour each, so that they can be told apart."""
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, size, size)


def test_mnist5k_is_the_real_thing(settings):
    dataset = prepare(settings.data, seed=0)
    assert dataset.train.pixels.shape == (3000, 1, 28, 28)
    assert dataset.test.pixels.shape == (2000, 1, 28, 28)
    assert dataset.card["train"]["per_class"] == [300] * 10
    assert dataset.card["test"]["per_class"] == [200] * 10
    assert dataset.card["class_names"] == list("0123456789")
    assert dataset.card["mean"] == pytest.approx([0.1307], abs=0.002)  # of MNIST's 60,000 images
    assert dataset.card["std"] == pytest.approx([0.3081], abs=0.002)


def test_the_card_says_what_the_pixels_are(dataset):
    values = dataset.train.pixels.double() / 255
    assert dataset.card["mean"] == pytest.approx([float(values.mean())])
    assert dataset.card["std"] == pytest.approx([float(values.std())])


def test_the_split_follows_the_seed_and_loses_nothing():
    labels = np.arange(50) % 5
    train, test = split(labels, 0.2, classes=[str(i) for i in range(10)], seed=1)
    assert np.array_equal(split(labels, 0.2, classes=[str(i) for i in range(10)], seed=1)[0], train)
    assert not np.array_equal(split(labels, 0.2, classes=[str(i) for i in range(10)], seed=2)[0], train)
    assert np.bincount(labels[test]).tolist() == [2] * 5
    assert sorted([*train, *test]) == list(range(50))


def test_images_held_out_come_from_the_training_images_alone(dataset):
    """For choosing rates: every image of the test part of `held_out` was one for training, and none is there twice."""

    def images(part):
        return [(int(label), pixels.numpy().tobytes()) for pixels, label in zip(part.pixels, part.labels, strict=True)]

    held = dataset.held_out(0.25, seed=3)
    assert sorted(images(held.train) + images(held.test)) == sorted(images(dataset.train))
    per_class = np.array(dataset.card["train"]["per_class"])
    assert held.card["test"]["per_class"] == np.round(per_class * 0.25).tolist()
    assert held.card["train"]["images"] == len(held.train)
    assert {key: held.card[key] for key in ("mean", "std", "classes")} == {
        key: dataset.card[key] for key in ("mean", "std", "classes")
    }
    assert not torch.equal(dataset.held_out(0.25, seed=4).test.pixels, held.test.pixels)
    with pytest.raises(InputError, match=r"rates.validation_share = 0.01: keeps 0 of the \d+ images of class 0"):
        dataset.held_out(0.01, seed=3)


def test_only_the_first_images_of_each_class(settings):
    labels = prepare(settings.data.model_copy(update={"mini": 7, "test_share": 0.3}), seed=0)
    assert labels.card["train"]["per_class"] == [5] * 10
    assert labels.card["test"]["per_class"] == [2] * 10


def test_saved_and_loaded(dataset, settings, tmp_path):
    save(dataset, tmp_path / "data")
    back = load(tmp_path / "data", settings.data, {})
    assert back.card == dataset.card
    assert torch.equal(back.train.pixels, dataset.train.pixels)
    assert torch.equal(back.test.labels, dataset.test.labels)
    first = (tmp_path / "data" / "images.safetensors").read_bytes()
    save(dataset, tmp_path / "again")
    assert (tmp_path / "again" / "images.safetensors").read_bytes() == first


@pytest.mark.parametrize("damage", ["a pixel", "cut short", "another name"])
def test_images_that_a_disk_has_changed_are_named(dataset, settings, tmp_path, damage):
    """No training begins with them, as DVC would not see them where their time stayed."""
    save(dataset, tmp_path)
    path = tmp_path / "images.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "a pixel":
        content[-5] ^= 1
    elif damage == "cut short":
        del content[-5:]
    else:
        content = content.replace(b"train.pixels", b"trian.pixels")
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path}: damaged \(.+\); `dvc checkout --force` or `dvc repro` makes it"):
        load(tmp_path, settings.data, {})


@pytest.mark.parametrize(
    ("key", "value", "made_with"), [("pixels", 32, 28), ("channels", 3, 1), ("name", "x", "mnist5k")]
)
def test_other_settings_than_those_of_the_card_are_named(dataset, settings, tmp_path, key, value, made_with):
    save(dataset, tmp_path)
    message = f"data.{key} = {value}: {tmp_path} was made with {made_with}; `dvc repro data` makes it anew"
    with pytest.raises(InputError, match=re.escape(message)):
        load(tmp_path, settings.data.model_copy(update={key: value}), {})


def test_the_pixels_are_as_the_card_says(dataset):
    assert dataset.train.pixels.shape[1:] == (dataset.card["channels"], *2 * (dataset.card["pixels"],))


def test_test_batches_are_all_images_in_order(dataset):
    batches = list(dataset.test_batches(15))
    assert [len(batch) for batch in batches] == [15, 15, 10]
    assert torch.equal(torch.cat([batch.labels for batch in batches]), dataset.test.labels)


@pytest.mark.parametrize(("size", "expected"), [(64, [64, 64]), (160, [160]), (161, [160]), (159, [159])])
def test_training_batches_are_full(dataset, size, expected, generator):
    found = list(dataset.training_batches(size, generator))
    assert [len(batch) for batch in found] == expected
    assert len(found) == dataset.batch_count(size) == full_batches(160, size)


def test_processes_share_every_batch(dataset):
    """The shares of three processes, put together, are the whole batch, varied alike."""

    def epoch(share):
        return list(dataset.training_batches(31, torch.Generator().manual_seed(0), share))

    parts = [epoch(Share(rank, 3)) for rank in range(3)]
    for number, whole in enumerate(epoch(WHOLE)):
        for rank in range(3):
            assert torch.equal(parts[rank][number].pixels, whole.pixels[rank::3])
            assert torch.equal(parts[rank][number].labels, whole.labels[rank::3])
    tested = [list(dataset.test_batches(15, Share(rank, 3))) for rank in range(3)]
    assert sum(len(batch) for part in tested for batch in part) == 40


def test_normalised_training_pixels(dataset):
    pixels = normalise(dataset.train.pixels, dataset.card["mean"], dataset.card["std"])
    assert pixels.mean() == pytest.approx(0, abs=1e-4)
    assert pixels.std() == pytest.approx(1, abs=1e-4)
    assert torch.equal(dataset.sample(3), pixels[:3])


def test_every_image_is_shifted_whole_over_black(generator):
    pixels = torch.zeros(400, 1, 9, 9, dtype=torch.uint8)
    pixels[:, 0, 4, 4] = 255
    shifted = augment(pixels, shift=2, flip=False, generator=generator)
    where = torch.nonzero(shifted)[:, 2:]
    assert len(where) == 400
    assert where.amin(dim=0).tolist() == [2, 2]
    assert where.amax(dim=0).tolist() == [6, 6]
    assert len(where.unique(dim=0)) == 25


def test_half_of_the_images_are_mirrored(generator):
    pixels = torch.arange(8, dtype=torch.uint8).expand(1000, 2, 8, 8)
    mirrored = augment(pixels, shift=0, flip=True, generator=generator)[:, 0, 0, 0] == 7
    assert 400 < int(mirrored.sum()) < 600


def test_no_variation_leaves_the_images_alone(generator):
    images = numbered(4)
    assert torch.equal(augment(images, shift=0, flip=False, generator=generator), images)


def test_too_few_outputs(dataset):
    """And too many, of weights that are taken as they are: their classes are others."""
    for trained in (True, False):
        check_classes(dataset, 10, trained=trained)
        with pytest.raises(InputError, match="model.num_classes = 9: the data set needs at least 10"):
            check_classes(dataset, 9, trained=trained)
    check_classes(dataset, 1000, trained=True)
    with pytest.raises(
        InputError, match="model.num_classes = 1000: the weights are taken .*the data set has 10 classes"
    ):
        check_classes(dataset, 1000, trained=False)


def test_images_that_do_not_fit_into_memory(settings, monkeypatch):
    """Said before any is decoded."""
    monkeypatch.setattr(memory, "decode", None)
    free = type("Memory", (), {"available": 3 * 200 * settings.data.pixels**2 - 1})
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    with pytest.raises(InputError, match="data.storage = memory: 200 images of 1 x .* are free; allowed: data.storage"):
        memory.prepare(settings.data.model_copy(update={"mini": 20}), seed=0)
