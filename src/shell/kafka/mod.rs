//! Kafka: consumers on their own threads, transactions, topics.
