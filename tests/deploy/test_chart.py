"""charts/moderation: its manifests for each file of values/, and for hardware and Kafka together."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from moderation_service import __version__
from moderation_service.kafka.record_sizes import record_limit
from moderation_service.kafka.topics import wanted
from moderation_service.policies.pack import load_pack
from moderation_service.settings import EngineSettings, KafkaSettings, Settings
from scripts.render_k8s import rendered
from tests.conftest import skip_or_fail
from tests.deploy.chart import CHART, chart, helm, refusal
from tests.deploy.files import (
    ROOT,
    containers,
    matches,
    parse,
    pod_of,
    started_by,
    template_of,
    tool,
    workloads_of,
)
from tests.deploy.test_acls import bindings
from tests.deploy.test_k8s_manifests import assert_bounded, assert_restricted, validate

HARDWARE = ("cpu", "gpu", "vllm")
CLUSTERS = ("strimzi", "msk-iam", "confluent-cloud", "redpanda")
FILES = (*HARDWARE, *CLUSTERS, "demo")
EVERYTHING = (
    "backup.enabled=true",
    "ingress.enabled=true",
    "legalHold.enabled=true",
    "model.fetch=true",
    "tracing.endpoint=http://otel-collector.observability.svc:4318",
)
COMBINATIONS = [
    *((name,) for name in FILES),
    *product(("gpu", "vllm"), CLUSTERS),  # the other files alone are on CPUs
]
every_combination = pytest.mark.parametrize("files", COMBINATIONS, ids="-".join)
ROOT_VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def closed(**properties: Any) -> dict[str, Any]:
    """The schema of an object with these properties, all of them and no other."""
    return {"properties": properties, "required": [*properties], "additionalProperties": False}


STRIMZI = {  # what its operators take of these two, by the types of Strimzi's API
    "KafkaTopic": closed(
        partitions={"type": "integer", "minimum": 1},
        replicas={"type": "integer", "minimum": 1, "maximum": 32767},
        config={"type": "object"},
    ),
    "KafkaUser": closed(
        authentication={"const": {"type": "scram-sha-512"}},
        authorization=closed(
            type={"const": "simple"},
            acls={
                "items": closed(
                    resource=closed(
                        type={"enum": ["topic", "group", "transactionalId"]},
                        name={"type": "string"},
                        patternType={"enum": ["literal", "prefix"]},
                    ),
                    operations={"items": {"enum": ["Read", "Write", "DescribeConfigs"]}},
                )
            },
        ),
    ),
}


def one(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def everything(files: tuple[str, ...]) -> list[dict[str, Any]]:
    """With each part that may be on; the demo has no database to back up."""
    return chart(*files, *(EVERYTHING[1:] if "demo" in files else EVERYTHING))


def settings_of(
    manifests: list[dict[str, Any]], argument: str, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> Settings:
    (started,) = (each for each in started_by(manifests, "chart") if each.arguments == (argument,))
    return started.settings(monkeypatch, scratch)


def test_there_is_a_file_of_values_for_each_hardware_each_kafka_and_the_demo() -> None:
    assert {path.stem for path in (CHART / "values").glob("*.yaml")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_helm_finds_no_fault(name: str) -> None:
    done = helm("lint", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout + done.stderr


@every_combination
def test_every_manifest_is_as_its_schema_has_it(files: tuple[str, ...]) -> None:
    for manifest in everything(files):
        if manifest["apiVersion"].startswith("kafka.strimzi.io/"):
            jsonschema.Draft202012Validator(STRIMZI[manifest["kind"]]).validate(manifest["spec"])
        else:
            validate(manifest)
    names = [(each["kind"], each["metadata"]["name"]) for each in everything(files)]
    assert len(set(names)) == len(names)


@every_combination
def test_pods_are_restricted_and_bounded(files: tuple[str, ...]) -> None:
    for workload in workloads_of(everything(files)):
        assert_restricted(workload)
        assert_bounded(workload)


@every_combination
def test_no_secret_is_in_a_manifest(files: tuple[str, ...]) -> None:
    assert "Secret" not in {manifest["kind"] for manifest in everything(files)}


@every_combination
def test_commands_settings_and_paths_are_the_services(
    files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for started in started_by(everything(files), "-".join(files)):
        parse(started.arguments)
        started.settings(monkeypatch, tmp_path)
        if started.arguments == ("run",):
            assert not started.unmounted()


@every_combination
def test_what_a_pod_refers_to_is_there(files: tuple[str, ...]) -> None:
    manifests = everything(files)
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    for workload in workloads_of(manifests):
        pod = pod_of(workload)
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        if "serviceAccountName" in pod:
            assert ("ServiceAccount", pod["serviceAccountName"]) in there
        if "selector" in workload["spec"]:
            assert matches(workload["spec"]["selector"], template_of(workload)["metadata"]["labels"])


@every_combination
def test_each_pod_reaches_what_its_settings_name_and_nothing_is_open_to_all(
    files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manifests = everything(files)
    settings = settings_of(manifests, "run", monkeypatch, tmp_path)
    brokers = {int(server.rpartition(":")[2]) for server in settings.kafka.bootstrap_servers.split(",")}
    engine = {"http"} if settings.engine.kind == "openai" else set()
    labels = template_of(one(manifests, "Deployment", "worker"))["metadata"]["labels"]
    assert set(egress(manifests, labels)) == {53, 443, 4318} | brokers | engine
    labels = template_of(one(manifests, "Deployment", "console"))["metadata"]["labels"]
    postgres = set() if "demo" in files else {5432}
    assert set(egress(manifests, labels)) == {53, 443, 4318} | brokers | engine | postgres
    denied = one(manifests, "NetworkPolicy", "default-deny")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def egress(manifests: list[dict[str, Any]], labels: Mapping[str, str]) -> Iterator[int | str]:
    for policy in manifests:
        if policy["kind"] == "NetworkPolicy" and _selects(policy["spec"]["podSelector"], labels):
            for rule in policy["spec"].get("egress", ()):
                assert rule["to"]
                yield from (port["port"] for port in rule["ports"])


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    named = selector.get("matchExpressions", ())
    return matches(selector, labels) and all(labels.get(each["key"]) in each["values"] for each in named)


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("hardware", ["gpu", "vllm"])
def test_keda_reads_the_lag_as_the_worker_reads_its_topic(
    hardware: str, cluster: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manifests = chart(hardware, cluster)
    kafka = settings_of(manifests, "run", monkeypatch, tmp_path).kafka
    (trigger,) = one(manifests, "ScaledObject", "worker")["spec"]["triggers"]
    told = trigger["metadata"]
    assert (told["bootstrapServers"], told["consumerGroup"], told["topic"], told["offsetResetPolicy"]) == (
        kafka.bootstrap_servers,
        kafka.group,
        kafka.input_topic,
        kafka.auto_offset_reset,
    )
    mechanisms = {"PLAIN": "plaintext", "OAUTHBEARER": "oauthbearer", "SCRAM-SHA-512": "scram_sha512"}
    assert (told["sasl"], told["tls"]) == (mechanisms[kafka.sasl_mechanism], "enable")
    login = one(manifests, "TriggerAuthentication", trigger["authenticationRef"]["name"])["spec"]
    parameters = {each["parameter"] for each in (*login.get("secretTargetRef", ()), *login.get("env", ()))}
    wanted_of_it = {"ca"} if kafka.ssl_cafile else set()
    if kafka.sasl_mechanism == "OAUTHBEARER":
        assert (told["saslTokenProvider"], login["podIdentity"]) == ("aws_msk_iam", {"provider": "aws"})
    else:
        wanted_of_it |= {"username", "password"}
    assert parameters == wanted_of_it
    for each in login.get("env", ()):  # a variable of the worker
        (container,) = pod_of(one(manifests, "Deployment", "worker"))["containers"]
        assert each["containerName"] == container["name"]
        assert each["name"] in {entry["name"] for entry in container["env"]}


def test_more_input_topics_have_a_trigger_each() -> None:
    manifests = chart("gpu", r'settings.MODERATION_KAFKA__PRIORITY_TOPICS=["urgent"\,"paid"]')
    triggers = one(manifests, "ScaledObject", "worker")["spec"]["triggers"]
    assert [trigger["metadata"]["topic"] for trigger in triggers] == ["moderation.posts", "urgent", "paid"]


def test_servers_of_vllm_are_scaled_on_what_waits_for_them_and_are_watched() -> None:
    manifests = chart("vllm")
    scaled = one(manifests, "ScaledObject", "vllm")["spec"]
    assert [(trigger["metadata"]["query"], trigger["metadata"]["threshold"]) for trigger in scaled["triggers"]] == [
        ('sum(vllm:num_requests_waiting{namespace="moderation"})', "8"),
        ('sum(vllm:num_requests_running{namespace="moderation"})', str(EngineSettings().concurrent_requests)),
    ]
    assert scaled["scaleTargetRef"]["name"] == "vllm"
    assert "replicas" not in one(manifests, "Deployment", "vllm")["spec"]
    (container,) = pod_of(one(manifests, "Deployment", "vllm"))["containers"]
    (endpoint,) = one(manifests, "PodMonitor", "vllm")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in container["ports"]}
    (rule,) = one(manifests, "NetworkPolicy", "vllm")["spec"]["ingress"]
    assert {"kubernetes.io/metadata.name": "monitoring"} in [
        each.get("namespaceSelector", {}).get("matchLabels") for each in rule["from"]
    ]


def test_records_fit_into_what_confluent_cloud_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = settings_of(chart("confluent-cloud"), "run", monkeypatch, tmp_path)
    assert record_limit(settings.kafka) == 8 * 2**20


def test_strimzi_makes_the_topics_that_the_service_wants() -> None:
    made = {each["metadata"]["name"]: each["spec"] for each in chart("strimzi") if each["kind"] == "KafkaTopic"}
    topics = ROOT_VALUES["kafka"]["topics"]
    for topic in wanted(KafkaSettings(), topics["partitions"], topics["replication"]):
        spec = made.pop(topic.name)
        assert (spec["partitions"], spec["replicas"]) == (topic.partitions, topic.replication)
        assert {name: str(value) for name, value in spec["config"].items()} == topic.config
    assert not made


def test_strimzis_users_may_do_what_the_acls_give_and_no_more() -> None:
    granted = set()
    for user in (each for each in chart("strimzi") if each["kind"] == "KafkaUser"):
        for acl in user["spec"]["authorization"]["acls"]:
            resource = acl["resource"]
            for operation in acl["operations"]:
                on = (resource["type"], resource["name"], resource["patternType"])
                granted.add((f"User:{user['metadata']['name']}", *on, operation))
    kinds = {"TOPIC": "topic", "GROUP": "group", "TRANSACTIONAL_ID": "transactionalId"}
    operations = {"READ": "Read", "WRITE": "Write", "DESCRIBE_CONFIGS": "DescribeConfigs"}
    patterns = {"LITERAL": "literal", "PREFIXED": "prefix"}
    assert granted == {
        (
            each.principal,
            kinds[each.restype.name],
            each.name,
            patterns[each.resource_pattern_type.name],
            operations[each.operation.name],
        )
        for each in bindings()
    }


def test_strimzis_topics_follow_the_settings() -> None:
    manifests = chart(
        "strimzi", "settings.MODERATION_KAFKA__GROUP=other", "settings.MODERATION_KAFKA__INPUT_TOPIC=posts"
    )
    assert one(manifests, "KafkaTopic", "posts")["spec"]["config"]["retention.ms"] == 7 * 86_400_000
    resources = [acl["resource"] for acl in one(manifests, "KafkaUser", "moderation")["spec"]["authorization"]["acls"]]
    assert {"type": "group", "name": "other", "patternType": "literal"} in resources
    assert {"type": "transactionalId", "name": "other.posts.", "patternType": "prefix"} in resources


def test_a_topic_whose_name_no_resource_may_have_is_named_in_its_spec() -> None:
    topic = one(chart("strimzi", "settings.MODERATION_KAFKA__INPUT_TOPIC=Shop_posts"), "KafkaTopic", "shop-posts")
    assert topic["spec"]["topicName"] == "Shop_posts"


@pytest.mark.parametrize(
    "value", ["image.tag=next", "kafka.topics.partitions=36", "settings.MODERATION_KAFKA__GROUP=g"]
)
def test_a_changed_job_of_topics_has_another_name_because_its_template_is_immutable(value: str) -> None:
    def job(*values: str) -> str:
        jobs = [each for each in chart("cpu", "kafka.topics.job=true", *values) if each["kind"] == "Job"]
        (name,) = {each["metadata"]["name"] for each in jobs} - {"migrate"}
        return str(name)

    assert job(value) != job() == job("worker.replicas=3")


def test_traces_leave_to_the_collectors_namespace_by_its_port() -> None:
    manifests = chart("cpu", EVERYTHING[-1])
    address = urlsplit(one(manifests, "ConfigMap", "settings")["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"])
    (rule,) = one(manifests, "NetworkPolicy", "otlp")["spec"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": address.port}]
    (peer,) = rule["to"]
    assert peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] in str(address.hostname).split(".")


@pytest.mark.parametrize("hardware", ["gpu", "vllm"])
def test_workers_and_consoles_share_the_legal_hold_and_have_its_key(hardware: str) -> None:
    manifests = chart(hardware, "legalHold.enabled=true")
    settings = one(manifests, "ConfigMap", "settings")["data"]
    folder, key = (settings[f"MODERATION_CHILD_SAFETY__HOLD_{name}"] for name in ("PATH", "KEY_FILE"))
    for name in ("worker", "console"):
        pod = pod_of(one(manifests, "Deployment", name))
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        claim = volumes[mounts[folder]["name"]]["persistentVolumeClaim"]["claimName"]
        assert one(manifests, "PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]
        assert "readOnly" not in mounts[folder]
        secret = volumes[mounts[str(Path(key).parent)]["name"]]["secret"]
        assert (secret["secretName"], mounts[str(Path(key).parent)]["readOnly"]) == ("legal-hold", True)
    manual = (ROOT / "docs/how-to/child-safety.md").read_text(encoding="utf-8")
    assert re.findall(r"create secret generic legal-hold --from-file=(\w+)=", manual) == [Path(key).name]


def test_the_migration_runs_before_a_release_with_the_consoles_database() -> None:
    annotations = one(chart("gpu"), "Job", "migrate")["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert "migrate" not in {each["metadata"]["name"] for each in chart("cpu", "demo")}


def test_the_migration_reaches_a_database_that_the_previous_releases_network_policies_do_not_know() -> None:
    manifests = chart("gpu", "networkPolicy.postgres.port=6432")
    job, policy = (one(manifests, kind, "migrate") for kind in ("Job", "NetworkPolicy"))
    for name, value in {"hook": "pre-install,pre-upgrade", "hook-weight": "-1"}.items():
        assert policy["metadata"]["annotations"][f"helm.sh/{name}"] == value
    assert matches(policy["spec"]["podSelector"], template_of(job)["metadata"]["labels"])
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert ports == {53, 6432}


def test_policies_are_the_pack_or_yours() -> None:
    (pack,) = (each for each in chart("cpu") if each["metadata"]["name"] == "policies")
    starter = ROOT / "policies" / "starter"
    assert pack["data"] == {path.name: path.read_text(encoding="utf-8") for path in starter.glob("*.yaml")}
    (yours,) = (each for each in chart("cpu", r"policies.files.mine\.yaml=x") if each["metadata"]["name"] == "policies")
    assert yours["data"] == {"mine.yaml": "x"}
    manifests = chart("cpu", "policies.existingConfigMap=ours")
    assert "policies" not in {each["metadata"]["name"] for each in manifests}
    for name in ("worker", "console"):
        volumes = pod_of(one(manifests, "Deployment", name))["volumes"]
        assert {"name": "policies", "configMap": {"name": "ours"}} in volumes
    assert 'has no pack "none"' in refusal("cpu", "policies.pack=none")


def test_a_pack_with_a_route_for_child_safety_needs_the_legal_hold() -> None:
    assert "legalHold.enabled" in refusal("cpu", "policies.pack=standard")
    assert "legalHold.enabled" in refusal("cpu", r'policies.files.mine\.yaml=route: "child_safety"')
    assert (
        len(one(chart("cpu", "policies.pack=standard", "legalHold.enabled=true"), "ConfigMap", "policies")["data"]) > 20
    )


def test_an_image_is_named_by_its_digest_and_files_of_your_own_are_mounted() -> None:
    digest = f"sha256:{'a' * 64}"
    manifests = chart(
        "cpu",
        f"image.digest={digest}",
        "extraVolumes[0].name=fit,extraVolumes[0].configMap.name=fit",
        "extraVolumeMounts[0].name=fit,extraVolumeMounts[0].mountPath=/etc/moderation/fit",
    )
    for name in ("worker", "console"):
        pod = pod_of(one(manifests, "Deployment", name))
        (container,) = pod["containers"]
        assert container["image"] == f"moderation-service:cpu@{digest}"
        assert {"name": "fit", "configMap": {"name": "fit"}} in pod["volumes"]
        assert {"name": "fit", "mountPath": "/etc/moderation/fit"} in container["volumeMounts"]


def test_the_packs_policies_load_from_their_config_map(tmp_path: Path) -> None:
    for name, text in one(chart("cpu"), "ConfigMap", "policies")["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_pack(tmp_path, images=False).digest == load_pack(ROOT / "policies" / "starter").digest


def test_alerts_and_dashboards_are_those_of_the_files() -> None:
    rules = yaml.safe_load((ROOT / "observability" / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))
    assert one(chart("gpu"), "PrometheusRule", "moderation")["spec"] == rules
    boards = one(chart("gpu"), "ConfigMap", "moderation-dashboards")
    folder = ROOT / "observability" / "grafana"
    assert boards["data"] == {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_other_settings_and_another_model_make_new_pods() -> None:
    def checksums(*values: str) -> dict[str, str]:
        template = template_of(one(chart("gpu", *values), "Deployment", "worker"))
        return template["metadata"]["annotations"]

    usual = checksums()
    assert checksums("settings.MODERATION_LOGGING__LEVEL=DEBUG") != usual
    assert checksums("model.revision=" + "a" * 40) != usual
    assert checksums("model.fetch=true") == usual


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("worker.replica=3", "additional properties 'replica' not allowed"),
        ("engine.kind=tpu", "/engine/kind"),
        ("kafka.bootstrapServers=kafka", "/kafka/bootstrapServers"),
        ("settings.MODERATION_KAFKA__SASL_PASSWORD=x", "MODERATION_KAFKA__SASL_PASSWORD"),
        ("console.databaseSecret=", "several consoles need one PostgreSQL"),
        ("console.databaseSecret=,console.replicas=1,backup.enabled=true", "no PostgreSQL to back up"),
        ("keda.enabled=true,kafka.saslMechanism=OAUTHBEARER", "kafka.awsRegion"),
        ("keda.enabled=true,keda.worker.min=8", "keda.worker.min: it is above keda.worker.max"),
        ("engine.kind=vllm,keda.enabled=true,keda.vllm.min=5", "keda.vllm.min: it is above keda.vllm.max"),
        ("strimzi.enabled=true", "kafka.worker.username"),
        ("networkPolicy.kafka.namespaces=null", "networkPolicy.kafka names nobody"),
    ],
)
def test_values_that_make_no_sense_are_refused_with_what_to_set(values: str, said: str) -> None:
    assert said in refusal(values)


def test_no_secret_setting_is_taken_into_a_config_map() -> None:
    taken = jsonschema.Draft202012Validator(SCHEMA["properties"]["settings"]).is_valid
    for section, field in Settings.model_fields.items():
        for name, inner in getattr(field.annotation, "model_fields", {}).items():
            variable = f"MODERATION_{section}__{name}".upper()
            assert taken({variable: "x"}) == ("SecretStr" not in str(inner.annotation)), variable
            assert taken({f"{variable}_FILE": "x"}), variable
    assert not taken({"AWS_SECRET_ACCESS_KEY": "x"})
    assert not taken({"HF_TOKEN": "x"})


def test_the_schema_describes_each_value_and_refuses_others() -> None:
    assert set(undescribed(SCHEMA["properties"], "")) == set()
    assert shape(SCHEMA) == names(ROOT_VALUES, SCHEMA)


def undescribed(properties: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, schema in properties.items():
        if not (schema.get("description") and ("type" in schema or "enum" in schema)):
            yield f"{path}.{name}"
        yield from undescribed(schema.get("properties", {}), f"{path}.{name}")


def shape(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The names of a schema, each closed to others."""
    if "properties" not in schema:
        return {}
    assert schema["additionalProperties"] is False
    return {name: shape(inner) for name, inner in schema["properties"].items()}


def names(values: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The names of the values, as deep as the schema knows them."""
    known = schema.get("properties")
    return {name: names(values[name], known[name]) for name in values} if known else {}


def test_the_notes_say_what_is_next() -> None:
    said = helm("install", "vllm", "ingress.enabled=true").stdout.partition("NOTES:")[2]
    assert "https://moderation.example.com" in said
    assert "--set-file model.sha256sums=SHA256SUMS" in said
    for command in re.findall(r"-- moderation ([a-z][^|\n]*)", said):
        parse(tuple(command.split()))


def test_k8s_is_the_chart_rendered() -> None:
    if tool("helm") is None:
        skip_or_fail("helm is not there to render k8s/ (scripts/kubernetes-tools.sh brings it)")
    for path, text in rendered().items():
        assert path.read_text(encoding="utf-8") == text, "run `make overlays`"


def test_the_chart_is_of_the_services_version_and_the_models_revision_is_that_of_k8s() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (about["version"], about["appVersion"]) == (__version__, __version__)
    model = dict(line.split("=") for line in (ROOT / "k8s/model/model.env").read_text().split())
    assert model == {key: ROOT_VALUES["model"][key.lower()] for key in model}
