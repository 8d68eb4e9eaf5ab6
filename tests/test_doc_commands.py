"""Every shell command on a page: `moderation` takes it, and any other program is one of the list below.

What the tutorials and the README say is run (tests/test_tutorials.py), and so are the examples of the API
(tests/console/api/test_api_doc.py) and Compose's (`make compose-check`). The rest works on data, accounts and machines
of the reader's own.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from moderation_service.cli import cli, with_streams
from tests.test_docs import PAGES, ROOT, every_page

BLOCK = re.compile(r"^ *```(?:sh|bash)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
OPERATORS = {"|", "&&", "||", ";", "&", "(", ")"}
SHELL = {
    ".",
    "[",
    "{",
    "}",
    "cat",
    "cp",
    "do",
    "done",
    "echo",
    "export",
    "for",
    "grep",
    "mkdir",
    "rm",
    "sed",
    "source",
    "tee",
    "tr",
    "umask",
    "unset",
}
OTHERS = {  # and why no test here runs them
    "curl": "calls of a running console; those of the API's page are run",
    "docker": "containers; their commands are run as processes",
    "helm": "a cluster; tests/deploy/test_deploy_doc.py lets it print what it would install",
    "jq": "reads what a command printed",
    "jupyter": "opens the notebook; tests/line/test_notebook.py runs its cells",
    "kafka-configs.sh": "belongs to Kafka, and asks the reader's cluster",
    "kafka-consumer-groups.sh": "belongs to Kafka, and asks the reader's cluster",
    "kind": "a cluster",
    "kubectl": "a cluster; what it applies is rendered and checked in tests/deploy",
    "openssl": "makes a secret",
    "pg_dump": "the reader's database; tests/console/store/test_backup.py runs it on one of its own",
    "pg_restore": "the reader's database; tests/console/store/test_backup.py runs it on one of its own",
    "vllm": "needs weights; tests/engine/vllm_check.py starts it with the bundled ones",
}


@every_page
def test_a_command_on_the_page_is_one_that_the_service_takes(page: Path) -> None:
    for words in commands(page):
        if words[0] == "moderation":
            try:
                cli.parse_args(with_streams(words[1:]), exit_on_error=False, print_error=False)
            except CycloptsError as error:
                pytest.fail(f"{shlex.join(words)}: {error}")


def test_any_other_program_is_known_with_the_reason_why_it_is_not_run() -> None:
    programs = {words[0] for page in PAGES for words in commands(page)}
    own = {name for name in programs if (ROOT / name).is_file()}
    assert programs - own - SHELL - {"moderation", "make", "python", ".venv/bin/python", "uv"} == OTHERS.keys()


def commands(page: Path) -> Iterator[list[str]]:
    """The simple commands of the page's shell blocks, without assignments before them and redirections."""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        lines = re.sub(r"<<'?(\w+)'?.*?^\s*\1$", "", block.replace("\\\n", " "), flags=re.DOTALL | re.MULTILINE)
        words = list[str]()
        for word in [*tokens(lines), ";"]:
            if word not in OPERATORS:
                words += [word] if words or not re.match(r"\w+=", word) else []
            elif words:
                yield words[: next((at for at, one in enumerate(words) if set(one) <= set("<>")), None)]
                words = []


def tokens(lines: str) -> Iterator[str]:
    """Words and operators; the end of a line is an operator, but for one in quotes."""
    pending = ""
    for line in lines.splitlines():
        pending += line
        lexer = shlex.shlex(pending, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            found = list(lexer)
        except ValueError:  # a quote goes on
            pending += "\n"
        else:
            yield from [*found, ";"]
            pending = ""
