"""The settings tree, and how it is loaded.

Sources, strongest first: arguments, environment `MODERATION_<SECTION>__<FIELD>`, the same name with `_FILE` (the path
of a mounted secret), a TOML file. Unknown names are errors.
"""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from moderation_service.errors import Misconfigured
from moderation_service.settings.audit import AuditSettings
from moderation_service.settings.engine import EngineSettings
from moderation_service.settings.kafka import KafkaSettings
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
)
from moderation_service.settings.sources import PREFIX, EnvironmentSource
from moderation_service.settings.toml_file import TomlFile, read_toml


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    engine: EngineSettings = EngineSettings()
    policies: PolicySettings = PolicySettings()
    golden: GoldenSettings = GoldenSettings()
    banks: BankSettings = BankSettings()
    child_safety: ChildSafetySettings = ChildSafetySettings()
    media: MediaSettings = MediaSettings()
    judging: JudgingSettings = JudgingSettings()
    audit: AuditSettings = AuditSettings()
    ops: OpsSettings = OpsSettings()
    console: ConsoleSettings = ConsoleSettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def explanations(self) -> Literal["generate", "template", "never"]:
        """`judging.explain` with `auto` resolved: the bundled model has learnt yes and no alone, any other can talk."""
        if self.judging.explain != "auto":
            return self.judging.explain
        return "template" if self.engine.is_bundled else "generate"

    def with_file_root(self, root: Path) -> Self:
        """The same settings with images under `root` allowed as `file:` addresses."""
        schemes = self.media.allowed_schemes | {"file"}
        media = self.media.model_copy(update={"allowed_schemes": schemes, "file_root": root})
        return self.model_copy(update={"media": media})

    def without_banks(self) -> Self:
        """The same settings without known content, for what tests policies and the model."""
        return self.model_copy(update={"banks": BankSettings()})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment."""
        return init_settings, EnvironmentSource(settings_cls)


def load_settings(toml: Path | None = None, **arguments: dict[str, Any]) -> Settings:
    """Read the whole tree; `arguments` are sections that go before all else.

    Raises Misconfigured with a line a fault: the name as the environment spells it, and what would be right.
    """
    file = read_toml(toml) if toml else None

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *args: PydanticBaseSettingsSource,
            **kwargs: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """Arguments, then the environment, then the TOML file."""
            sources = super().settings_customise_sources(settings_cls, *args, **kwargs)
            return (*sources, InitSettingsSource(settings_cls, file.values)) if file else sources

    try:
        return FromFile(**arguments)  # type: ignore[arg-type]
    except ValidationError as error:
        raise Misconfigured("; ".join(_explain(fault, file) for fault in error.errors())) from error
    except SettingsError as error:
        msg = f"settings: {error}"
        raise Misconfigured(msg) from error


class BareSettings(Settings):
    """The defaults and arguments alone, whatever the environment says: for the demo."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only."""
        return (init_settings,)


def _explain(fault: ErrorDetails, file: TomlFile | None) -> str:
    path = [str(part) for part in fault["loc"]]
    variable = f"{PREFIX}{'__'.join(path).upper()}"
    name = f"{variable} (settings {'.'.join(path)})"
    if file and variable not in os.environ and (place := file.place(path[0], "".join(path[1:2]))):
        name = f"{place}: {name}"
    if fault["type"] == "extra_forbidden":
        section = Settings.model_fields.get(path[0])
        known = getattr(section.annotation if section else Settings, "model_fields", {})
        return f"{name}: unknown setting; known are {', '.join(known)}"
    return f"{name}: {fault['msg'].removeprefix('Value error, ')}"
