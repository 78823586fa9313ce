"""Avro in Confluent's wire format: a zero byte, the schema's id in the registry (4 bytes, big endian), the datum.

Ids come from a registry that speaks Confluent's REST interface. What has been looked up once is kept for ever, so
the registry may vanish after the start without stopping anyone.
"""

from __future__ import annotations

import json
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from io import BytesIO
from typing import Any, NamedTuple, Protocol

import fastavro
from fastavro.schema import SchemaParseException

from . import schemas
from .errors import NotRegistered, RegistryUnavailable, Unreadable
from .topics import Topics, record_names, subject

_UNITS = {"timestamp-millis": Fraction(1_000), "timestamp-nanos": Fraction(1, 1_000)}
"""Microseconds in a unit of Avro's logical types for moments, but for our own."""
_MAGIC = b"\x00"
_HEADER = 5


class Decoder(NamedTuple):
    """Which record a schema id leads to, and what reads its body."""

    record_name: str
    read: Callable[[BytesIO], dict[str, Any]]


class SchemaIds(Protocol):
    """What the codec needs of a registry. Both raise RegistryUnavailable when it does not answer."""

    def id_of(self, subject: str, schema_text: str) -> int:
        """The id under which this very schema is registered for ``subject``; NotRegistered when it is not."""

    def schema_of(self, schema_id: int) -> str:
        """The schema with this id as JSON text; LookupError when there is none."""


class Codec:
    """Encodes and decodes the values of our topics. Safe to share between threads."""

    def __init__(self, ids: SchemaIds) -> None:
        self._ids = ids
        self._lock = threading.Lock()
        self._readers: dict[str, Any] = {
            name: fastavro.parse_schema(schemas.without_logical_types(schemas.current(name)))
            for name in schemas.RECORD_NAMES
        }
        self._encoders: dict[tuple[str, str | None], tuple[bytes, Any]] = {}
        self._decoders: dict[tuple[str, bytes], Decoder] = {}
        self._record_names: dict[str, tuple[str, ...]] = {}
        self._texts: dict[bytes, str] = {}

    @classmethod
    def connect(cls, registry_url: str, topics: Topics, *, wait_seconds: float = 60.0) -> Codec:
        """A codec that knows the ids of all our schemas already, so that it can do without the registry.

        Waits for the registry up to ``wait_seconds``, then raises RegistryUnavailable. NotRegistered when it does not
        know a schema of ours.
        """
        codec = cls(ConfluentRegistry(registry_url))
        deadline = time.monotonic() + wait_seconds
        pause = 0.1
        while True:
            try:
                codec.prepare(spec.name for spec in topics.specs())
            except RegistryUnavailable:
                if time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
                pause = min(pause * 2, 2.0)
            else:
                return codec

    def prepare(self, topics: Iterable[str]) -> None:
        """Look up what encoding to, and decoding from, these topics needs."""
        for topic in topics:
            for name in self._names(topic):
                header, _ = self._encoder(topic, name)
                self._decoder(topic, header)

    def encode(self, topic: str, datum: Mapping[str, Any], record_name: str | None = None) -> bytes:
        """``datum`` framed for ``topic``, as the topic's main record unless ``record_name`` names another of its own.

        ValueError or TypeError when it does not fit: that is a bug of ours.
        """
        found = self._encoders.get((topic, record_name))
        header, schema = found if found is not None else self._encoder(topic, record_name)
        out = BytesIO()
        out.write(header)
        fastavro.schemaless_writer(out, schema, datum)
        return out.getvalue()

    def decode(self, topic: str, data: bytes | None) -> dict[str, Any]:
        """The datum of ``data``, the topic's main record, resolved to its current schema.

        Raises Unreadable with its reason, or RegistryUnavailable when an id is new and the registry is unavailable.
        """
        name, datum = self.decode_record(topic, data)
        if name != self._names(topic)[0]:
            raise Unreadable("wrong_schema", f"the value is no {schemas.NAMESPACE}.{self._names(topic)[0]}")
        return datum

    def decode_record(self, topic: str, data: bytes | None) -> tuple[str, dict[str, Any]]:
        """As ``decode``, for a topic that carries several records: the record's name (without namespace), its datum."""
        if not data:
            raise Unreadable("empty", "the record has no value")
        header = data[:_HEADER]
        decoder = self._decoders.get((topic, header)) or self._decoder(topic, header)
        body = BytesIO(data)
        body.seek(_HEADER)
        try:
            datum = decoder.read(body)
        except EOFError:
            raise Unreadable("truncated", "the value ends before its last field") from None
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, struct.error):
            raise Unreadable("undecodable", f"the bytes are not a {decoder.record_name}") from None
        if body.tell() != len(data):
            raise Unreadable("undecodable", "bytes are left over after the last field")
        return decoder.record_name, datum

    def schema_id(self, topic: str, record_name: str | None = None) -> int:
        """The registry's id of the schema that we write to ``topic``."""
        header, _ = self._encoder(topic, record_name)
        return int.from_bytes(header[1:], "big")

    def _names(self, topic: str) -> tuple[str, ...]:
        found = self._record_names.get(topic)
        return found if found is not None else self._record_names.setdefault(topic, record_names(topic))

    def _encoder(self, topic: str, record_name: str | None) -> tuple[bytes, Any]:
        found = self._encoders.get((topic, record_name))
        if found is None:
            name = record_name or self._names(topic)[0]
            if name not in self._names(topic):
                raise ValueError(f"{topic} carries no {name}")
            header = _MAGIC + self._ids.id_of(subject(topic, name), schemas.text(name)).to_bytes(4, "big")
            self._texts[header] = schemas.text(name)
            found = (header, self._readers[name])
            if name == self._names(topic)[0]:
                self._encoders[topic, None] = found
            self._encoders[topic, name] = found
        return found

    def _decoder(self, topic: str, header: bytes) -> Decoder:
        """Only what the registry knows is kept, so a stream of invented ids cannot fill the memory."""
        if header[:1] != _MAGIC:
            raise Unreadable("not_framed", "the value does not begin with Confluent's magic byte 0")
        if len(header) < _HEADER:
            raise Unreadable("truncated", "the value ends within its header")
        with self._lock:
            found = self._decoders.get((topic, header))
            if found is not None:
                return found
            decoder = self._decoder_from(self._names(topic), self._text(header))
            self._decoders[(topic, header)] = decoder
            return decoder

    def _text(self, header: bytes) -> str:
        found = self._texts.get(header)
        if found is None:
            try:
                found = self._ids.schema_of(int.from_bytes(header[1:], "big"))
            except LookupError:
                raise Unreadable("unknown_schema", "the registry knows no schema with this id") from None
            self._texts[header] = found
        return found

    def _decoder_from(self, names: tuple[str, ...], writer_text: str) -> Decoder:
        try:
            writer_json = json.loads(writer_text)
            writer = fastavro.parse_schema(schemas.without_logical_types(writer_json), named_schemas={})
        except (ValueError, SchemaParseException):
            raise Unreadable("wrong_schema", "the registry holds no Avro schema under this id") from None
        expected = {f"{schemas.NAMESPACE}.{name}": name for name in names}
        name = expected.get(str(writer.get("name"))) if isinstance(writer, dict) else None
        if name is None:
            raise Unreadable("wrong_schema", f"the value is no {' or '.join(expected)}")
        reader = self._readers[name]
        read: Any = fastavro.schemaless_reader
        units = _other_units(writer_json)
        if units:
            return Decoder(name, lambda body: _in_micros(read(body, writer, reader), units))
        if _canonical(writer_json) == _canonical(schemas.current(name)):
            return Decoder(name, lambda body: read(body, reader, None))
        return Decoder(name, lambda body: read(body, writer, reader))


