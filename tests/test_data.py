import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import Data, InputError
from pipeline.data import augment, batch_count, batches, load, normalise, prepare, save, split, training_batches
from pipeline.images import Images, read_images


def coloured(count, classes=2):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(count) % classes)


def test_mnist5k_is_the_real_thing(settings):
    dataset = prepare(settings.data, seed=0)
    assert dataset.train.pixels.shape == (4000, 1, 28, 28)
    assert dataset.test.pixels.shape == (1000, 1, 28, 28)
    assert dataset.card["train"]["per_class"] == [400] * 10
    assert dataset.card["test"]["per_class"] == [100] * 10
    assert dataset.card["mean"] == pytest.approx([0.1307], abs=0.002)  # of MNIST's 60,000 images
    assert dataset.card["std"] == pytest.approx([0.3081], abs=0.002)


def test_the_split_follows_the_seed_and_loses_nothing():
    images = coloured(50, classes=5)
    train, test = split(images, 0.2, seed=1)
    again, _ = split(images, 0.2, seed=1)
    other, _ = split(images, 0.2, seed=2)
    assert torch.equal(train.pixels, again.pixels)
    assert not torch.equal(train.pixels, other.pixels)
    assert len(train) == 40
    assert test.labels.bincount().tolist() == [2] * 5
    together = torch.cat([train.pixels, test.pixels]).flatten(1).tolist()
    assert sorted(together) == sorted(images.pixels.flatten(1).tolist())


def test_saved_and_loaded(dataset, tmp_path):
    save(dataset, tmp_path / "data")
    back = load(tmp_path / "data")
    assert back.card == dataset.card
    assert torch.equal(back.train.pixels, dataset.train.pixels)
    assert torch.equal(back.test.labels, dataset.test.labels)
    first = (tmp_path / "data" / "images.safetensors").read_bytes()
    save(dataset, tmp_path / "again")
    assert (tmp_path / "again" / "images.safetensors").read_bytes() == first


def test_batches_in_order_are_all_images():
    assert [len(batch) for batch in batches(coloured(10), 4)] == [4, 4, 2]


@pytest.mark.parametrize(("count", "size", "expected"), [(10, 4, [4, 4]), (8, 4, [4, 4]), (3, 4, [3]), (5, 5, [5])])
def test_training_batches_are_full(count, size, expected, generator):
    images = coloured(count)
    found = list(batches(images, size, generator))
    assert [len(batch) for batch in found] == expected
    seen = torch.cat([batch.pixels for batch in found]).flatten(1).unique(dim=0)
    assert len(seen) == sum(expected)


def test_batch_count_is_the_number_of_batches(dataset, settings, generator):
    for size in (32, 64, 159, 160, 161, 500):
        assert len(list(training_batches(dataset, settings.data, size, generator))) == batch_count(dataset, size)


def test_normalised_training_pixels(dataset):
    pixels = normalise(dataset.train.pixels, dataset.card)
    assert pixels.mean() == pytest.approx(0, abs=1e-4)
    assert pixels.std() == pytest.approx(1, abs=1e-4)


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
    images = coloured(4).pixels
    assert torch.equal(augment(images, shift=0, flip=False, generator=generator), images)


def folder_settings(settings, root, **changes):
    return Data.model_validate(settings.data.model_dump() | {"name": "folder", "root": root, "channels": 3} | changes)


def make_folder(root, classes=("cat", "dog"), count=4, size=(20, 12)):
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(root / name / f"{number}.png")


def test_own_images_from_a_folder_per_class(settings, tmp_path):
    make_folder(tmp_path)
    images = read_images(folder_settings(settings, tmp_path, size=16))
    assert images.pixels.shape == (8, 3, 16, 16)
    assert images.labels.tolist() == [0] * 4 + [1] * 4
    grey = read_images(folder_settings(settings, tmp_path, size=16, channels=1))
    assert grey.pixels.shape == (8, 1, 16, 16)


def test_own_images_keep_their_pixels_at_their_own_size(settings, tmp_path):
    make_folder(tmp_path, size=(16, 16))
    images = read_images(folder_settings(settings, tmp_path, size=16))
    with Image.open(tmp_path / "cat" / "0.png") as image:
        assert np.array_equal(images.pixels[0].permute(1, 2, 0).numpy(), np.array(image))


def test_bad_data_sets_are_named(settings, tmp_path):
    def refused(root, match):
        with pytest.raises(InputError, match=match):
            prepare(folder_settings(settings, root), seed=0)

    refused(None, "data.root = None: no such folder")
    refused(tmp_path / "missing", "missing: no such folder")
    refused(tmp_path, "0 images found")
    make_folder(tmp_path / "one", classes=["cat"])
    refused(tmp_path / "one", "1 class found")
    make_folder(tmp_path / "few", count=1)
    refused(tmp_path / "few", r"data.test_share = 0.2: keeps 0 of the 1 images of class 0")
    make_folder(tmp_path / "broken")
    (tmp_path / "broken" / "dog" / "readme.txt").write_text("not an image")
    refused(tmp_path / "broken", "readme.txt: not an image")


def test_too_few_outputs(dataset):
    dataset.check_classes(10)
    with pytest.raises(InputError, match="model.num_classes = 9: the data set needs at least 10"):
        dataset.check_classes(9)
