"""Avro in Confluent's wire format: a zero byte, the schema's id in the registry (4 bytes, big endian), the datum.

Ids come from a registry that speaks Confluent's REST interface. What has been looked up once is kept for ever, so
the registry may vanish after the start without stopping anyone.

Clients that may register a schema or produce a record decide what is decoded here. So a value is read only by a schema
of ours, or by one that is registered for its topic and that `writer_schema` accepts; everything else is
UnreadableError.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple, Protocol

import fastavro

from consent_contracts import schemas, writer_schema
from consent_contracts.errors import (
    NotRegisteredError,
    RegistryRefusedError,
    RegistryUnavailableError,
    SchemaRefusedError,
    UnreadableError,
)
from consent_contracts.topics import Topics, record_names, subject
from consent_contracts.writer_schema import MAX_SCHEMA_CHARACTERS

_MAGIC = b"\x00"
_HEADER = 5
MAX_RECORD_BYTES = 2 * 1024 * 1024
"""Of a value. No topic of ours takes a larger one, but a compressed batch can hold it."""
_VERSIONS_AT_ONCE = 200
COMPATIBILITY = "FULL_TRANSITIVE"
"""Of every subject: each version can be read by each other."""


class Decoder(NamedTuple):
    """Which record a schema id leads to, and what reads a value: the datum, and the offset after its last byte."""

    record_name: str
    read: Callable[[bytes], tuple[dict[str, Any], int]]


class SchemaIds(Protocol):
    """What the codec needs of a registry. Both raise RegistryUnavailableError when it does not answer."""

    def id_of(self, subject: str, schema_text: str) -> int:
        """The id under which this very schema is registered for ``subject``; NotRegisteredError when it is not."""

    def schemas_of(self, subject: str) -> Mapping[int, str]:
        """Every schema that is or was registered for ``subject``, by id, as JSON text; none for an unknown subject."""


class _Listing(NamedTuple):
    """The schemas of a subject, at a moment of the monotonic clock or later."""

    asked_at: float
    texts: Mapping[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectState:
    """What a registry has of one subject. ``registered``: the schema that was asked about is a version of it.
    ``compatible``: the registry would take it as a version; true where it is registered. ``compatibility``: the level
    of this subject's own, None where it has none."""

    versions: int
    registered: bool
    compatible: bool
    compatibility: str | None


