"""Each command, as a process: what it prints, where, and how it exits."""

import asyncio
import json
import os
import pty
import re
import signal
from asyncio.subprocess import PIPE
from pathlib import Path

import numpy as np
import pytest

from moderation_service.contracts.schemas import CONTRACTS, json_schema
from moderation_service.contracts.verdict import Verdict
from moderation_service.demo.images import render
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from moderation_service.settings import shipped_policies
from tests.line.service import PYTHON, environment, kafka_settings, moderation, worker
from tests.line.traffic import found

NOWHERE = "127.0.0.1:1"


def one_line(err: str) -> str:
    """The last line, which is the command's; nothing above it may be a stack trace."""
    assert "Traceback" not in err, err
    return err.strip().splitlines()[-1]


@pytest.mark.parametrize("contract", CONTRACTS)
async def test_schema_prints_a_contracts_schema(contract: str) -> None:
    assert await moderation("schema", contract) == (0, json_schema(contract), "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("schema", "toast"), "schema toast: no such contract; one of post, verdict, review, dead-letter"),
        (("fly",), "fly"),
        (("run", "--wings"), "--wings"),
        (("run", "--settings", "/no/such.toml"), "/no/such.toml: no such file"),
        (("judge", "/no/such/posts"), "/no/such/posts: no such file or folder"),
        (("policies", "check", "/no/such/folder"), "/no/such/folder"),
        (("policies", "test", "--junit", "/no/such/cases.xml"), "/no/such/cases.xml"),
    ],
)
async def test_wrong_usage_is_one_line_and_exit_code_2(arguments: tuple[str, ...], says: str) -> None:
    code, out, err = await moderation(*arguments)
    assert (code, out) == (2, "")
    assert one_line(err).startswith("moderation: ")
    assert says in one_line(err)


async def test_a_wrong_setting_is_one_line_and_exit_code_2() -> None:
    code, _, err = await moderation("run", env=environment(MODERATION_KAFKA__GROPU="x"))
    assert code == 2
    assert "MODERATION_KAFKA__GROPU (settings kafka.gropu): unknown setting" in one_line(err)


async def test_a_wrong_policy_is_refused_with_file_line_and_field_and_exit_code_2(tmp_path: Path) -> None:
    source = (shipped_policies() / "doxxing.yaml").read_text(encoding="utf-8")
    (tmp_path / "doxxing.yaml").write_text(source.replace("severity: ", "severity: 1"), encoding="utf-8")
    code, _, err = await moderation("run", env=environment(MODERATION_POLICIES__PATH=str(tmp_path)))
    assert code == 2
    line = source[: source.index("severity: ")].count("\n") + 1
    assert f"doxxing.yaml:{line}: severity" in one_line(err)


async def test_an_unreachable_broker_is_one_line_and_exit_code_3() -> None:
    code, _, err = await moderation(
        "publish", str(Path(__file__).parent / "posts.jsonl"), "--bootstrap-servers", NOWHERE
    )
    assert code == 3
    assert NOWHERE in one_line(err)


async def test_a_missing_model_folder_is_one_line_and_exit_code_3() -> None:
    posts = str(Path(__file__).parent / "posts.jsonl")
    code, _, err = await moderation("judge", posts, env=environment(MODERATION_ENGINE__MODEL="/no/such/model"))
    assert code == 3
    assert "/no/such/model" in one_line(err)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        (
            {"MODERATION_ENGINE__LAYOUT": "policies_first", "MODERATION_ENGINE__PROMPT": "full"},
            "engine.max_context_tokens: the policies alone take",
        ),
        ({"MODERATION_JUDGING__CALIBRATION": "/no/such.json"}, "/no/such.json: No such file or directory"),
        ({"MODERATION_ENGINE__KIND": "openai"}, "kind openai needs base_url"),
        ({"MODERATION_GOLDEN__REQUIRED": "release"}, "golden.required: release has no pass in"),
        ({"MODERATION_POLICIES__SHADOW_PATH": "/no/such"}, "/no/such: policies.shadow_path: is not a folder"),
        ({"MODERATION_POLICIES__RELOAD_SECONDS": "-1"}, "MODERATION_POLICIES__RELOAD_SECONDS"),
    ],
)
async def test_what_could_not_judge_any_post_is_refused_at_the_start(env: dict[str, str], says: str) -> None:
    code, _, err = await moderation("run", env=environment(**env))
    assert code == 2
    assert says in one_line(err)


