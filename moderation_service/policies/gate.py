"""Promotion gate: passes of golden sets, a line each in a file beside the policies, and the check before these judge.

A pass holds for one policy set under one model with its prompt, adapter and calibration. The file is not signed:
whoever may write there may change the policies too.
"""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from moderation_service.contracts.base import Contract, Digest, Identifier, Moment, fault_of, validate_json
from moderation_service.contracts.verdict import Model, Probability
from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings

FILE = "golden-passes.jsonl"


class GatePass(Contract):
    """That a golden set (of content `data`) lost no more than `margin`, and what judged it."""

    schema_version: Literal["1"] = "1"
    golden_set: Identifier
    data: Digest
    margin: Probability
    policy_set_digest: Digest
    model: Model
    passed_at: Moment


def record_pass(policies: Path, gate_pass: GatePass) -> Path:
    """Append a pass to the file beside the policies, and give the file."""
    file = _file_beside(policies)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(gate_pass.model_dump_json() + "\n")
    return file


def check_gates(settings: Settings, pack: PolicyPack, model: Model) -> None:
    """Raise Misconfigured where a set of `golden.required` has no pass by these policies and this model. Blocks.

    A pass counts whose margin is at most `golden.margin`.
    """
    required, path = settings.golden.required, settings.policies.path
    if not required:
        return
    passes = [one for one in _read(_file_beside(path)) if one.margin <= settings.golden.margin]
    held = {one.golden_set for one in passes if (one.policy_set_digest, one.model) == (pack.digest, model)}
    if missing := sorted(required - held):
        msg = (
            f"golden.required: {', '.join(missing)} has no pass in {_file_beside(path)} for policies {pack.digest} and"
            f" model {model.name}, revision {model.revision}, calibration {model.calibration_id}; run"
            f" `moderation golden check {missing[0]} --policies {path} --record` with these settings"
        )
        raise Misconfigured(msg)


def _file_beside(policies: Path) -> Path:
    return (policies if policies.is_dir() else policies.parent) / FILE


def _read(file: Path) -> list[GatePass]:
    """The passes of a file; none where there is no file. Raises Misconfigured naming a wrong line."""
    passes = []
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    for number, line in enumerate(lines, start=1):
        try:
            passes.append(validate_json(GatePass, line))
        except ValidationError as error:
            msg = f"{file}:{number}: {fault_of(error)}; remove that line"
            raise Misconfigured(msg) from error
    return passes
