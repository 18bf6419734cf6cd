"""The ingest service: takes mentions in (HTTP, feeds) and publishes them to Kafka."""