async def test_a_pack_that_enforces_nothing_is_refused(tmp_path: Path) -> None:
    text = (shipped_policies() / "doxxing.yaml").read_text(encoding="utf-8")
    (tmp_path / "doxxing.yaml").write_text(text.replace("mode: enforce", "mode: shadow"), encoding="utf-8")
    code, _, err = await moderation("run", env=environment(MODERATION_POLICIES__PATH=str(tmp_path)))
    assert code == 2
    assert "no policy has mode enforce" in one_line(err)


async def test_policies_test_names_the_folder_that_enforces_nothing(tmp_path: Path) -> None:
    head, _ = (shipped_policies() / "doxxing.yaml").read_text(encoding="utf-8").split("\ncases:")
    (tmp_path / "doxxing.yaml").write_text(head.replace("mode: enforce", "mode: shadow"), encoding="utf-8")
    code, _, err = await moderation("policies", "test", str(tmp_path))
    assert code == 2
    assert f"{tmp_path}: no policy has mode enforce" in one_line(err)


async def test_a_calibration_of_policies_that_are_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    entry = {"method": "platt", "slope": 1, "intercept": 0}
    path.write_text(json.dumps({"schema_version": "1", "policies": {"toast": entry}}), encoding="utf-8")
    code, _, err = await moderation("run", env=environment(MODERATION_JUDGING__CALIBRATION=str(path)))
    assert code == 2
    assert "toast" in one_line(err)


async def test_sigterm_while_the_model_loads_ends_at_once_with_0() -> None:
    async with worker(environment()) as running:
        await running.logged("ops port open")
        assert await asyncio.wait_for(running.stop(), timeout=10) == 0


async def test_an_address_that_is_none_is_one_line() -> None:
    code, _, err = await moderation("verdicts", "--bootstrap-servers", "kafka:abc")
    assert code == 2
    assert "kafka:abc" in one_line(err)


async def test_a_reader_that_goes_away_is_no_error() -> None:
    shell = f"{PYTHON} -m moderation_service policies show | head -c 10"
    process = await asyncio.create_subprocess_shell(
        f"set -o pipefail; {shell}", env=environment(), stdout=PIPE, stderr=PIPE, executable="/bin/bash"
    )
    out, err = await process.communicate()
    assert (process.returncode, len(out), err) == (0, 10, b"")


@pytest.mark.parametrize("out", ["no/such/folder/v.jsonl", "."])
async def test_judge_says_where_it_can_not_write(tmp_path: Path, out: str) -> None:
    (tmp_path / "posts.jsonl").write_text('{"post_id": "a", "text": "x"}\n', encoding="utf-8")
    code, _, err = await moderation("judge", str(tmp_path / "posts.jsonl"), "-o", str(tmp_path / out))
    assert code == 2
    assert str(tmp_path) in one_line(err)


async def test_policies_check_and_show_name_the_digests() -> None:
    code, out, _ = await moderation("policies", "check")
    assert (code, out.split(" policies")[0]) == (0, "8")
    code, out, _ = await moderation("policies", "show")
    shown = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {policy["id"] for policy in shown} == {path.stem for path in shipped_policies().glob("*.yaml")}
    assert all(policy["digest"].startswith("sha256:") for policy in shown)


async def test_policies_check_tells_what_is_covered_and_what_only_people_block() -> None:
    code, out, _ = await moderation("policies", "check", "--coverage")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert "blocked by people alone, never by machine: weapon_display" in out
    assert ["│", "openai", "│", "illicit/violent", "│", "weapon_sale", "│"] in lines
    assert ["│", "ailuminate", "│", "sexual_content", "│", "no", "policy", "│"] in lines


async def test_policies_copy_takes_a_whole_pack_and_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    assert await moderation("policies", "copy", "starter", str(target)) == (0, f"{target}: 8 policies\n", "")
    assert (target / "images").is_dir()
    assert "$schema=policy.schema.json\n" in (target / "doxxing.yaml").read_text(encoding="utf-8")
    assert (target / "policy.schema.json").is_file()
    code, _, err = await moderation("policies", "copy", "starter", str(target))
    assert code == 2
    assert "exists; name a folder that does not" in err
    code, _, err = await moderation("policies", "copy", "strater", str(tmp_path / "other"))
    assert code == 2
    assert "should be one of standard, starter" in err


async def test_policies_schema_is_the_committed_one() -> None:
    committed = (shipped_policies().parent / "policy.schema.json").read_text(encoding="utf-8")
    assert await moderation("policies", "schema") == (0, committed, "")


