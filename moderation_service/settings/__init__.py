"""One frozen settings tree, read from arguments, the environment, mounted secrets and a TOML file."""

from moderation_service.settings.audit import AuditSettings
from moderation_service.settings.engine import DEMO_CALIBRATIONS, DEMO_MODEL, EngineSettings, LayoutName
from moderation_service.settings.kafka import KafkaSettings
from moderation_service.settings.section import MIB, PACKAGE, IPAddress, IPNetwork
from moderation_service.settings.sections import (
    BankSettings,
    ChildSafetySettings,
    ConsoleSettings,
    GoldenSettings,
    JudgingSettings,
    LoggingSettings,
    MediaSettings,
    OpsSettings,
    PolicySettings,
    shipped_policies,
)
from moderation_service.settings.sources import PREFIX
from moderation_service.settings.tree import BareSettings, Settings, load_settings

__all__ = [
    "DEMO_CALIBRATIONS",
    "DEMO_MODEL",
    "MIB",
    "PACKAGE",
    "PREFIX",
    "AuditSettings",
    "BankSettings",
    "BareSettings",
    "ChildSafetySettings",
    "ConsoleSettings",
    "EngineSettings",
    "GoldenSettings",
    "IPAddress",
    "IPNetwork",
    "JudgingSettings",
    "KafkaSettings",
    "LayoutName",
    "LoggingSettings",
    "MediaSettings",
    "OpsSettings",
    "PolicySettings",
    "Settings",
    "load_settings",
    "shipped_policies",
]
