from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.data.checks import checked
from edgekd.data.examples import Splits
from edgekd.data.sources import load_splits
from edgekd.errors import DataError
from edgekd.recipe import Data

pil: Any = pytest.importorskip("PIL.Image", reason="pillow is not installed: images in files cannot be made")


def fill(folder: Path, count: int, *, suffix: str = "png", seed: int = 0) -> Path:
    """A folder with so many different images of 4 x 5 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *folder.as_posix().encode()])
    for number in range(count):
        picture = pil.fromarray(pixels.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        picture.save(folder / f"{number}.{suffix}")
    return folder


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """Three parts with the classes cat and dog."""
    for part, count in (("train", 5), ("val", 3), ("test", 2)):
        fill(tmp_path / part / "dog", count)
        fill(tmp_path / part / "cat", count)
    return tmp_path


def load(base: Path, **data: Any) -> Splits:
    return load_splits(Data(**{"source": ".", **data}), base=base, kind="image")


def test_parts_and_classes_are_read_from_the_names_of_folders(
    parted: Path, sizes: Callable[[Splits], tuple[int, int, int]]
) -> None:
    splits = load(parted)
    assert sizes(splits) == (10, 6, 4)
    assert (splits.label_names, splits.notes) == (["cat", "dog"], [])
    assert (splits.train.name, splits.validation.name) == ("train", "val")
    assert splits.train.labels.tolist() == [0] * 5 + [1] * 5
    assert splits.train.images is not None
    assert splits.train.images.shape == (10, 3, 4, 5)
    with pil.open(parted / "train" / "cat" / "2.png") as picture:
        assert np.array_equal(splits.train.images[2], np.moveaxis(np.asarray(picture), -1, 0))


def test_folders_of_classes_alone_are_cut_into_parts(
    tmp_path: Path, sizes: Callable[[Splits], tuple[int, int, int]]
) -> None:
    for name in ("b", "a"):
        fill(tmp_path / "data" / name, 20)
    first = tmp_path / "data" / "a" / "0.png"
    for copy in range(5):
        (tmp_path / "data" / "a" / f"copy {copy}.png").write_bytes(first.read_bytes())
    (tmp_path / "data" / "LICENSE.txt").write_text("free")
    splits = load(tmp_path, source="data")
    assert sum(sizes(splits)) == 45
    assert splits.notes[0] == "LICENSE.txt is not used: it is in no folder of a class."
    assert splits.notes[1] == f"test was cut from data: {len(splits.test)} of 45 examples (seed 17)."
    parts = [set(part.keys) for part in splits.parts.values()]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 40
    held = fill(tmp_path / "data" / "held" / "a", 2).parent
    fill(held / "b", 1)
    for named in ({"test": "held"}, {"test": "held", "train": "."}):
        found = sizes(load(tmp_path, source="data", **named))
        assert (sum(found), found[2]) == (48, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "gif", "webp", "tif", "tiff"])
def test_usual_formats_of_images_are_read(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        fill(tmp_path / name, 10, suffix=suffix)
    images = load(tmp_path).train.images
    assert images is not None
    assert images.shape[1:] == (3, 4, 5)


def test_named_parts_may_be_folders_anywhere(
    parted: Path, tmp_path_factory: pytest.TempPathFactory, sizes: Callable[[Splits], tuple[int, int, int]]
) -> None:
    splits = load(parted, train="val", test="train")
    assert sizes(splits) == (4, 2, 10)
    splits = load(parted, train="train")
    assert splits.notes[:2] == [
        "val is not used: data.train is given, and data does not name that folder.",
        "test is not used: data.train is given, and data does not name that folder.",
    ]
    other = tmp_path_factory.mktemp("other")
    fill(other / "test" / "cat", 1)
    (parted / "linked").symlink_to(other / "test")
    assert sizes(load(parted, test=str(other / "test"))) == (10, 6, 1)
    assert sizes(load(parted, test="linked")) == (10, 6, 1)
    assert sizes(load(parted, train="train", validation="val", test=str(other / "test"))) == (10, 6, 1)


def test_a_table_may_stand_for_one_part_and_folders_for_another(
    parted: Path, write: Callable[..., Path], sizes: Callable[[Splits], tuple[int, int, int]]
) -> None:
    write(parted, list__csv="image,label\ntest/cat/0.png,cat\ntest/dog/0.png,dog\n")
    assert sizes(load(parted, test="list.csv")) == (10, 6, 2)
    write(
        parted, train__csv="image,label\n" + "".join(f"train/{c}/{n}.png,{c}\n" for c in ("cat", "dog") for n in "012")
    )
    assert sizes(load(parted)) == (2, 2, 2)
    assert sizes(load(parted, source="train.csv", test="test", validation="val")) == (6, 6, 4)


def test_names_of_classes_follow_data_labels(parted: Path) -> None:
    splits = load(parted, labels=["dog", "cat"])
    assert splits.train.labels.tolist() == [1] * 5 + [0] * 5
    with pytest.raises(
        DataError, match=r"train.cat.0\.png: unknown label 'cat', expected one of cats, dog. Did you mean"
    ):
        load(parted, labels=["dog", "cats"])


def test_numbers_as_names_need_no_order_and_no_gap(tmp_path: Path) -> None:
    for name in ("2", "10", "7"):
        fill(tmp_path / name, 5)
    assert load(tmp_path).label_names == ["10", "2", "7"]
    for name in "01":
        fill(tmp_path / "other" / name, 5)
    assert load(tmp_path, source="other", labels=["no", "yes"]).class_counts["train"] == {"no": 3, "yes": 3}


def test_classes_that_parts_lack_are_told_as_of_files(parted: Path) -> None:
    fill(parted / "train" / "emu", 3)
    (parted / "train" / "fox").mkdir()
    told = checked(load(parted), Data(source=".")).warnings
    assert "train has no example of fox: no model can learn that" in told
    assert "validation has no example of emu, fox: nothing will be known of that" in told
    fill(parted / "test" / "gnu", 1)
    with pytest.raises(DataError, match=r"test.gnu.0\.png: unknown label 'gnu', expected one of cat, dog, emu, fox"):
        load(parted)


def test_what_systems_leave_behind_is_passed_over(parted: Path) -> None:
    before = load(parted).sha256
    for place in (parted, parted / "train", parted / "train" / "cat"):
        (place / ".hidden").mkdir()
        (place / "__MACOSX").mkdir()
        (place / "__MACOSX" / "1.png").write_bytes(b"x")
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._1.png"):
            (place / name).write_bytes(b"x")
    assert load(parted).sha256 == before


def spoilt_by(name: str, content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return spoil


def cut_short(folder: Path) -> None:
    image = folder / "train" / "cat" / "1.png"
    image.write_bytes(image.read_bytes()[:60])


def grey(folder: Path) -> None:
    pil.fromarray(np.zeros((4, 5), dtype=np.uint8)).save(folder / "train" / "dog" / "grey.png")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoilt_by("train/cat/notes.txt", b""), r"train.cat: holds notes\.txt, expected images only"),
        (spoilt_by("train/notes.txt", b""), r"train: holds notes\.txt, expected folders of classes only"),
        (spoilt_by("val/1.png", b""), r"val.1\.png: the image is in no folder of a class, expected val/CLASS/1\.png"),
        (spoilt_by("test/cat/more/1.png", b""), "test.cat: holds more, a folder within a class"),
        (spoilt_by("train/cat/0.png", b"no image"), r"train.cat.0\.png: the image cannot be decoded \(it is damaged"),
        (spoilt_by("train/cat/0.png", b""), r"train.cat.0\.png: found nothing, expected an image"),
        (cut_short, r"train.cat.1\.png: the image cannot be decoded"),
        (
            grey,
            r"train.dog.grey\.png: found an image of 4 x 5 pixels in 1 channel, expected .* 3 channels as in .*0\.png",
        ),
        (lambda folder: (folder / "Train").mkdir(), "Train, train could each be the train part"),
        (lambda folder: (folder / "train" / "cat" / "a.png").symlink_to("b.png"), "which does not exist"),
        (
            lambda folder: (folder / "train" / "cat" / "a.png").symlink_to(__file__),
            r"leads out of the data set, to .*\.py",
        ),
        (lambda folder: (folder / "train" / "pig").symlink_to(Path(__file__).parent), "leads out of the data set"),
    ],
)
def test_what_is_no_image_of_a_class_is_named(parted: Path, spoil: Callable[[Path], None], said: str) -> None:
    if said.startswith("Train") and (parted / "TRAIN").exists():
        pytest.skip("this file system does not tell Train from train")
    spoil(parted)
    with pytest.raises(DataError, match=said) as caught:
        load(parted)
    assert "\n" not in str(caught.value)


def test_links_within_the_data_set_are_followed(parted: Path) -> None:
    (parted / "pool").mkdir()
    for name in ("cat", "dog"):
        (parted / "train" / name).rename(parted / "pool" / name)
        (parted / "train" / name).symlink_to(Path("..") / "pool" / name)
    assert len(load(parted).train) == 10


def test_places_without_images_by_class_are_explained(parted: Path, tmp_path: Path) -> None:
    (tmp_path / "none" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="none: holds no images, expected some in a folder for each class"):
        load(tmp_path, train="none")
    with pytest.raises(DataError, match=r"none: holds no file such as train\.csv, found cat\. .* \('\.' where each"):
        load(tmp_path, source="none")
    with pytest.raises(DataError, match="gone"):
        load(tmp_path, train="gone")
    fill(tmp_path / "one" / "cat", 4)
    with pytest.raises(DataError, match="one: every label is 'cat', expected at least two classes"):
        load(tmp_path, source="one")
    with pytest.raises(DataError, match=r"train: is a folder, expected a file\. Only images"):
        load_splits(Data(source=".", train="train"), base=parted, kind="text")
    with pytest.raises(DataError, match=r"data\.train and data\.test are both 'train'"):
        load(parted, train="train", test="./train")


def test_a_class_called_like_a_part_needs_a_word(tmp_path: Path) -> None:
    for name in ("car", "train"):
        fill(tmp_path / name, 10)
    with pytest.raises(DataError, match=r"train.0\.png: the image is in no folder of a class"):
        load(tmp_path)
    splits = load(tmp_path, train=".")
    assert (splits.label_names, len(splits.train)) == (["car", "train"], 14)


def test_names_beyond_ascii(tmp_path: Path) -> None:
    taken_apart = unicodedata.normalize("NFD", "Bär")
    for name in (taken_apart, "狗"):
        fill(tmp_path / name, 5)
    assert load(tmp_path, labels=["狗", "Bär"]).class_counts["train"] == {"狗": 3, "Bär": 3}


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fill(tmp_path / name, 5)
    odd = os.fsdecode(b"b\xe4r")
    try:
        (tmp_path / "a" / "0.png").rename(tmp_path / "a" / f"{odd}.png")
    except OSError:
        pytest.skip("this file system takes no names that are not UTF-8")
    assert len(load(tmp_path).train) == 6
    (tmp_path / "a" / f"{odd}.png").write_bytes(b"x")
    with pytest.raises(DataError, match="b\ufffdr\\.png: the image cannot be decoded"):
        load(tmp_path)
    (tmp_path / odd).mkdir()
    with pytest.raises(DataError, match="b\ufffdr: the name of this class is not UTF-8"):
        load(tmp_path)


def test_thousands_of_images_are_read(tmp_path: Path, sizes: Callable[[Splits], tuple[int, int, int]]) -> None:
    for name in "ab":
        fill(tmp_path / name, 1500)
    assert sizes(load(tmp_path)) == (2100, 300, 600)
