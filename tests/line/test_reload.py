"""Policies changed under a running service: a mounted ConfigMap is swapped, the bundled model judges."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from moderation_service.app.compose import open_judge
from moderation_service.app.reload import reloading
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Transient
from moderation_service.judging.judge import Judge
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from moderation_service.policies.gate import GatePass
from moderation_service.policies.pack import PolicyPack, load_pack, load_packs
from moderation_service.settings import (
    EngineSettings,
    GoldenSettings,
    JudgingSettings,
    PolicySettings,
    Settings,
    shipped_policies,
)
from tests.line.service import environment, kafka_settings, moderation, worker
from tests.line.traffic import found
from tests.policies.mounted import ConfigMap
from tests.stream.support import eventually

SHIPPED = {file.name: file.read_text(encoding="utf-8") for file in shipped_policies().glob("*.yaml")}
JUDGED, TAKEN, REFUSED, AS_BEFORE = '"message": "post"', "policies taken", "policies refused", "policies unchanged"
EVERY_S = 0.05
PART = 60
POST = Post(post_id="p", text="Meet me behind the school")


def with_threshold(value: float) -> dict[str, str]:
    """The shipped files with another threshold in one of them."""
    changed, count = re.subn(r"review: [\d.]+", f"review: {value}", SHIPPED["doxxing.yaml"])
    assert count == 1
    return {**SHIPPED, "doxxing.yaml": changed}


BROKEN = with_threshold(7)


@dataclass
class Reloads:
    """A judge whose policies are followed: what was taken, what was said, and how often each was counted."""

    judge: Judge
    taken: list[Judge]
    logged: list[Any]

    def events(self) -> list[str]:
        return [line["event"] for line in self.logged]

    def refusals(self) -> list[str]:
        return [line["error"] for line in self.logged if line["event"].startswith(REFUSED)]

    async def refused(self, times: int = 1) -> str:
        await eventually(lambda: len(self.refusals()) >= times, f"{times} refusals")
        return self.refusals()[times - 1]

    async def took(self, times: int = 1) -> Judge:
        await eventually(lambda: len(self.taken) >= times, f"{times} changes taken")
        return self.taken[times - 1]


def reloads(outcome: str) -> float:
    return REGISTRY.get_sample_value("moderation_policy_reloads_total", {"outcome": outcome}) or 0.0


@pytest.fixture
def mounted(tmp_path: Path) -> ConfigMap:
    return ConfigMap(tmp_path / "policies", SHIPPED)


@asynccontextmanager
async def followed(policies: PolicySettings, **settings: Any) -> AsyncIterator[Reloads]:
    chosen = Settings(policies=policies, **settings)
    async with open_judge(chosen, *load_packs(policies)) as judge:
        taken: list[Judge] = []
        with capture_logs() as logged:
            async with reloading(chosen, judge, taken.append):
                yield Reloads(judge, taken, logged)


async def digest_by(judge: Judge) -> str:
    return (await judge.judge(POST, trace_id="0" * 32)).verdict.policy_set_digest


async def test_a_post_in_work_keeps_the_policies_it_began_with_and_the_next_has_the_new_ones(
    mounted: ConfigMap,
) -> None:
    old = load_pack(mounted.path, images=False).digest
    before = reloads("taken")
    async with followed(PolicySettings(path=mounted.path, reload_seconds=EVERY_S)) as follow:
        async with follow.judge.load_evidence(POST) as evidence:
            mounted.update(with_threshold(0.61))
            newer = await follow.took()
            in_work = (await follow.judge.judge(POST, trace_id="0" * 32, evidence=evidence)).verdict
        new = load_pack(mounted.path, images=False)
        assert in_work.policy_set_digest == old
        assert {part.digest for part in in_work.policies} <= {policy.digest for policy in follow.judge.pack.policies}
        assert await digest_by(newer) == new.digest != old
        assert reloads("taken") - before == 1
        assert [line["digest"] for line in follow.logged if line["event"] == TAKEN] == [new.digest]


async def test_a_wrong_file_is_refused_by_file_line_and_field_and_the_next_right_one_taken(mounted: ConfigMap) -> None:
    before = reloads("refused")
    line = BROKEN["doxxing.yaml"][: BROKEN["doxxing.yaml"].index("review: 7")].count("\n") + 1
    async with followed(PolicySettings(path=mounted.path, reload_seconds=EVERY_S)) as follow:
        mounted.update(BROKEN)
        assert f"{mounted.path}/doxxing.yaml:{line}: thresholds.review" in await follow.refused()
        assert (follow.taken, reloads("refused") - before) == ([], 1)
        mounted.update(with_threshold(0.61))
        assert (await follow.took()).pack.digest == load_pack(mounted.path, images=False).digest
        assert len(follow.refusals()) == 1


async def test_the_same_policies_mounted_anew_are_no_change(mounted: ConfigMap) -> None:
    async with followed(PolicySettings(path=mounted.path, reload_seconds=EVERY_S)) as follow:
        mounted.update(BROKEN)
        await follow.refused()
        seen = follow.events().count(AS_BEFORE)
        mounted.update(SHIPPED)
        await eventually(lambda: follow.events().count(AS_BEFORE) > seen, "the old files seen again")
        assert follow.taken == []


def calibration_of(policy_id: str, folder: Path) -> Path:
    path = folder / "calibration.json"
    entry = {"method": "platt", "slope": 1, "intercept": 0}
    path.write_text(json.dumps({"schema_version": "1", "policies": {policy_id: entry}}), encoding="utf-8")
    return path


ONE = {"doxxing.yaml": SHIPPED["doxxing.yaml"]}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"doxxing.yaml": ONE["doxxing.yaml"].replace("mode: enforce", "mode: shadow")}, "no policy has mode enforce"),
        (SHIPPED, "engine.max_context_tokens: the policies alone take"),
        ({"violence.yaml": SHIPPED["violence.yaml"]}, "no such policies: doxxing"),
    ],
)
async def test_what_the_start_would_refuse_is_refused(tmp_path: Path, files: dict[str, str], says: str) -> None:
    mounted = ConfigMap(tmp_path / "policies", ONE)
    async with followed(
        PolicySettings(path=mounted.path, reload_seconds=EVERY_S),
        engine=EngineSettings(layout="policies_first", prompt="full", max_context_tokens=1024),
        judging=JudgingSettings(calibration=calibration_of("doxxing", tmp_path)),
    ) as follow:
        mounted.update(files)
        assert says in await follow.refused()
        assert follow.taken == []
        assert await digest_by(follow.judge) == follow.judge.pack.digest


async def test_policies_without_a_pass_of_a_required_golden_set_are_refused_until_it_stands_beside_them(
    mounted: ConfigMap,
) -> None:
    policies = PolicySettings(path=mounted.path, reload_seconds=EVERY_S)
    async with followed(policies, golden=GoldenSettings(required=frozenset({"release"}))) as follow:
        mounted.update(with_threshold(0.61))
        assert "golden.required: release has no pass" in await follow.refused()
        gate_pass = GatePass(
            golden_set="release",
            data="sha256:" + "0" * 64,
            margin=0.02,
            policy_set_digest=load_pack(mounted.path, images=False).digest,
            model=follow.judge.model,
            passed_at=datetime.now(UTC),
        )
        assert follow.taken == []
        mounted.update({**with_threshold(0.61), "golden-passes.jsonl": gate_pass.model_dump_json()})
        assert (await follow.took()).pack.digest == gate_pass.policy_set_digest


async def test_an_engine_that_is_away_is_asked_again_until_the_change_is_taken_and_that_is_said_once(
    mounted: ConfigMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with followed(PolicySettings(path=mounted.path, reload_seconds=EVERY_S)) as follow:
        prepare, failures = follow.judge._engine.prepare, [Transient("engine_away", "away")] * 2

        async def away_at_first(questionnaire: Any) -> None:
            if failures:
                raise failures.pop()
            await prepare(questionnaire)

        monkeypatch.setattr(follow.judge._engine, "prepare", away_at_first)
        mounted.update(with_threshold(0.61))
        assert (await follow.took()).pack.digest == load_pack(mounted.path, images=False).digest
        assert (follow.refusals(), failures) == (["Transient('away')"], [])


async def test_a_policy_that_moves_to_the_shadow_pack_waits_for_it_where_the_calibration_names_it(
    tmp_path: Path,
) -> None:
    both = {name: SHIPPED[name] for name in ("doxxing.yaml", "violence.yaml")}
    less = {"violence.yaml": SHIPPED["violence.yaml"]}
    mounted, shadow = ConfigMap(tmp_path / "policies", both), ConfigMap(tmp_path / "shadow", less)
    policies = PolicySettings(path=mounted.path, shadow_path=shadow.path, reload_seconds=EVERY_S)
    async with followed(policies, judging=JudgingSettings(calibration=calibration_of("doxxing", tmp_path))) as follow:
        mounted.update(less)
        assert "no such policies: doxxing" in await follow.refused()
        shadow.update(both)
        judge = await follow.took(2)
        assert (judge.pack, judge.shadow_pack) == load_packs(policies)
        assert len(follow.refusals()) == 1


async def test_a_shadow_pack_is_followed_too_and_a_wrong_one_holds_up_no_enforced_one(
    mounted: ConfigMap, tmp_path: Path
) -> None:
    shadow = ConfigMap(tmp_path / "shadow", with_threshold(0.61))
    policies = PolicySettings(path=mounted.path, shadow_path=shadow.path, reload_seconds=EVERY_S)
    async with followed(policies) as follow:
        shadow.update(BROKEN)
        assert f"{shadow.path}/doxxing.yaml" in await follow.refused()
        mounted.update(with_threshold(0.62))
        one = await follow.took()
        shadow.update(with_threshold(0.63))
        both = await follow.took(2)

        enforced, second = load_packs(policies)
        assert (one.pack, one.shadow_pack) == (enforced, follow.judge.shadow_pack)
        assert (both.pack, both.shadow_pack) == (enforced, second)


async def test_a_shadow_pack_changes_no_score_decision_or_id_that_the_bundled_model_gives(
    mounted: ConfigMap,
) -> None:
    texts = ["Look at this", "I will find you and hurt you", "九成新，价格私聊", "DM me for the price"]
    async with followed(PolicySettings(path=mounted.path, shadow_path=mounted.path, reload_seconds=0)) as follow:
        mounted.update(BROKEN)  # not looked at
        alone = follow.judge.with_policies(follow.judge.pack, None)
        for text in texts:
            post = Post(post_id="p", text=text)
            one, both = [(await judge.judge(post, trace_id="0" * 32)).verdict for judge in (alone, follow.judge)]
            assert (one.verdict_id, one.decision, one.policies) == (both.verdict_id, both.decision, both.policies)
            assert one.shadow == ()
            # the same questions, asked apart: the same scores
            scores = pytest.approx([part.score for part in both.policies], abs=1e-4)
            assert [part.score for part in both.shadow] == scores
        assert (follow.taken, follow.logged) == ([], [])


async def test_judge_asks_the_shadow_pack_too(mounted: ConfigMap, tmp_path: Path) -> None:
    (tmp_path / "posts.jsonl").write_text('{"post_id": "a", "text": "hello"}\n', encoding="utf-8")
    env = environment(MODERATION_POLICIES__SHADOW_PATH=str(mounted.path))
    code, out, _ = await moderation("judge", str(tmp_path / "posts.jsonl"), env=env)
    verdict = Verdict.model_validate_json(out)
    assert code == 0
    assert [part.digest for part in verdict.shadow] == [part.digest for part in verdict.policies]


def posts(topic: str, part: int) -> list[Record]:
    """Posts of one part of the test, told apart by their ids."""
    return [
        Record(topic, post_id.encode(), json.dumps({"post_id": post_id, "text": f"Message {post_id}"}).encode())
        for post_id in (f"{part}-{number}" for number in range(PART))
    ]


async def counted(port: int) -> dict[str, float]:
    """The reloads by outcome, as Prometheus sees them."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        metric = r'moderation_policy_reloads_total{outcome="(\w+)"} (\S+)'
        return {outcome: float(value) for outcome, value in re.findall(metric, await response.text())}


