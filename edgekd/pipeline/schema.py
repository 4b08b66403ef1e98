"""JSON Schemas of the files that a user writes, so that editors complete and check them."""

from __future__ import annotations

import json

from pydantic import BaseModel

from edgekd.device import DeviceProfile
from edgekd.errors import InputError
from edgekd.hosts.inventory import Inventory
from edgekd.recipe import Recipe
from edgekd.sla import Sla
from edgekd.text import did_you_mean

KINDS: dict[str, type[BaseModel]] = {"recipe": Recipe, "device": DeviceProfile, "sla": Sla, "hosts": Inventory}


def schema_text(kind: str) -> str:
    """The JSON Schema of `kind`: recipe, device, sla or hosts. Errors: InputError for another word."""
    model = KINDS.get(kind)
    if model is None:
        raise InputError(f"{kind}: no such schema, expected recipe, device, sla or hosts.{did_you_mean(kind, KINDS)}")
    table = model.model_json_schema(mode="validation")
    table["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    table["title"] = f"edgekd {kind}"
    return json.dumps(table, indent=1)
