"""/docs: the description of an HTTP API as a page that needs no script, and nothing from any other host."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Response

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{overflow-x:auto;background:#f4f4f4;padding:.7rem;color:#111}"
    "summary{cursor:pointer;padding:.3rem 0}dt{font-weight:600}dd{margin:0 0 .4rem 1.5rem}"
)
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def urls(*, enabled: bool) -> dict[str, Any]:
    """Arguments of FastAPI: its own pages load scripts from elsewhere. Not `enabled`: no /openapi.json either."""
    return {"docs_url": None, "redoc_url": None, "openapi_url": "/openapi.json" if enabled else None}


def serve(app: FastAPI) -> None:
    """Answer /docs, where `app` serves /openapi.json."""
    if app.openapi_url is None:
        return

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return Response(page(app.openapi()), media_type="text/html", headers=_HEADERS)


def page(document: Mapping[str, Any]) -> str:
    """An OpenAPI document as HTML: each operation with a call of it to copy, and what that answers."""
    title = html.escape(document["info"]["title"])
    schemas = document.get("components", {}).get("schemas", {})
    operations = ((path, method, each) for path, item in document["paths"].items() for method, each in item.items())
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{_text(document['info'].get('description'))}"
        '<p>For programs: <a href="openapi.json">openapi.json</a>. In the examples <code>$URL</code> is where this page'
        " is, without /docs, and <code>$KEY</code> an API key.</p>",
        *(_operation(path, method, each, schemas) for path, method, each in operations),
        "<h2>Schemas</h2>",
        *(_schema(name, schema) for name, schema in sorted(schemas.items())),
        "</body></html>",
    ]
    return "\n".join(parts)


def _operation(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    listed = [
        (f"{each['name']} ({each['in']})", _text(each.get("description"))) for each in operation.get("parameters", ())
    ]
    if "requestBody" in operation:
        listed.append(("body", _content(operation["requestBody"])))
    for status, answer in operation["responses"].items():
        shown = _text(answer.get("description")) + _content(answer)
        listed.append((status, shown + (_first_example(answer, schemas) if status < "300" else "")))
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{text}</dd>" for name, text in listed)
    calls = "".join(f"<pre>{html.escape(each)}</pre>" for each in _calls(path, method, operation, schemas))
    called = f"<code>{method.upper()} {html.escape(path)}</code> {html.escape(operation.get('summary', ''))}"
    return f"<details><summary>{called}</summary>{_text(operation.get('description'))}{calls}<dl>{rows}</dl></details>"


def _calls(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[str]:
    """Commands that call an operation with each example of its body."""
    words = [f"curl -s -X {method.upper()}"]
    for each in operation.get("parameters", ()):
        example = each.get("example", next(iter(each.get("schema", {}).get("examples", ())), None))
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", quote(str(example), safe=""))
        elif each["in"] == "header":
            # All of ours are ids of the caller's, which have to be others with each call.
            words.append(f'-H "{each["name"]}: $(uuidgen)"')
    words[1:1] = [f'"$URL{path}"', '-H "Authorization: Bearer $KEY"']
    bodies = _examples(operation.get("requestBody", {}), schemas)
    if not bodies:
        return [_command(words)]
    words.append("-H 'Content-Type: application/json'")
    return [_command([*words, f"-d {shlex.quote(_json(each))}"]) for each in bodies]


def _command(words: Sequence[str]) -> str:
    return " \\\n  ".join(words)


def _first_example(answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    return "".join(f"<pre>{html.escape(_json(each))}</pre>" for each in _examples(answer, schemas)[:1])


def _examples(described: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Any]:
    """Of what is sent or answered, as its schema has them."""
    references = (
        name for kind in described.get("content", {}).values() for name in _references(kind.get("schema", {}))
    )
    return [example for name in references for example in schemas.get(name, {}).get("examples", ())]


def _content(described: Mapping[str, Any]) -> str:
    links = (
        f'<a href="#{html.escape(name)}">{html.escape(name)}</a>'
        for kind in described.get("content", {}).values()
        for name in _references(kind.get("schema", {}))
    )
    return " ".join(links)


def _references(schema: Mapping[str, Any]) -> Iterator[str]:
    """The names of the schemas that one refers to, itself or in its items."""
    if "$ref" in schema:
        yield str(schema["$ref"]).rpartition("/")[2]
    elif "items" in schema:
        yield from _references(schema["items"])


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    described = {name: value for name, value in schema.items() if name != "examples"}
    shown, name = html.escape(_json(described)), html.escape(name)
    return f'<details id="{name}"><summary><code>{name}</code></summary><pre>{shown}</pre></details>'


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _text(written: str | None) -> str:
    return f"<p>{html.escape(written)}</p>" if written else ""
