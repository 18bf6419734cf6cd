"""The local stack: Kafka, ClickHouse's engine and the services on one machine."""
