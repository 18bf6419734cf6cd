"""Tests of services/metrics without ClickHouse and Kafka."""
