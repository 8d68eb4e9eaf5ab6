"""Base class of the sections, and the constants and types that several of them share."""

import ipaddress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

MIB = 1024 * 1024
PACKAGE = Path(__file__).parents[1]
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Section(BaseModel):
    """A part of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