@pytest.mark.timeout(240)
async def test_a_running_service_takes_right_changes_refuses_wrong_ones_and_loses_no_post(
    kafka: str, mounted: ConfigMap
) -> None:
    topics = kafka_settings(kafka)
    await create(topics, partitions=2, replication=1)
    env = environment(
        topics, MODERATION_POLICIES__PATH=str(mounted.path), MODERATION_POLICIES__RELOAD_SECONDS=str(EVERY_S)
    )
    packs = [load_pack(mounted.path, images=False)]
    async with worker(env) as running:

        async def change(files: dict[str, str], event: str, times: int) -> None:
            """Swap the ConfigMap while posts are judged."""
            await running.logged(JUDGED, times=running.count(JUDGED) + 10)
            mounted.update(files)
            await running.logged(event, times)

        await publish(topics, posts(topics.input_topic, 0))
        await change(with_threshold(0.61), TAKEN, 1)
        packs.append(load_pack(mounted.path, images=False))
        await publish(topics, posts(topics.input_topic, 1))
        await change(BROKEN, REFUSED, 1)
        await publish(topics, posts(topics.input_topic, 2))
        await change(with_threshold(0.62), TAKEN, 2)
        packs.append(load_pack(mounted.path, images=False))
        await publish(topics, posts(topics.input_topic, 3))
        await running.logged(JUDGED, times=4 * PART)
        port = next(json.loads(line)["port"] for line in running.lines if "ops port open" in line)
        assert await counted(port) == {"taken": 2, "refused": 1}
        assert await running.stop() == 0
    seen = await found(topics)
    assert seen.verdicts == {f"{part}-{number}".encode(): 1 for part in range(4) for number in range(PART)}
    verdicts = list(map(Verdict.model_validate_json, seen.verdict_values))
    first, second, third, fourth = _packs_of(verdicts, packs)
    assert (second, fourth) == ({1}, {2})
    assert {0} <= first <= {0, 1}
    assert {1} <= third <= {1, 2}
    assert len({verdict.verdict_id for verdict in verdicts}) == 4 * PART