class Codec:
    """Encodes and decodes the values of our topics. Safe to share between threads."""

    def __init__(self, ids: SchemaIds) -> None:
        self._ids = ids
        self._lock = threading.Lock()
        self._readers: dict[str, Any] = {
            name: fastavro.parse_schema(schemas.without_annotations(schemas.current_schema(name)))
            for name in schemas.RECORD_NAMES
        }
        self._encoders: dict[tuple[str, str | None], tuple[bytes, Any]] = {}
        self._decoders: dict[tuple[str, bytes], Decoder | UnreadableError] = {}
        """Also why a schema is refused. Only what the registry holds, so that invented ids do not fill the memory."""
        self._record_names: dict[str, tuple[str, ...]] = {}
        self._own_names: dict[bytes, str] = {}
        """By header, the records whose current schema is ours."""
        self._listings: dict[str, _Listing] = {}

    @classmethod
    def connect(
        cls,
        registry_url: str,
        topics: Topics,
        client_config: Mapping[str, Any] | None = None,
        *,
        wait_seconds: float = 60.0,
    ) -> Codec:
        """A codec that knows the ids of all our schemas already, so that it can do without the registry.

        Waits for the registry up to ``wait_seconds``, then raises RegistryUnavailableError; RegistryRefusedError at
        once. NotRegisteredError when it does not know a schema of ours. ``client_config``: security settings of its
        client.
        """
        codec = cls(ConfluentRegistry(registry_url, client_config))
        deadline = time.monotonic() + wait_seconds
        pause = 0.1
        while True:
            try:
                codec.prepare(spec.name for spec in topics.specs())
            except RegistryRefusedError:
                raise
            except RegistryUnavailableError:
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
                self._decoder(topic, header, None)

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

    def decode(self, topic: str, data: bytes | None, *, read_at: float | None = None) -> dict[str, Any]:
        """The datum of ``data``, the topic's main record, resolved to its current schema.

        ``read_at``: when the record had been read from its topic, of the monotonic clock in seconds; None: now. What
        the registry has answered since then holds for it, so a batch with unknown schema ids asks the registry once.

        Raises UnreadableError with its reason, or RegistryUnavailableError when an id is new and the registry is
        unavailable.
        """
        name, datum = self.decode_record(topic, data, read_at=read_at)
        if name != self._names(topic)[0]:
            raise UnreadableError("wrong_schema", f"the value is no {schemas.NAMESPACE}.{self._names(topic)[0]}")
        return datum

    def decode_record(
        self, topic: str, data: bytes | None, *, read_at: float | None = None
    ) -> tuple[str, dict[str, Any]]:
        """As ``decode``, for a topic that carries several records: the record's name (without namespace), its datum."""
        if not data:
            raise UnreadableError("empty", "the record has no value")
        decoder = self._decoders.get((topic, data[:_HEADER]))
        if decoder is None:
            decoder = self._decoder(topic, data[:_HEADER], read_at)
        if isinstance(decoder, UnreadableError):
            raise UnreadableError(decoder.reason, str(decoder))
        if len(data) > MAX_RECORD_BYTES:
            raise UnreadableError("too_large", f"the value has more than {MAX_RECORD_BYTES} bytes")
        try:
            datum, end = decoder.read(data)
        except EOFError:
            raise UnreadableError("truncated", "the value ends before its last field") from None
        except Exception:
            # Whatever it is, the record is the cause: it must not end the process, and then the next one.
            raise UnreadableError("undecodable", f"the bytes are not a {decoder.record_name}") from None
        if end != len(data):
            raise UnreadableError("undecodable", "bytes are left over after the last field")
        return decoder.record_name, datum

    def asks_registry(self, topic: str, data: bytes | None) -> bool:
        """Whether decoding ``data`` has to ask the registry first: its schema has not been met before."""
        header = (data or b"")[:_HEADER]
        is_framed = len(header) == _HEADER and header[:1] == _MAGIC
        return is_framed and (topic, header) not in self._decoders and header not in self._own_names

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
            header = _MAGIC + self._ids.id_of(subject(topic, name), schemas.schema_text(name)).to_bytes(4, "big")
            self._own_names[header] = name
            found = (header, self._readers[name])
            if name == self._names(topic)[0]:
                self._encoders[topic, None] = found
            self._encoders[topic, name] = found
        return found

    def _decoder(self, topic: str, header: bytes, read_at: float | None) -> Decoder | UnreadableError:
        if header[:1] != _MAGIC:
            raise UnreadableError("not_framed", "the value does not begin with Confluent's magic byte 0")
        if len(header) < _HEADER:
            raise UnreadableError("truncated", "the value ends within its header")
        with self._lock:
            found = self._decoders.get((topic, header))
            if found is None:
                own = self._own_names.get(header)
                if own is not None:
                    found = self._own_decoder(topic, own)
                else:
                    schema_id = int.from_bytes(header[1:], "big")
                    text = self._registered(topic, schema_id, time.monotonic() if read_at is None else read_at)
                    found = self._registered_decoder(topic, schema_id, text)
                self._decoders[(topic, header)] = found
            return found

    def _own_decoder(self, topic: str, name: str) -> Decoder | UnreadableError:
        if name not in self._names(topic):
            return UnreadableError("wrong_schema", f"the value is no {self._expected(topic)}")
        return Decoder(name, _fast_reader(self._readers[name], None))

    def _registered(self, topic: str, schema_id: int, read_at: float) -> str:
        """The text of a schema of the topic. All of a subject are listed together: invented ids cost nothing."""
        subjects = [subject(topic, name) for name in self._names(topic)]
        for each in subjects:
            listing = self._listings.get(each)
            if listing is None or (schema_id not in listing.texts and listing.asked_at < read_at):
                asked_at = time.monotonic()
                listing = self._listings[each] = _Listing(asked_at, self._ids.schemas_of(each))
            if schema_id in listing.texts:
                return listing.texts[schema_id]
        raise UnreadableError(
            "unknown_schema",
            f"schema id {schema_id} is not registered for {' or '.join(subjects)}: register the schema there, then"
            " replay this record",
        )

    def _registered_decoder(self, topic: str, schema_id: int, text: str) -> Decoder | UnreadableError:
        """A schema that is not the current one of ours: of another release, or a producer's own."""
        try:
            writer = writer_schema.parse(text)
            namespace, _, name = writer.name.rpartition(".")
            if namespace != schemas.NAMESPACE or name not in self._names(topic):
                raise SchemaRefusedError(f"it describes no {self._expected(topic)}")
            for released in schemas.released_schemas(name):
                if writer_schema.parse(json.dumps(released)) == writer:
                    parsed = fastavro.parse_schema(schemas.without_annotations(released), named_schemas={})
                    return Decoder(name, _fast_reader(parsed, self._readers[name]))
            read = writer_schema.resolve(writer, writer_schema.parse(schemas.schema_text(name)))
        except SchemaRefusedError as refused:
            return UnreadableError(
                "wrong_schema",
                f"schema id {schema_id} cannot be read: {refused}; register a schema that is compatible with ours for"
                " this topic (docs/submitting.md), and send the record again with that",
            )
        return Decoder(name, _bounded_reader(read))

    def _expected(self, topic: str) -> str:
        return " or ".join(f"{schemas.NAMESPACE}.{name}" for name in self._names(topic))


