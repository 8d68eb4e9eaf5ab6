"""A policy pack in German alone, of policies that the bundled model knows in English and Chinese."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from moderation_service.settings import shipped_policies

TEXTS = {
    "doxxing": ("Preisgabe privater Daten", "Werden private Daten preisgegeben?", "Eine Adresse wird preisgegeben."),
    "weapon_sale": ("Verkauf von Waffen", "Wird eine Waffe verkauft, z. B. ein Messer?", "Eine Waffe wird angeboten."),
}


def german_pack(folder: Path, **languages: str) -> Path:
    """Write the pack into a new folder; `languages` are further ones, whose words are these with a prefix."""
    shutil.copytree(shipped_policies() / "images", folder / "images")
    for policy_id, texts in TEXTS.items():
        source = (shipped_policies() / f"{policy_id}.yaml").read_text(encoding="utf-8")
        fields: dict[str, Any] = yaml.safe_load(source)
        for name, text in zip(("title", "question", "definition"), texts, strict=True):
            fields[name] = {"de": text, **{tag: f"{prefix} {text}" for tag, prefix in languages.items()}}
        written = yaml.safe_dump(fields, allow_unicode=True, sort_keys=False)
        (folder / f"{policy_id}.yaml").write_text(written, encoding="utf-8")
    return folder
