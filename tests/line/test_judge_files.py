"""`moderation judge` on files and folders as they come: each post is judged or named, and nothing stops the others."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from moderation_service.cli import cli
from moderation_service.cli.judge import judge_path
from moderation_service.demo.images import render
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.settings import Settings


def decisions(out: Path) -> dict[str, str]:
    verdicts = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    return {verdict["post_id"]: verdict["decision"] for verdict in verdicts}


@pytest.fixture
def knife(tmp_path: Path) -> bytes:
    render("weapon", np.random.default_rng(3)).save(tmp_path / "made.png")
    made = (tmp_path / "made.png").read_bytes()
    (tmp_path / "made.png").unlink()
    return made


async def test_every_file_of_a_folder_is_judged_abstained_on_or_named(
    tmp_path: Path, knife: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    (folder / "x.jpg").mkdir(parents=True)
    for name in ("KNIFE.JPG", "disguised.heic"):
        (folder / name).write_bytes(knife)
    for name in ("KNIFE.TXT", "disguised.txt", "unreadable.txt"):
        (folder / name).write_text("Lightly used, DM me for the price")
    (folder / "unreadable.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (folder / "._KNIFE.JPG").write_bytes(b"\0\5\x16\7")
    (folder / "gone.txt").symlink_to("/nowhere/gone.txt")
    out = tmp_path / "v.jsonl"
    assert await judge_path(Settings(), folder, out) == 2
    assert decisions(out) == {"KNIFE": "block", "disguised": "block", "unreadable": "abstain"}
    said = capsys.readouterr().err
    assert "3 judged: 2 block, 1 abstain" in said
    assert f"left out: {folder}/gone.txt: is a link to nothing" in said
    assert f"left out: {folder}/x.jpg: is a folder" in said
    assert f"not read: {folder}/._KNIFE.JPG: a file of the system's" in said


async def test_the_same_id_with_other_words_is_named_and_the_same_post_again_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    posts, out = tmp_path / "p.csv", tmp_path / "v.jsonl"
    posts.write_text("post_id,text,likes\na,hello,1\na,hello,2\na,I will find you,3\nb,good morning,4\n")
    assert await judge_path(Settings(), posts, out) == 1
    said = capsys.readouterr().err
    assert f"left out: {posts}:4: post_id a: {posts}:2 has this id and revision with other content" in said
    assert f"not read: {posts}: the column likes is not read" in said
    assert decisions(out).keys() == {"a", "b"}

    posts.write_text("post_id,text\na,hello\nb,something else\n")
    assert await judge_path(Settings(), posts, out) == 1
    assert "left out: post_id b: its verdict is on other words" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 2


async def test_verdicts_go_through_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"post_id": "a", "text": "hello"}\n')
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    assert await judge_path(Settings(), tmp_path / "p.jsonl", tmp_path / "pipe") == 0
    reader.join()
    assert json.loads(read[0])["post_id"] == "a"


async def test_a_full_disk_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"post_id": "a", "text": "hello"}\n')
    with pytest.raises(Fatal, match="/dev/full: a verdict could not be written") as stopped:
        await judge_path(Settings(), tmp_path / "p.jsonl", Path("/dev/full"))
    assert stopped.value.exit_code == 3


async def test_a_file_without_posts_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.csv").write_text("post_id,text\n")
    assert await judge_path(Settings(), tmp_path / "p.csv", None) == 0
    assert f"{tmp_path}/p.csv: holds no posts" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["judge", "p.jsonl", "-o", "OUT"],
        ["evaluate", "p.jsonl", "--report", "OUT"],
        ["calibrate", "p.jsonl", "-o", "OUT"],
        ["policies", "test", "--junit", "OUT"],
        ["demo", "--report", "OUT"],
    ],
)
@pytest.mark.parametrize(("out", "says"), [("missing/c.json", "there is no folder"), (".", "is a folder")])
def test_where_a_command_writes_is_checked_before_it_works(
    tmp_path: Path, command: list[str], out: str, says: str
) -> None:
    asked = [str(tmp_path / out) if part == "OUT" else part for part in command]
    with pytest.raises(Misconfigured, match=says):
        cli(asked, exit_on_error=False, print_error=False)
