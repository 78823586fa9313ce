"""The contracts: Avro schemas, their codec, the topics, and the rule by which decisions merge."""
