#!/bin/sh
# What a worker and a console may do in Kafka, and no more. An administrator runs it with Kafka's own tool and its options:
#   k8s/kafka/acls.sh kafka-acls.sh --bootstrap-server kafka:9093 --command-config admin.properties
# The names are those of the service's defaults; with other topics or another group change them here too.
set -eu
principal=${PRINCIPAL:-User:moderation}
console=${CONSOLE_PRINCIPAL:-User:moderation-console}

# A worker reads posts, as a member of its group, and keeps offsets there.
"$@" --add --allow-principal "$principal" --operation Read --topic moderation.posts --group moderation
# Reads the banks of known content; without this it does not start.
"$@" --add --allow-principal "$principal" --operation Read --topic moderation.banks
# Writes verdicts, dead letters, escalations and its own record of what was done to it.
"$@" --add --allow-principal "$principal" --operation Write \
  --topic moderation.verdicts --topic moderation.posts.dlq --topic moderation.audit --topic moderation.escalations
# One transactional producer for each input partition: GROUP.TOPIC.PARTITION/LENGTH-OF-GROUP.
"$@" --add --allow-principal "$principal" --operation Write \
  --transactional-id moderation.moderation.posts. --resource-pattern-type prefixed
# Compares the topics with what they should be when it starts, and warns.
"$@" --add --allow-principal "$principal" --operation DescribeConfigs \
  --topic moderation.posts --topic moderation.verdicts --topic moderation.posts.dlq --topic moderation.banks \
  --topic moderation.escalations

# A console reads what it shows, and what it wrote itself: it looks there for what an ended one may have sent already.
"$@" --add --allow-principal "$console" --operation Read --topic moderation.posts --topic moderation.verdicts \
  --topic moderation.reviews --topic moderation.audit --topic moderation.banks --topic moderation.escalations
# Writes reviews, entries of banks, verdicts and escalations of what callers send it, its record of what people did, and of posts that
# callers delete a null to the posts and one to the verdicts.
"$@" --add --allow-principal "$console" --operation Write --topic moderation.posts \
  --topic moderation.reviews --topic moderation.verdicts --topic moderation.audit --topic moderation.banks \
  --topic moderation.escalations
# All consoles share one transactional id: GROUP.console.outbox.
"$@" --add --allow-principal "$console" --operation Write --transactional-id moderation.console.outbox
