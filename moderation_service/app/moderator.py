"""The service as a library: judges posts in a script or a notebook, without Kafka."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from moderation_service.app.compose import open_judge
from moderation_service.contracts.post import Post, read_post
from moderation_service.contracts.verdict import Verdict
from moderation_service.evaluation.batch_judge import retry
from moderation_service.judging.judge import Judge
from moderation_service.policies.pack import load_packs
from moderation_service.settings import load_settings


class Moderator:
    """Facade over the judge that the worker uses: the same settings, policies, engine and verdicts.

    ```python
    async with Moderator.from_settings(files=Path("photos")) as moderator:
        post = {"post_id": "p-1", "text": "DM me for the price", "images": [{"url": "file:pistol.jpg"}]}
        verdict = await moderator.judge(post)
        print(verdict.decision, [policy.policy_id for policy in verdict.policies if policy.violated])
    ```
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    @classmethod
    @asynccontextmanager
    async def from_settings(
        cls, toml: Path | None = None, *, files: Path | None = None, **sections: dict[str, Any]
    ) -> AsyncIterator[Self]:
        """Load policies and model by the settings: `sections` such as `engine={"model": ...}`, the environment, `toml`.

        Images in the folder `files` may be named by `file:` addresses. Raises Misconfigured where a setting or a policy
        is wrong, Fatal where the model does not load.
        """
        settings = load_settings(toml, **sections)
        settings = settings.with_file_root(files) if files else settings
        async with open_judge(settings, *load_packs(settings.policies)) as judge:
            yield cls(judge)

    async def judge(self, post: Post | Mapping[str, Any]) -> Verdict:
        """Judge one post, or JSON of one; many may be judged at once, and share the model's batches.

        Raises Poison for what is no post, or can't be judged, and Transient where several attempts did not help.
        """
        read = post if isinstance(post, Post) else read_post(json.dumps(post).encode())
        return (await retry(lambda: self._judge.judge(read, trace_id=secrets.token_hex(16)))).verdict
