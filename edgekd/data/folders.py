"""Images in folders, one folder for each class: which folders those are, and the part that they hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from edgekd.data.images import images_from_cells
from edgekd.data.parts import Part
from edgekd.errors import DataError
from edgekd.files import is_litter
from edgekd.text import listing, printable

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def entries(folder: Path) -> list[Path]:
    """What lies in `folder`, by name, without hidden files and what systems leave behind. Errors: DataError."""
    try:
        found = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{_shown(folder)}: the folder cannot be read ({error.strerror})") from None
    return sorted(path for path in found if not path.name.startswith(".") and not is_litter(path.name))


def holds_classes(folder: Path) -> bool:
    """Whether a folder in `folder` holds an image."""
    return any(_is_image(path) for below in entries(folder) if below.is_dir() for path in entries(below))


def folder_part(path: Path, roots: Sequence[Path], *, without: Collection[Path] = (), lenient: bool = False) -> Part:
    """The images in the folders of `path`, each of the class that its folder is called; classes are in sorted order.

    Links may lead to files in one of `roots`. Entries in `without` belong to other parts; `lenient` lets files lie
    beside the folders that are no images. Names of classes are compared in Unicode NFC, for some systems take letters
    apart.
    Errors: DataError naming a file that is no image or cannot be decoded, a folder in a class, a link that leads
    elsewhere; MissingExtra.
    """
    if not path.is_dir():
        raise DataError(f"{_shown(path)}: no such folder")
    allowed = [root.resolve() for root in roots]
    top = [entry for entry in entries(path) if entry not in without]
    loose = [entry for entry in top if not entry.is_dir()]
    if any(map(_is_image, loose)):
        first = next(filter(_is_image, loose))
        raise DataError(
            f"{_shown(first)}: the image is in no folder of a class, expected {path.name or path}/CLASS/{first.name}. "
            "Move it, or name the parts that have classes in data.train, data.validation and data.test"
        )
    if loose and not lenient:
        raise DataError(f"{_shown(path)}: holds {_names(loose)}, expected folders of classes only. Remove or move it")
    classes = _classes(path, [entry for entry in top if entry.is_dir()], allowed)
    files = [(name, file) for name, folder in classes.items() for file in _images(folder, allowed)]
    if not files:
        raise DataError(f"{_shown(path)}: holds no images, expected some in a folder for each class ({_suffixes()})")
    places = [_shown(file) for _, file in files]
    images = images_from_cells([str(file.absolute()) for _, file in files], lambda row: places[row], path)
    labels = [name for name, _ in files]
    name = path.name or path.resolve().name
    return Part(printable(name), str(path), labels, lambda row: places[row], images=images, class_names=sorted(classes))


def _classes(path: Path, folders: list[Path], allowed: list[Path]) -> dict[str, Path]:
    """The folders by the names of their classes."""
    found: dict[str, Path] = {}
    for folder in folders:
        _refuse_outside(folder, allowed)
        try:
            folder.name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{_shown(folder)}: the name of this class is not UTF-8, expected one that can be written. Rename the "
                "folder"
            ) from None
        name = unicodedata.normalize("NFC", folder.name)
        if name in found:
            raise DataError(f"{_shown(path)}: two folders are called {name!r}, in two spellings of Unicode. Join them")
        found[name] = folder
    return found


def _images(folder: Path, allowed: list[Path]) -> list[Path]:
    """The images of one class."""
    inside = entries(folder)
    for entry in inside:
        _refuse_outside(entry, allowed)
    below = [entry for entry in inside if entry.is_dir()]
    if below:
        raise DataError(
            f"{_shown(folder)}: holds {_names(below)}, a folder within a class, expected images only. Move its images "
            "up, or name the folder above the classes in data.train"
        )
    others = [entry for entry in inside if not _is_image(entry)]
    if others:
        raise DataError(f"{_shown(folder)}: holds {_names(others)}, expected images only ({_suffixes()}). Remove them")
    return inside


def _refuse_outside(path: Path, allowed: list[Path]) -> None:
    if not path.is_symlink():
        return
    target = path.resolve()
    if not path.exists():
        raise DataError(f"{_shown(path)}: is a link to {_shown(target)}, which does not exist. Remove it")
    if not any(target.is_relative_to(root) for root in allowed):
        raise DataError(
            f"{_shown(path)}: is a link that leads out of the data set, to {_shown(target)}. Put the files themselves "
            "there, or name the folder of a part in data.train, data.validation or data.test"
        )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and not path.is_dir()


def _suffixes() -> str:
    return ", ".join(suffix.lstrip(".") for suffix in IMAGES)


def _names(paths: list[Path]) -> str:
    return printable(listing(path.name for path in paths), 400)


def _shown(path: Path) -> str:
    return printable(str(path))
