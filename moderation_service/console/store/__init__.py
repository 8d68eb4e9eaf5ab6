"""The console's database: what was read from Kafka, what people decided, who they are."""