def _packs_of(verdicts: list[Verdict], packs: list[PolicyPack]) -> list[set[int]]:
    """Which of the packs judged each part's posts; a verdict's policies must all be of the pack it names."""
    judged_by: list[set[int]] = [set() for _ in range(4)]
    digests = [pack.digest for pack in packs]
    for verdict in verdicts:
        number = digests.index(verdict.policy_set_digest)
        assert {part.digest for part in verdict.policies} <= {policy.digest for policy in packs[number].policies}
        judged_by[int(verdict.post_id.partition("-")[0])].add(number)
    return judged_by


async def test_a_policy_folder_that_hangs_does_not_hold_up_the_end(kafka: str, tmp_path: Path) -> None:
    topics = kafka_settings(kafka)
    await create(topics, partitions=1, replication=1)
    for name, text in SHIPPED.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    path = {"MODERATION_POLICIES__PATH": str(tmp_path), "MODERATION_POLICIES__RELOAD_SECONDS": str(EVERY_S)}
    async with worker(environment(topics, **path)) as running:
        await running.logged("partition open")
        os.mkfifo(tmp_path / "hangs.yaml")
        writers: list[int] = []

        def read() -> bool:
            with suppress(OSError):  # nobody reads yet
                writers.append(os.open(tmp_path / "hangs.yaml", os.O_WRONLY | os.O_NONBLOCK))
            return bool(writers)

        await eventually(read, "the folder is looked at")
        assert await asyncio.wait_for(running.stop(), timeout=10) == 0
        os.close(writers[0])
