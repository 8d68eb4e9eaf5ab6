import os
from pathlib import Path

import pytest

from moderation_service.errors import Misconfigured
from moderation_service.settings import DEMO_MODEL, PREFIX, load_settings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_the_environment_sets_a_field_of_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_KAFKA__GROUP", "night")
    monkeypatch.setenv("MODERATION_MEDIA__ALLOWED_HOSTS", '["cdn.example"]')
    settings = load_settings()
    assert (settings.kafka.group, settings.media.allowed_hosts) == ("night", {"cdn.example"})


def test_arguments_go_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toml = tmp_path / "settings.toml"
    toml.write_text('[kafka]\ngroup = "file"\ninput_topic = "file"\noutput_topic = "file"\n')
    monkeypatch.setenv("MODERATION_KAFKA__GROUP", "environment")
    monkeypatch.setenv("MODERATION_KAFKA__INPUT_TOPIC", "environment")
    kafka = load_settings(toml, kafka={"group": "argument"}).kafka
    assert (kafka.group, kafka.input_topic, kafka.output_topic) == ("argument", "environment", "file")


def test_a_secret_is_read_from_its_mounted_file_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    monkeypatch.setenv("MODERATION_KAFKA__SASL_PASSWORD_FILE", str(secret))
    settings = load_settings()
    assert settings.kafka.sasl_password is not None
    assert settings.kafka.sasl_password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KAFKA__GROPU", "x", "MODERATION_KAFKA__GROPU (settings kafka.gropu): unknown setting; known are"),
        ("KAFAK__GROUP", "x", "MODERATION_KAFAK__GROUP: unknown section 'kafak'; one of kafka, engine"),
        (
            "ENGINE__LAYOUT",
            "sideways",
            "MODERATION_ENGINE__LAYOUT (settings engine.layout): Input should be 'post_first'",
        ),
        ("KAFKA__MAX_MESSAGE_BYTES", "12", "greater than or equal to 65536"),
        ("MEDIA__ALLOWED_HOSTS", "[oops", '(settings media.allowed_hosts): should be A,B or ["A", "B"]'),
        ("MEDIA__ALLOWED_PORTS", "80,https", "MODERATION_MEDIA__ALLOWED_PORTS"),
        (
            "KAFKA__ACKNOWLEDGED_LOSS_OFFSETS",
            "0=5",
            "ACKNOWLEDGED_LOSS_OFFSETS (settings kafka.acknowledged_loss_offsets): should be a table",
        ),
        ("KAFKA", "oops", "set its fields, as MODERATION_KAFKA__FIELD"),
        ("KAFKA__GROUP", " ", "(settings kafka.group): is empty; should name the consumer group"),
        (
            "KAFKA__INPUT_TOPIC",
            "",
            "(settings kafka.input_topic): '' is not a topic; should be 1 to 249 of the letters",
        ),
        ("KAFKA__REVIEW_TOPIC", "a b", "'a b' is not a topic"),
        ("KAFKA__AUDIT_TOPIC", "..", "'..' is not a topic"),
        ("KAFKA__BOOTSTRAP_SERVERS", "a:9092,kafka:abc", "'kafka:abc' is not an address; should be HOST:PORT"),
        ("KAFKA__OUTPUT_TOPIC", "moderation.posts", "each topic needs a name of its own"),
        ("KAFKA__SECURITY_PROTOCOL", "SASL_SSL", "needs sasl_username and sasl_password"),
        ("KAFKA__SASL_PASSWORD_FILE", "/nowhere/at/all", "cannot read /nowhere/at/all (No such file or directory)"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(Misconfigured) as caught:
        load_settings()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["cdn.example, b.example", '["cdn.example", "b.example"]', "cdn.example,b.example,"])
