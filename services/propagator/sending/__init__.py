"""How pushes are ordered, batched, paced and repeated. It knows no Kafka."""
