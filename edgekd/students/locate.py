"""Where a model comes from: an installed package, a local folder or the hub, and what may be read there.

Weights are read from safetensors alone. Pickled weights run code when they are opened, so a folder that has nothing
else, or that hides them under another name, is refused before any library touches it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekd.errors import InputError, SecurityError, ToolError
from edgekd.files import open_or_fail, read_json
from edgekd.text import listing

PACKAGE_PREFIX = "package:"

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HUB_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_HUB_ID = re.compile(rf"{_HUB_PART}(?:/{_HUB_PART})?")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
_INDEX = "model.safetensors.index.json"
_DEPTH = 2
_MAX_HEADER_BYTES = 100_000_000
_PICKLE_OPCODES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def locate_model(name: str, base: Path) -> str:
    """What transformers can load for `name`: an absolute folder, or a hub id as it is.

    `package:NAME` is the folder inside the installed Python package NAME that holds a model; anything that is a folder,
    relative to `base`, is that folder; all else must be a hub id.
    Errors: InputError for a name or folder that cannot be one, ToolError for a package that is not installed,
    SecurityError for weights that are not safetensors.
    """
    if name.startswith(PACKAGE_PREFIX):
        folder = _package_folder(name)
    else:
        folder = Path(base, Path(name).expanduser()).absolute()
        if folder.is_file():
            raise InputError(f"{name}: this is a file, expected the folder of a model or a hub id")
        if not folder.is_dir():
            return _hub_id(name)
    check_folder(folder)
    return str(folder)


def check_folder(folder: Path) -> None:
    """Accept `folder` when it holds a configuration and weights in safetensors alone.

    Pickle files beside good weights are accepted: they are never opened.
    Errors: InputError, SecurityError.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: holds no config.json, expected a model saved with save_pretrained")
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{folder}: holds an adapter, which names a base model of its own; merge it and save the result"
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = [path.name for path in folder.iterdir() if path.suffix in _PICKLES]
        if pickles:
            raise SecurityError(
                f"{folder}: its weights are pickled ({listing(pickles)}), which can run code when opened; "
                "convert them to safetensors where you trust them"
            )
        raise InputError(f"{folder}: holds no weights, expected model.safetensors")
    for path in weights:
        _check_safetensors(path)
    if (folder / _INDEX).exists():
        _check_index(folder / _INDEX)


def _check_safetensors(path: Path) -> None:
    with open_or_fail(path) as stream:
        head: bytes = stream.read(9)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", *_PICKLE_OPCODES)):
        raise SecurityError(f"{path}: is a pickle or zip file under a safetensors name; get the weights anew")
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:] != b"{" or length > min(_MAX_HEADER_BYTES, path.stat().st_size - 8):
        raise InputError(f"{path}: is not a safetensors file, or only a part of one; get the weights anew")


def _check_index(path: Path) -> None:
    table = read_json(path)
    shards = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise InputError(f"{path}: has no weight_map, expected the index of a model in several files")
    for shard in sorted({str(shard) for shard in shards.values()}):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise SecurityError(f"{path}: names the weights {shard!r}, expected safetensors files in the same folder")
        if not (path.parent / shard).is_file():
            raise InputError(f"{path}: names {shard}, which is missing; get the weights anew")


def _package_folder(name: str) -> Path:
    module = name.removeprefix(PACKAGE_PREFIX).replace("-", "_")
    if not _MODULE.fullmatch(module):
        raise InputError(f"{name}: expected package:NAME with the name of one installed Python package")
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ToolError(f"{name}: the Python package {module} is not installed. Run: pip install {module}")
    roots = [Path(place) for place in found.submodule_search_locations or []]
    folders = next((level for level in _levels(roots) if level), [])
    if not folders:
        raise InputError(f"{name}: the package holds no folder with the config.json of a model")
    if len(folders) > 1:
        names = listing(str(folder) for folder in folders)
        raise InputError(f"{name}: the package holds several models ({names}); give the folder of one")
    return folders[0].absolute()


def _levels(roots: list[Path]) -> Iterator[list[Path]]:
    """Per depth, the folders that hold a model."""
    level = [root for root in roots if root.is_dir()]
    for _ in range(_DEPTH + 1):
        yield [folder for folder in level if _is_model(folder / "config.json")]
        level = [path for folder in level for path in sorted(folder.iterdir()) if path.is_dir()]


def _is_model(config: Path) -> bool:
    if not config.is_file():
        return False
    # Tokenizers and pooling layers have a config.json too; only a model says its type.
    table: Any = read_json(config)
    return isinstance(table, dict) and "model_type" in table


def _hub_id(name: str) -> str:
    if not _HUB_ID.fullmatch(name) or ".." in name or "--" in name:
        raise InputError(f"{name}: no such folder, and not a hub id either (NAME or OWNER/NAME)")
    return name