async def test_policies_test_runs_the_cases_and_exits_1_where_one_differs(tmp_path: Path) -> None:
    text = (shipped_policies() / "doxxing.yaml").read_text(encoding="utf-8")
    head, _ = text.split("\ncases:")
    case = "\ncases:\n- {name: a lie, text: What a lovely evening by the river, language: en, expect: block}\n"
    (tmp_path / "doxxing.yaml").write_text(head + case, encoding="utf-8")
    junit = tmp_path / "cases.xml"
    code, out, _ = await moderation("policies", "test", str(tmp_path), "--junit", str(junit))
    assert code == 1
    assert "0 of 1 cases as expected" in out
    assert '<testsuite name="doxxing" tests="1" failures="1" errors="0">' in junit.read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fifty images with texts."""
    made, rng = tmp_path / "posts", np.random.default_rng(3)
    made.mkdir()
    for number in range(50):
        render("animal" if number % 2 else "weapon", rng, size=(112, 112)).save(made / f"post {number:02d}.png")
        (made / f"post {number:02d}.txt").write_text(f"Look at number {number}", encoding="utf-8")
    return made


async def test_judge_shows_progress_is_interrupted_and_goes_on_with_each_verdict_once(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts.jsonl"
    command = (PYTHON, "-m", "moderation_service", "judge", str(folder), "-o", str(out))
    parent, child = pty.openpty()
    process = await asyncio.create_subprocess_exec(*command, env=environment(), stderr=child)
    os.close(child)
    shown = asyncio.create_task(asyncio.to_thread(_all, parent))  # a terminal that nobody reads would fill up
    while not out.exists() or out.read_bytes().count(b"\n") < 5:  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    said = await shown
    assert "/50" in said
    assert "moderation: interrupted" in said

    done = out.read_bytes()
    assert 5 <= done.count(b"\n") < 50
    out.write_bytes(done + b'{"schema_version":"1","verdict_id":"torn')
    code, printed, err = await moderation("judge", str(folder), "-o", str(out))
    assert (code, printed) == (0, "")
    assert f"{len(done.splitlines())} of 50 posts have their verdict already" in err
    verdicts = [Verdict.model_validate_json(line) for line in out.read_bytes().splitlines()]
    assert sorted(verdict.post_id for verdict in verdicts) == [f"post {number:02d}" for number in range(50)]
    assert all(image.status == "judged" for verdict in verdicts for image in verdict.content.images)


def _all(terminal: int) -> str:
    read = b""
    try:
        while chunk := os.read(terminal, 65536):
            read += chunk
    except OSError:  # Linux says that the other end is closed by an error
        pass
    os.close(terminal)
    return read.decode(errors="replace")


async def test_judge_names_the_rows_that_are_no_posts_and_judges_the_rest(tmp_path: Path) -> None:
    posts = tmp_path / "posts.jsonl"
    posts.write_text('{"post_id": "a", "text": "hello"}\n{"post_id": "b"}\nnonsense\n', encoding="utf-8")
    code, out, err = await moderation("judge", str(posts))
    assert code == 1
    assert [json.loads(line)["post_id"] for line in out.splitlines()] == ["a"]
    assert f"left out: {posts}:2: one of text and images is required" in err.replace("post: ", "")
    assert f"left out: {posts}:3: the value is not JSON" in err


async def test_posts_are_published_judged_and_their_verdicts_printed(kafka: str, tmp_path: Path) -> None:
    settings = kafka_settings(kafka)
    env = environment(settings)
    code, out, _ = await moderation("topics", "create", "--partitions", "2", "--replication", "1", env=env)
    assert (code, out.count("created")) == (0, 7)
    assert await moderation("topics", "check", env=env) == (0, "the topics are as they should be\n", "")

    posts = tmp_path / "posts.csv"
    rows = ["post_id,text,images", "a,hello,", "b,two pictures,one.png|one.png", "c,gone,none.png"]
    posts.write_text("\n".join([*rows, "d,large," + "|".join(["large.png"] * 4)]), encoding="utf-8")
    (tmp_path / "large.png").write_bytes(b"x" * 2_000_000)
    render("animal", np.random.default_rng(1)).save(tmp_path / "one.png")
    code, _, err = await moderation("publish", str(posts), env=env)
    assert code == 1
    assert "left out: c: none.png" in err
    assert re.search(r"left out: d: \d+ bytes, over kafka.max_message_bytes", err)
    assert "published 2 posts" in err
    async with worker(env) as running:
        await running.logged('"message": "post"', times=2)
        assert await running.stop() == 0
    code, out, _ = await moderation("verdicts", env=env)
    verdicts = {verdict["post_id"]: verdict for verdict in map(json.loads, out.splitlines())}
    assert (code, verdicts.keys()) == (0, {"a", "b"})
    assert [image["status"] for image in verdicts["b"]["content"]["images"]] == ["judged", "judged"]


async def test_topics_check_says_what_differs_and_exits_1(kafka: str) -> None:
    settings = kafka_settings(kafka)
    code, out, _ = await moderation("topics", "check", env=environment(settings))
    assert code == 1
    assert f"{settings.input_topic}: missing" in out


async def test_a_post_of_the_wrong_schema_becomes_a_dead_letter_with_its_reason(kafka: str) -> None:
    settings = kafka_settings(kafka)
    await create(settings, partitions=1, replication=1)
    await publish(settings, [Record(settings.input_topic, b"k", b'{"post_id": "k", "text": 5}')])
    async with worker(environment(settings)) as running:
        await running.logged("wrong_schema")
        assert await running.stop() == 0
    assert (await found(settings)).dead_letters == {b"k": 1}
    assert not [line for line in running.lines if "Traceback" in line]


async def test_evaluate_prints_figures_and_writes_a_report(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    code, out, err = await moderation("evaluate", "bundled", "--scale", "0.01", "--report", str(report))
    assert code == 0, err
    figures = json.loads(out)
    assert figures["combined"]["f1"] > figures["combined"]["baselines"]["either"]["f1"]
    assert "<html" in report.read_text(encoding="utf-8")


async def test_evaluate_measures_attribution_by_vlsus_labels_and_names_rows_that_are_left_out(tmp_path: Path) -> None:
    pairs = [
        ("weapon", "Lightly used, DM me", "safe,safe,unsafe"),
        ("neutral", "Lightly used, DM me", "safe,safe,safe"),
        ("weapon", "My new bike", "unsafe,safe,safe"),
    ]
    (tmp_path / "images").mkdir()
    sheet = ["uuid,web_path,prompt,image_grade,consensus_text_grade,consensus_combined_grade"]
    for number, (shown, text, grades) in enumerate(pairs):
        render(shown, np.random.default_rng(number)).save(tmp_path / "images" / f"{number}.png")
        sheet.append(f'{number},https://images.example/{number}.png,"{text}",{grades}')
    (tmp_path / "VLSU.csv").write_text("\n".join([*sheet, "9,x,y,safe,safe,unsafe"]), encoding="utf-8")
    code, out, err = await moderation(
        "evaluate", str(tmp_path / "VLSU.csv"), "--layout-of", "vlsu", "--policy", "weapon_sale"
    )
    assert code == 1, err
    assert f"left out: {tmp_path / 'VLSU.csv'}:5: image images/9: no such file" in err
    figures = json.loads(out)
    assert figures["data"]["left_out"] == 1
    attribution = figures["attribution"]
    assert {name: count for name, count in attribution["cases"].items() if count} == {
        "combined": 1,
        "context_mitigated": 1,
        "none": 1,
    }
    assert attribution["f1"]["combined"] == 1.0
    assert attribution["macro_f1"] == pytest.approx(sum(attribution["f1"].values()) / 3, abs=1e-3)


async def test_calibrate_refuses_too_few_labels_and_writes_nothing(tmp_path: Path) -> None:
    labelled, out = tmp_path / "labelled.jsonl", tmp_path / "calibration.json"
    labelled.write_text(json.dumps({"post_id": "a", "text": "hello", "labels": {"doxxing": False}}), encoding="utf-8")
    code, printed, err = await moderation("calibrate", str(labelled), "-o", str(out))
    assert (code, printed) == (1, "")
    assert "doxxing" in err
    assert not out.exists()


async def test_calibrate_takes_one_target_at_a_time(tmp_path: Path) -> None:
    code, _, err = await moderation("calibrate", "bundled", "-o", "x", "--recall", "0.9", "--precision", "0.9")
    assert code == 2
    assert "one target at a time" in one_line(err)


async def test_a_calibration_of_another_model_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    fitted_on = {
        "model": "other",
        "revision": "sha256:other",
        "prompt_digest": "p",
        "data": "d",
        "data_digest": f"sha256:{'0' * 64}",
        "posts": 1,
        "target": "none",
    }
    path.write_text(json.dumps({"fitted_on": fitted_on, "policies": {}}), encoding="utf-8")
    code, _, err = await moderation("run", env=environment(MODERATION_JUDGING__CALIBRATION=str(path)))
    assert code == 2
    assert f"judging.calibration {path}: was fitted on model revision sha256:other, and this is" in one_line(err)
