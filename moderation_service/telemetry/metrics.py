"""Every metric of the service, declared once. Labels are bounded: never an id of a post or a person.

Label values that are known are begun at zero: to Prometheus, what first appears as one has not risen.
"""

from prometheus_client import Counter, Gauge, Histogram

from moderation_service.contracts.enums import Decision

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_END_TO_END = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

# the stream
RECEIVED = Counter("moderation_received_messages", "Records received from the input topics")
PROCESSED = Counter("moderation_processed_messages", "Records finished, by outcome", ["outcome"])
IN_PROCESS = Gauge("moderation_messages_in_process", "Records in flight: received and not yet published")
IN_PROCESS_BYTES = Gauge("moderation_bytes_in_process", "Bytes of the records in flight")
STAGE_SECONDS = Histogram(
    "moderation_process_duration_seconds", "Time in a step of a post's way", ["stage"], buckets=_LATENCY
)
BATCH_SIZE = Histogram("moderation_batch_size", "Records published in one transaction", buckets=_BATCH)
END_TO_END = Histogram(
    "moderation_end_to_end_latency_seconds",
    "Latency from the record's timestamp to its published verdict",
    buckets=_END_TO_END,
)
PUBLISHED = Counter("moderation_published_messages", "Records published, by topic and outcome", ["topic", "outcome"])
RETRIES = Counter("moderation_retries", "Retries after transient errors", ["reason"])
DEAD_LETTERS = Counter("moderation_dlq_messages", "Records sent to the dead-letter topic", ["reason"])
DEAD_LETTER_PAUSES = Counter("moderation_dlq_pauses", "Times that the circuit breaker on dead letters paused intake")
MISMATCHED_KEYS = Counter(
    "moderation_mismatched_keys", "Posts whose record key is not their post id, or is absent", ["key"]
)
LOST = Counter(
    "moderation_lost_records", "Offsets that the log dropped before they were judged, transaction markers included"
)
PARTITION_HELD = Gauge(
    "moderation_partition_held", "1 while this partition cannot be read", ["topic", "partition", "reason"]
)
LAG = Gauge("moderation_consumer_lag", "Records behind the end of the partition", ["topic", "partition"])
INCOMPLETE = Gauge("moderation_partition_incomplete_offsets", "Records in flight", ["topic", "partition"])
COMMITTED = Gauge("moderation_partition_committed_offset", "The partition's committed offset", ["topic", "partition"])
COMMITS = Counter("moderation_commits", "Offset commits, by outcome", ["outcome"])
REBALANCES = Counter("moderation_rebalances", "Partitions assigned to or revoked from this worker", ["event"])
ASSIGNED = Gauge("moderation_assigned_partitions", "Partitions assigned to this worker")
BACKPRESSURE = Counter(
    "moderation_backpressure_seconds", "Seconds of intake paused by the limits on posts and bytes in flight"
)
STUCK = Counter("moderation_consumer_stuck", "Times that a partition was given up because a broker call did not return")

# judging
VERDICTS = Counter("moderation_verdicts", "Verdicts, by decision", ["decision"])
VIOLATIONS = Counter("moderation_policy_violations", "Violations of enforced policies", ["policy", "attribution"])
SHADOW_FLIPS = Counter(
    "moderation_shadow_flips",
    "Posts on which a shadow policy differs from the enforced one of its id or, without one, exceeds the decision",
    ["policy"],
)
SHADOW_MODEL_POSTS = Counter(
    "moderation_shadow_model_posts",
    "Posts drawn for the shadow model: judged, failed, late, or unasked while it is not up or paused",
    ["outcome"],
)
SHADOW_MODEL_FLIPS = Counter(
    "moderation_shadow_model_flips",
    "Posts on which only one of the model in force and the shadow model finds a policy violated",
    ["policy"],
)
BANK_MATCHES = Counter(
    "moderation_bank_matches",
    "Posts that match a bank of known content; banks with a route are `routed`, and after the first 100 `other`",
    ["bank", "action", "mode"],
)
BANK_REVIEWS = Counter(
    "moderation_bank_reviews",
    "Reviews of verdicts that match a bank, and whether the person agrees that it is what the bank says",
    ["bank", "agreed"],
)
NEAR_DUPLICATES = Counter("moderation_near_duplicates", "Verdicts linked to one on a near copy, by `similar_to`")
HMA_LOOKUPS = Counter("moderation_hma_lookups", "Lookups at the HMA server: answered or failed", ["outcome"])
BANK_ENTRIES = Gauge("moderation_bank_entries", "Entries of a bank, as this process matches them", ["bank"])
BANKS_LAG = Gauge("moderation_banks_lag", "Records of the banks topic that this process has not read yet")
BANKS_READ = Gauge(
    "moderation_banks_read_timestamp_seconds", "When this process last had all records of the banks topic; 0: never"
)
BANK_RECORDS_SKIPPED = Counter("moderation_bank_records_skipped", "Records of the banks topic that are none of a bank")
BANK_COMPACTION_FAILURES = Counter(
    "moderation_bank_compaction_failures", "Compactions of the banks' indexes that failed and are tried again"
)
LEGAL_HOLDS = Counter(
    "moderation_legal_holds",
    "Writes of posts with a route to the legal hold: held, or failed and tried again",
    ["outcome"],
)
ESCALATIONS = Counter("moderation_escalations", "Escalations handed over for publication, by route", ["route"])
POLICY_RELOADS = Counter("moderation_policy_reloads", "Policy reloads: taken or refused", ["outcome"])
CACHE_HITS = Counter("moderation_cache_hits", "Posts answered from the result cache, or by a concurrent duplicate")
CACHE_MISSES = Counter("moderation_cache_misses", "Posts judged as the first of their content")
IMAGES = Counter("moderation_images", "Images, by status", ["outcome"])
IMAGE_TEXTS = Counter("moderation_image_texts", "Images that OCR was asked to read, by outcome", ["outcome"])
EXPLANATIONS = Counter(
    "moderation_explanations",
    "Explanations: generated, template, or why the template replaced a generated one",
    ["outcome"],
)