def _fast_reader(writer: Any, reader: Any) -> Callable[[bytes], tuple[dict[str, Any], int]]:
    """For schemas of ours alone: the library is fast, and follows a schema wherever it leads."""
    read: Any = fastavro.schemaless_reader

    def datum_and_end(data: bytes) -> tuple[dict[str, Any], int]:
        body = BytesIO(data)
        body.seek(_HEADER)
        return read(body, writer, reader), body.tell()  # not our word

    return datum_and_end


def _bounded_reader(read: writer_schema.Read) -> Callable[[bytes], tuple[dict[str, Any], int]]:
    def datum_and_end(data: bytes) -> tuple[dict[str, Any], int]:
        cursor = writer_schema.Cursor(data, _HEADER)
        return read(cursor), cursor.at

    return datum_and_end


def own_subjects(topics: Topics) -> dict[str, str]:
    """By the registry's subjects of these topics, the text of the schema that we write."""
    return {
        subject(spec.name, name): schemas.schema_text(name) for spec in topics.specs() for name in spec.record_names
    }


class ConfluentRegistry:
    """SchemaIds over Confluent's own client."""

    def __init__(self, url: str, client_config: Mapping[str, Any] | None = None) -> None:
        """``client_config``: security settings by the names of Confluent's client (basic.auth.*, ssl.*)."""
        from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

        self._schema = Schema
        self._versions: dict[str, dict[int, tuple[int, str]]] = {}
        """By subject and version, the schema's id and text."""
        self._client = SchemaRegistryClient.new_client(
            {"url": url, "timeout": 5, "max.retries": 0, "cache.capacity": 100, **(client_config or {})}
            if not url.startswith("mock://")
            else {"url": url}
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
            raise NotRegisteredError(subject) from None
        return int(found.schema_id)

    def schemas_of(self, subject: str) -> Mapping[int, str]:
        """What was read before is not read again, unless the registry is another one than it was.

        RegistryUnavailableError also while many new versions are being read, some at each call.
        """
        try:
            versions = set(self._ask(lambda: self._client.get_versions(subject, deleted=True), f"{subject}: not found"))
            latest = self._version(subject, "latest")
        except LookupError:
            return {}
        known = self._versions.setdefault(subject, {})
        if not known.keys() <= versions or known.get(latest.version, (latest.schema_id,))[0] != latest.schema_id:
            known.clear()
            self._client.clear_caches()  # type: ignore[no-untyped-call]
        missing = sorted(versions - known.keys(), reverse=True)
        for version in missing[:_VERSIONS_AT_ONCE]:
            with suppress(LookupError):  # Deleted for good since it was listed.
                found = self._version(subject, version)
                known[version] = int(found.schema_id), str(found.schema.schema_str)[: MAX_SCHEMA_CHARACTERS + 1]
        if len(missing) > _VERSIONS_AT_ONCE:
            raise RegistryUnavailableError(
                f"{subject}: {len(missing) - _VERSIONS_AT_ONCE} versions are still to be read"
            )
        return dict(known.values())

    def _version(self, subject: str, version: Any) -> Any:
        return self._ask(lambda: self._client.get_version(subject, version, deleted=True), f"{subject}: not found")

    def state(self, subject: str, schema_text: str) -> SubjectState:
        """Of the subject, and of this schema in it. Raises RegistryUnavailableError."""
        schema = self._schema(schema_text, "AVRO")
        try:
            versions = len(self._ask(lambda: self._client.get_versions(subject), f"{subject}: not found"))
        except LookupError:
            return SubjectState(versions=0, registered=False, compatible=True, compatibility=None)
        try:
            level = self._ask(lambda: self._client.get_compatibility(subject), f"{subject}: no level")
        except LookupError:
            level = None
        try:
            self.id_of(subject, schema_text)
        except NotRegisteredError:
            try:
                compatible = self._ask(
                    lambda: self._client.test_compatibility_all_versions(subject, schema), f"{subject}: not found"
                )
            except (LookupError, ValueError):  # A registry may refuse to compare what it cannot take.
                compatible = False
            return SubjectState(versions=versions, registered=False, compatible=bool(compatible), compatibility=level)
        return SubjectState(versions=versions, registered=True, compatible=True, compatibility=level)

    def register(self, subject: str, schema_text: str) -> int:
        """Set the subject's compatibility, so that it is enforced, then register; repeatable. Raises
        RegistryUnavailableError, or ValueError with the registry's differences when it refuses."""
        from confluent_kafka.schema_registry import ConfigCompatibilityLevel, ServerConfig

        refused = f"{subject}: the registry refused the schema"
        config = ServerConfig(compatibility=ConfigCompatibilityLevel(COMPATIBILITY))
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
            if error.http_status_code in (401, 403):
                raise RegistryRefusedError(f"it answered {error.http_status_code}", credentials=True) from None
            raise RegistryUnavailableError(f"the registry answered {error.http_status_code}") from None
        except OSError as error:
            raise RegistryUnavailableError(f"the registry does not answer: {type(error).__name__}") from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # Such as the error page of a proxy in front of it.
            raise RegistryUnavailableError(f"the registry's answer cannot be read: {type(error).__name__}") from None
        except Exception as error:
            if type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
                if (refusal := tls_refusal(error)) is not None:
                    raise refusal from None
                raise RegistryUnavailableError(f"the registry does not answer: {type(error).__name__}") from None
            raise


def tls_refusal(error: BaseException) -> RegistryRefusedError | None:
    """What TLS reports among the causes of ``error``; None where no handshake has failed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            reason = getattr(cause, "verify_message", None) or cause.reason or type(cause).__name__
            return RegistryRefusedError(f"TLS: {reason}", credentials=False)
        cause = cause.__cause__ or cause.__context__
    return None
