"""The metrics service: writes enriched mentions to ClickHouse."""
