"""Which changes of a policy folder are seen, and when."""

import asyncio
from pathlib import Path

import pytest

from moderation_service.errors import Misconfigured
from moderation_service.policies import watch
from moderation_service.policies.pack import PATH, PolicyPack, load_pack
from moderation_service.policies.watch import next_change
from tests.policies.conftest import RIGHT
from tests.policies.mounted import ConfigMap

EVERY_S = 0.01
OTHER = RIGHT.replace("version: 1", "version: 2")
SCHEMA = "policy.schema.json"


@pytest.fixture
def mounted(tmp_path: Path) -> ConfigMap:
    return ConfigMap(tmp_path / "mounted", {"weapon_sale.yaml": RIGHT, SCHEMA: "{}"})


async def seen(path: Path, known: str | None) -> tuple[str, PolicyPack | Misconfigured]:
    return await next_change(path, known, EVERY_S, PATH)


async def test_the_first_look_gives_the_pack_as_it_is(mounted: ConfigMap) -> None:
    _, found = await seen(mounted.path, None)
    assert found == load_pack(mounted.path, images=False)


async def test_a_swapped_configmap_is_seen_once_and_what_is_no_policy_is_not(mounted: ConfigMap) -> None:
    known, before = await seen(mounted.path, None)
    mounted.update({"weapon_sale.yaml": RIGHT, SCHEMA: "[]"})
    waiting = asyncio.create_task(seen(mounted.path, known))
    done, _ = await asyncio.wait({waiting}, timeout=10 * EVERY_S)
    assert not done
    mounted.update({"weapon_sale.yaml": OTHER, SCHEMA: "[]"})
    _, after = await waiting
    assert isinstance(before, PolicyPack)
    assert isinstance(after, PolicyPack)
    assert [policy.version for policy in after.policies] == [2]
    assert after.digest != before.digest


async def test_a_policy_that_comes_or_goes_is_a_change(mounted: ConfigMap) -> None:
    known, _ = await seen(mounted.path, None)
    mounted.update({"weapon_sale.yaml": RIGHT, "knife_sale.yaml": RIGHT.replace("id: weapon_sale", "id: knife_sale")})
    known, more = await seen(mounted.path, known)
    mounted.update({"weapon_sale.yaml": RIGHT})
    _, fewer = await seen(mounted.path, known)
    assert isinstance(more, PolicyPack)
    assert isinstance(fewer, PolicyPack)
    assert [len(more.policies), len(fewer.policies)] == [2, 1]


async def test_a_wrong_file_is_refused_with_its_faults_and_a_right_one_seen_again(mounted: ConfigMap) -> None:
    known, before = await seen(mounted.path, None)
    mounted.update({"weapon_sale.yaml": RIGHT.replace("severity: 4", "severity: 9")})
    known, wrong = await seen(mounted.path, known)
    assert f"{mounted.path}/weapon_sale.yaml:13: severity" in str(wrong)
    mounted.update({"weapon_sale.yaml": RIGHT})
    assert (await seen(mounted.path, known))[1] == before


async def test_a_folder_that_is_gone_or_empty_is_refused_by_the_settings_name(mounted: ConfigMap) -> None:
    known, _ = await seen(mounted.path, None)
    away = mounted.path.rename(mounted.path.with_name("away"))
    known, gone = await next_change(mounted.path, known, EVERY_S, "policies.shadow_path")
    assert str(gone).startswith(f"{mounted.path}: policies.shadow_path: is not a folder")
    away.rename(mounted.path)
    mounted.update({})
    assert "has no policy file" in str((await seen(mounted.path, known))[1])


async def test_what_can_not_be_read_is_refused_and_ends_nothing(mounted: ConfigMap) -> None:
    (mounted.path / "folder.yaml").mkdir()
    assert f"{mounted.path}/folder.yaml:1: file: cannot be read" in str((await seen(mounted.path, None))[1])
    too_long = mounted.path / ("x" * 300)
    _, found = await seen(too_long, None)
    assert isinstance(found, Misconfigured)
    assert str(too_long) in str(found)


async def test_files_that_change_while_they_are_read_are_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, versions = folder / "weapon_sale.yaml", [2, 3, 4]
    load = watch._load

    def load_while_written(path: Path, setting: str) -> PolicyPack | Misconfigured:
        found = load(path, setting)
        if versions:
            file.write_text(RIGHT.replace("version: 1", f"version: {versions.pop(0)}"), encoding="utf-8")
        return found

    monkeypatch.setattr(watch, "_load", load_while_written)
    _, found = await seen(folder, None)
    assert isinstance(found, PolicyPack)
    assert [policy.version for policy in found.policies] == [4]