# the engine
ENGINE_TOKENS = Counter("moderation_engine_tokens", "Tokens read by the model", ["kind"])
ENGINE_BATCH = Histogram(
    "moderation_engine_batch_posts", "Views scored together in one call of the engine", buckets=_BATCH
)
ENGINE_CALL_SECONDS = Histogram(
    "moderation_engine_call_duration_seconds",
    "Time of an engine call; the rate of its sum is the number of concurrent calls",
    ["kind"],
    buckets=_LATENCY,
)
ENGINE_ERRORS = Counter("moderation_engine_errors", "Engine calls that failed", ["reason"])
ENGINE_IMAGE_RESENDS = Counter("moderation_engine_image_resends", "Images sent again to a server that had dropped them")
PROBE_LABEL_MASS = Gauge("moderation_engine_probe_label_mass", "Least label mass of the start-up questions")
MODEL_LOAD_FAILURES = Counter("moderation_model_load_failures", "Failed loads of the model")
MODEL_INFO = Gauge("moderation_model_info", "The model in use", ["name", "revision", "dtype", "layout"])
GPU_MEMORY_USED = Gauge(
    "moderation_gpu_memory_used_bytes",
    "Memory in use on the local engine's GPU, including other processes; 0 without a GPU",
)
GPU_MEMORY_TOTAL = Gauge("moderation_gpu_memory_total_bytes", "Memory of the local engine's GPU; 0 without a GPU")

# people, and what they rely on
REVIEWS = Counter(
    "moderation_reviews", "Reviews by policy, and whether they agree with the verdict", ["policy", "agreed"]
)
AUDIT_ESTIMATE = Gauge(
    "moderation_audit_estimate",
    "Error rates of the last 30 days from blind audits, with 95% intervals; bound: low, value or high",
    ["policy", "measure", "bound"],
)
AUDIT_LABELS = Gauge("moderation_audit_labels", "Labels behind the estimate", ["policy", "measure"])
CONSOLE_RECORDS = Counter("moderation_console_records", "Records read by the console, by outcome", ["kind", "outcome"])
CONSOLE_LAG = Gauge("moderation_console_lag", "Records that the console has not read yet", ["topic", "partition"])
CONSOLE_HELD = Gauge(
    "moderation_console_held",
    "1 while this part of a console waits for Kafka or the database",
    ["what"],
)
HTTP_REQUESTS = Counter(
    "moderation_http_requests",
    "Requests to the HTTP API, by the path's template, or other",
    ["route", "status"],
)
HTTP_SECONDS = Histogram(
    "moderation_http_request_duration_seconds", "Time to answer a request to the HTTP API", ["route"], buckets=_LATENCY
)
SCORE_DRIFT = Gauge(
    "moderation_score_drift",
    "Population stability index of recent scores against the calibration set; over 0.25 they differ much",
    ["policy"],
)
CERTIFICATE_EXPIRY = Gauge(
    "moderation_certificate_expiry_timestamp_seconds", "Expiry of the certificate that a setting names", ["file"]
)
BUILD_INFO = Gauge("moderation_build_info", "The service's version", ["version"])

for _kind in ("score", "explain"):
    ENGINE_CALL_SECONDS.labels(_kind)
for _outcome in ("verdict", "dead_letter", "deleted"):
    PROCESSED.labels(_outcome)
DEAD_LETTERS.labels("crashed_worker")
for _outcome in ("done", "failed", "fenced"):
    COMMITS.labels(_outcome)
for _outcome in ("words", "no_words", "no_lines", "failed"):
    IMAGE_TEXTS.labels(_outcome)
for _outcome in ("judged", "failed", "late", "unasked"):
    SHADOW_MODEL_POSTS.labels(_outcome)
for _outcome in ("taken", "refused"):
    POLICY_RELOADS.labels(_outcome)
for _outcome in ("held", "failed"):
    LEGAL_HOLDS.labels(_outcome)
for _outcome in ("answered", "failed"):
    HMA_LOOKUPS.labels(_outcome)
for _key in ("other", "absent"):
    MISMATCHED_KEYS.labels(_key)
for _event in ("assigned", "revoked"):
    REBALANCES.labels(_event)
for _decision in Decision:
    VERDICTS.labels(_decision)
