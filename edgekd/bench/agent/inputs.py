"""Inputs for any model: of the user's own, or drawn by what their names and types mean."""

from __future__ import annotations

import zipfile
from typing import Any, Dict, List, Optional

from .failures import AgentError, first_line, module

FLOATS = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
WIDTHS = (8, 16, 32, 64)
INTEGERS = {"tensor(%sint%d)" % (sign, bits): "%sint%d" % (sign, bits) for sign in ("", "u") for bits in WIDTHS}
DTYPES = {**FLOATS, **INTEGERS, "tensor(bool)": "bool"}


def text_of(shape: List[Any]) -> str:
    return "x".join("?" if part is None else str(part) for part in shape)


def dimension(name: str, index: int, found: Any, dims: Dict[str, int], declared: List[Any]) -> int:
    if isinstance(found, int) and found >= 0:
        return found
    if found in dims:
        return dims[found]
    example = [part if isinstance(part, int) else dims.get(part, 64) for part in declared]
    free = repr(found) if isinstance(found, str) else "number %d" % (index + 1)
    said = "input %r has the free dimension %s (shape %s). Give its shape, such as --shape %s=%s"
    raise AgentError("shape", said % (name, free, text_of(declared), name, text_of(example)))


def shape_of(entry: Any, spec: Dict[str, Any]) -> List[int]:
    """The input's shape: as named for it, or as declared with `dims` for the free dimensions."""
    declared, given = list(entry.shape), spec["shapes"].get(entry.name)
    if given is None:
        return [dimension(entry.name, i, part, spec["dims"], declared) for i, part in enumerate(declared)]
    named = [have if isinstance(want, int) else want for want, have in zip(declared, given)]
    if not declared:
        # Where a model declares no rank, onnxruntime tells what it tells of a scalar; what fits it says when it runs.
        return list(given)
    if len(given) != len(declared) or named != declared:
        words = (entry.name, text_of(declared), entry.name, text_of(given))
        raise AgentError("shape", "input %r has the shape %s, which --shape %s=%s does not fit" % words)
    return list(given)


def filled(entry: Any, shape: List[int], id_limit: int, random: Any) -> Any:
    """Values a model of this kind could get: what matters for time is their shape, and that they are no denormals."""
    np = module("numpy")
    name = entry.name.lower()
    if entry.type in FLOATS:
        return random.standard_normal(shape).astype(FLOATS[entry.type])
    if entry.type == "tensor(bool)" or (entry.type in INTEGERS and "mask" in name):
        return np.ones(shape, dtype=DTYPES[entry.type])
    if entry.type not in INTEGERS:
        raise AgentError("input", "input %r has the type %s, which edgekd cannot fill" % (entry.name, entry.type))
    if "token_type" in name or "position" in name:
        return np.zeros(shape, dtype=INTEGERS[entry.type])
    high = min(id_limit, int(np.iinfo(INTEGERS[entry.type]).max))
    return random.integers(0, high, size=shape).astype(INTEGERS[entry.type])


def stored_inputs(path: Optional[str], entries: List[Any]) -> Dict[str, Any]:
    """The arrays of the user's .npz, checked against what the model takes."""
    if path is None:
        return {}
    np = module("numpy")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise AgentError("input", "the input data are no .npz of plain arrays (%s)" % first_line(error)) from None
    types = {entry.name: entry.type for entry in entries}
    for name, array in arrays.items():
        if name not in types:
            raise AgentError("input", "the input data hold %r, the model takes %s" % (name, ", ".join(sorted(types))))
        if DTYPES.get(types[name]) != str(array.dtype):
            said = "the input data give %r as %s, the model takes %s" % (name, array.dtype, types[name])
            raise AgentError("input", said)
    return arrays


def make_feeds(session: Any, spec: Dict[str, Any], stored: Optional[str]) -> Dict[str, Any]:
    """One array for each input of the model."""
    np = module("numpy")
    entries = session.get_inputs()
    unknown = sorted(set(spec["shapes"]) - {entry.name for entry in entries})
    if unknown:
        words = (", ".join(map(repr, unknown)), ", ".join(entry.name for entry in entries))
        raise AgentError("shape", "--shape names %s, the model's inputs are %s" % words)
    arrays = stored_inputs(stored, entries)
    random = np.random.default_rng(spec["seed"])
    for entry in entries:
        if entry.name not in arrays:
            arrays[entry.name] = filled(entry, shape_of(entry, spec), spec["id_limit"], random)
    return arrays