def test_a_list_in_the_environment_has_commas_or_is_json(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MODERATION_MEDIA__ALLOWED_HOSTS", value)
    monkeypatch.setenv("MODERATION_MEDIA__ALLOWED_PORTS", "80, 443")
    media = load_settings().media
    assert (media.allowed_hosts, media.allowed_ports) == ({"cdn.example", "b.example"}, {80, 443})


@pytest.mark.parametrize("content", ["\ufeffhunter2\n".encode(), "hunter2\r\n".encode("utf-16")])
def test_a_secret_is_read_without_a_byte_order_mark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "p").write_bytes(content)
    monkeypatch.setenv("MODERATION_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "p"))
    password = load_settings().kafka.sasl_password
    assert password
    assert password.get_secret_value() == "hunter2"


def test_a_secret_in_another_encoding_is_refused_with_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes("passé".encode("latin-1"))
    monkeypatch.setenv("MODERATION_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "p"))
    with pytest.raises(Misconfigured, match=r"SASL_PASSWORD_FILE: .*/p is not UTF-8, it seems to be WINDOWS-1252"):
        load_settings()


def test_a_secret_set_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("x")
    monkeypatch.setenv("MODERATION_KAFKA__SASL_PASSWORD", "y")
    monkeypatch.setenv("MODERATION_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "p"))
    with pytest.raises(Misconfigured, match="both set"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[kafka", "settings.toml:1: is not TOML: "),
        ("[kafka]\n\ngroup = night\n", "settings.toml:3: is not TOML: Invalid value; words stand in double quotes"),
        ("[kafka]\ngroup = 2\n", "settings.toml:2: MODERATION_KAFKA__GROUP (settings kafka.group): "),
        ("[ops]\nport = 1\n[kafka]\n# group\n gropu = 'x'\n", "settings.toml:5: MODERATION_KAFKA__GROPU"),
        ("kafka.group = 2\n", "settings.toml:1: MODERATION_KAFKA__GROUP"),
        ("kafka = {group = 2}\n", "settings.toml: MODERATION_KAFKA__GROUP"),
        ("[x]\na = 1\n", "unknown"),
        ("# caf\u00e9\n".encode("latin-1"), "settings.toml: is not UTF-8, it seems to be WINDOWS-1252"),
    ],
)
def test_a_wrong_settings_file_is_refused_with_file_and_line(tmp_path: Path, content: str | bytes, says: str) -> None:
    toml = tmp_path / "settings.toml"
    toml.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Misconfigured) as refused:
        load_settings(toml)
    assert says in str(refused.value)


def test_a_settings_file_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_bytes("\ufeff[kafka]\ngroup = 'night'\n".encode())
    assert load_settings(tmp_path / "settings.toml").kafka.group == "night"


def test_a_missing_settings_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no such file"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("model", "explain", "means"),
    [
        (str(DEMO_MODEL), "auto", "template"),
        (f"{DEMO_MODEL}/../{DEMO_MODEL.name}/", "auto", "template"),
        ("zai-org/GLM-4.6V-Flash", "auto", "generate"),
        (str(DEMO_MODEL), "generate", "generate"),
        ("zai-org/GLM-4.6V-Flash", "template", "template"),
        ("zai-org/GLM-4.6V-Flash", "never", "never"),
    ],
)
def test_only_the_bundled_model_is_known_not_to_talk(model: str, explain: str, means: str) -> None:
    settings = load_settings(engine={"model": model}, judging={"explain": explain})
    assert settings.explanations == means


def test_a_header_that_the_service_sets_itself_is_not_forwarded() -> None:
    assert load_settings(kafka={"forward_headers": ["tenant"]}).kafka.forward_headers == {"tenant"}
    with pytest.raises(Misconfigured, match=r"FORWARD_HEADERS .*sets Content-Type, ce_id itself"):
        load_settings(kafka={"forward_headers": ["tenant", "ce_id", "Content-Type"]})


def test_a_partition_is_named_by_its_topic_too() -> None:
    losses = {"3": 10, "urgent:3": 20}
    kafka = load_settings(kafka={"priority_topics": ["urgent"], "acknowledged_loss_offsets": losses}).kafka
    assert kafka.input_topics == ("urgent", "moderation.posts")
    known = [kafka.acknowledged_loss(*place) for place in (("moderation.posts", 3), ("urgent", 3), ("urgent", 1))]
    assert known == [10, 20, 0]
    for wrong, says in (
        (
            {"acknowledged_loss_offsets": {"urgent": 1}},
            r"ACKNOWLEDGED_LOSS_OFFSETS .*'urgent' is not a partition; .* TOPIC:NUMBER",
        ),
        ({"priority_topics": ["moderation.verdicts"]}, "each topic needs a name of its own"),
        ({"priority_topics": ["a b"]}, "PRIORITY_TOPICS .*'a b' is not a topic"),
    ):
        with pytest.raises(Misconfigured, match=says):
            load_settings(kafka=wrong)


def test_an_unknown_way_to_explain_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"MODERATION_JUDGING__EXPLAIN .*'auto', 'generate', 'template' or 'never'"):
        load_settings(judging={"explain": "off"})


@pytest.mark.parametrize(
    "url", [None, "vllm:8000/v1", "ftp://vllm/v1", "http://user:key@vllm/v1", "http://vllm/v1?key=k"]
)
def test_an_engine_behind_a_server_needs_an_address_with_no_key_in_it(
    monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    monkeypatch.setenv("MODERATION_ENGINE__KIND", "openai")
    if url:
        monkeypatch.setenv("MODERATION_ENGINE__BASE_URL", url)
    with pytest.raises(Misconfigured, match="kind openai needs base_url"):
        load_settings()


def test_an_engine_behind_a_server_has_its_key_from_a_mounted_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("sk-secret\n")
    monkeypatch.setenv("MODERATION_ENGINE__KIND", "openai")
    monkeypatch.setenv("MODERATION_ENGINE__BASE_URL", "https://vllm.example/v1")
    monkeypatch.setenv("MODERATION_ENGINE__API_KEY_FILE", str(tmp_path / "key"))
    settings = load_settings()
    assert settings.engine.api_key
    assert settings.engine.api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(settings) + str(settings.model_dump(mode="json"))
