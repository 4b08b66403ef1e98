"""The board that a recipe or a command names, in the user's words; nothing here looks whether there is such a board."""

from __future__ import annotations

from typing import Any

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from edgekd.config import Model


class HostChoice(Model):
    """The board: `url` is local, ssh://USER@HOST:PORT, adb:SERIAL or a name of hosts.yaml; alone it may stand for all.

    `key` is the private key file and `python` the interpreter there; both go before what hosts.yaml says. `hosts` is
    another hosts.yaml than the user's own.
    """

    url: str = "local"
    key: str | None = None
    python: str | None = None
    known_hosts: str | None = None
    hosts: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _url_alone(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Either form, for editors."""
        return {"anyOf": [{"type": "string"}, handler(core)]}