def _other_units(writer: Mapping[str, Any]) -> dict[str, Fraction]:
    """The fields that a foreign producer declares as times in other units than ours, with the micros in a unit."""
    found: dict[str, Fraction] = {}
    for field in writer.get("fields", ()):
        branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
        for each in branches:
            unit = _UNITS.get(str(each.get("logicalType"))) if isinstance(each, dict) else None
            if unit is not None:
                found[field["name"]] = unit
    return found


def _in_micros(datum: dict[str, Any], units: Mapping[str, Fraction]) -> dict[str, Any]:
    times = {name: int(datum[name] * unit) for name, unit in units.items() if datum.get(name) is not None}
    return {**datum, **times}


def register(registry_url: str, topics: Topics) -> None:
    """Register every topic's current schema, compatibility FULL_TRANSITIVE set first and so enforced.

    Repeatable. Raises RegistryUnavailable, or ValueError with the registry's differences when it refuses.
    """
    registry = ConfluentRegistry(registry_url)
    for spec in topics.specs():
        for name in spec.record_names:
            registry.register(subject(spec.name, name), schemas.text(name))


class ConfluentRegistry:
    """SchemaIds over Confluent's own client."""

    def __init__(self, url: str) -> None:
        from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

        self._schema = Schema
        self._client = SchemaRegistryClient.new_client(
            {"url": url, "timeout": 5, "max.retries": 0} if not url.startswith("mock://") else {"url": url}
        )
        # A codec lives as long as its process; one that is dropped earlier leaves no open connection behind.
        weakref.finalize(self, self._client.close)

    def id_of(self, subject: str, schema_text: str) -> int:
        try:
            found = self._ask(
                lambda: self._client.lookup_schema(subject, self._schema(schema_text, "AVRO"), normalize_schemas=False),
                f"{subject}: the registry refused to look the schema up",
            )
        except LookupError:
            raise NotRegistered(subject) from None
        return int(found.schema_id)

    def schema_of(self, schema_id: int) -> str:
        found = self._ask(lambda: self._client.get_schema(schema_id), f"no schema has the id {schema_id}")
        return str(found.schema_str)

    def register(self, subject: str, schema_text: str) -> int:
        from confluent_kafka.schema_registry import ConfigCompatibilityLevel, ServerConfig

        refused = f"{subject}: the registry refused the schema"
        config = ServerConfig(compatibility=ConfigCompatibilityLevel.FULL_TRANSITIVE)
        self._ask(lambda: self._client.set_config(subject, config), refused)
        return int(self._ask(lambda: self._client.register_schema(subject, self._schema(schema_text, "AVRO")), refused))

    def _ask(self, request: Callable[[], Any], not_found: str) -> Any:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return request()
        except SchemaRegistryError as error:
            if error.http_status_code == 404:
                raise LookupError(not_found) from None
            if error.http_status_code in (409, 422):
                raise ValueError(f"{not_found}: {error.error_message}") from None
            raise RegistryUnavailable(f"the registry answered {error.http_status_code}") from None
        except OSError as error:
            raise RegistryUnavailable(f"the registry does not answer: {type(error).__name__}") from None
        except Exception as error:
            if type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
                raise RegistryUnavailable(f"the registry does not answer: {type(error).__name__}") from None
            raise


def _canonical(schema: Any) -> Any:
    """A schema without its docs and logical types, for comparison: what remains decides how bytes are read."""
    return _without_docs(schemas.without_logical_types(schema))


def _without_docs(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_docs(value) for key, value in schema.items() if key != "doc"}
    if isinstance(schema, list):
        return [_without_docs(each) for each in schema]
    return schema
