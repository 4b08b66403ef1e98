from __future__ import annotations

import inspect
from typing import Any

import pytest

from edgekd.hosts.adb import AdbHost
from edgekd.hosts.base import Host
from edgekd.hosts.fake import FakeHost
from edgekd.hosts.local import LocalHost
from edgekd.hosts.ssh import SshHost


@pytest.mark.parametrize("kind", [LocalHost, SshHost, AdbHost, FakeHost])
@pytest.mark.parametrize("operation", ["run", "put", "write", "read", "remove"])
def test_every_kind_of_host_takes_what_the_protocol_says(kind: Any, operation: str) -> None:
    assert inspect.signature(getattr(kind, operation)) == inspect.signature(getattr(Host, operation))
