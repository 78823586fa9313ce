"""Produces what no client in Python does: a record with a header whose name is not UTF-8. Kafka takes any bytes."""

from __future__ import annotations

import ctypes
from pathlib import Path

import confluent_kafka

_TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _HEADER, _END = 1, 3, 4, 5, 7, 9, 0
"""librdkafka's names of arguments."""
_COPY = 2


def produce(bootstrap: str, topic: str, partition: int, key: bytes, value: bytes) -> None:
    """One record, acknowledged by the broker."""
    [library] = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
    kafka = ctypes.CDLL(str(library))
    kafka.rd_kafka_conf_new.restype = kafka.rd_kafka_new.restype = ctypes.c_void_p
    error = ctypes.create_string_buffer(512)
    size = ctypes.c_size_t(len(error))
    config = ctypes.c_void_p(kafka.rd_kafka_conf_new())
    kafka.rd_kafka_conf_set(config, b"bootstrap.servers", bootstrap.encode(), error, size)
    client = ctypes.c_void_p(kafka.rd_kafka_new(0, config, error, size))
    assert client, error.value
    try:
        failed = kafka.rd_kafka_producev(
            client,
            *(_TOPIC, ctypes.c_char_p(topic.encode())),
            *(_PARTITION, ctypes.c_int32(partition)),
            *(_VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
            *(_KEY, ctypes.c_char_p(key), ctypes.c_size_t(len(key))),
            *(_FLAGS, _COPY),
            *(_HEADER, ctypes.c_char_p(b"\xff\xfe"), ctypes.c_char_p(b"1"), ctypes.c_ssize_t(1)),
            _END,
        )
        assert failed == 0
        assert kafka.rd_kafka_flush(client, 30_000) == 0
    finally:
        kafka.rd_kafka_destroy(client)
