"""Settings source: the environment, with mounted secrets."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import get_origin

from pydantic_settings import EnvSettingsSource

from moderation_service.encodings import decode
from moderation_service.errors import Misconfigured

PREFIX = "MODERATION_"


class EnvironmentSource(EnvSettingsSource):
    """The environment, with each mounted secret `NAME_FILE` read into `NAME`, and no unknown section let by."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        names = {name: value for name, value in super()._load_env_vars().items() if name.startswith(PREFIX.lower())}
        for name in [name for name in names if name.endswith("_file") and not self._is_field(name)]:
            path, target = names.pop(name), name.removesuffix("_file")
            if target in names:
                msg = f"{name.upper()} and {target.upper()} are both set; keep one"
                raise Misconfigured(msg)
            try:
                names[target] = decode(Path(path or "").read_bytes()).strip()
            except OSError as error:
                msg = f"{name.upper()}: cannot read {path} ({error.strerror}); it should name a readable file"
                raise Misconfigured(msg) from error
            except ValueError as error:
                msg = f"{name.upper()}: {path} {error}"
                raise Misconfigured(msg) from error
        for name in names:
            section = name.removeprefix(PREFIX.lower()).partition("__")[0]
            if section not in self.settings_cls.model_fields:
                msg = f"{name.upper()}: unknown section {section!r}; one of {', '.join(self.settings_cls.model_fields)}"
                raise Misconfigured(msg)
        return {name: self._as_json(name, value) for name, value in names.items()}

    def _as_json(self, name: str, value: str | None) -> str | None:
        """A list with commas as the JSON that is read. Raises Misconfigured where it should be JSON, and is none."""
        section, _, field = name.removeprefix(PREFIX.lower()).partition("__")
        info = getattr(self.settings_cls.model_fields[section].annotation, "model_fields", {}).get(field)
        kind = get_origin(info.annotation) if info else None
        if value is None or (field and kind not in {frozenset, dict}):
            return value
        if kind is frozenset and not value.lstrip().startswith("["):
            return json.dumps([part.strip() for part in value.split(",") if part.strip()])
        try:
            json.loads(value)
        except ValueError:
            right = 'A,B or ["A", "B"]' if kind is frozenset else 'a table in JSON, such as {"0": 1500}'
            if not field:
                right = f"a table in JSON; or set its fields, as {name.upper()}__FIELD"
            msg = f"{name.upper()} (settings {'.'.join(filter(None, (section, field)))}): should be {right}"
            raise Misconfigured(msg) from None
        return value

    def _is_field(self, name: str) -> bool:
        section, _, field = name.removeprefix(PREFIX.lower()).partition("__")
        info = self.settings_cls.model_fields.get(section)
        return info is not None and field in getattr(info.annotation, "model_fields", {})
