"""What the services share: events, topics, settings, errors, telemetry, Kafka and ClickHouse access.

Nothing here imports a service (tests/contract/test_import_boundaries.py holds that).
"""
