"""Apicurio Registry 3.3.3, speaking Confluent's REST protocol, its schemas in PostgreSQL.

Its in-memory storage would hand out other schema ids after a restart, and every record written before could
no longer be read.
"""

from urllib.parse import urlsplit

import httpx

from local_stack.processes.child import Program
from local_stack.servers.java import ARCHIVE_SECONDS, BRIEF, archive_of, java
from local_stack.servers.packages import installed


class Registry:
    """One registry on `port`."""

    name = "registry"

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}/apis/ccompat/v7"

    def program(self, database_url: str) -> Program:
        """Keeping its schemas in the database at `database_url` (SQLAlchemy's form)."""
        database = urlsplit(database_url)
        settings = {
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "postgresql",
            "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://{database.hostname}:{database.port}{database.path}",
            "APICURIO_DATASOURCE_USERNAME": database.username or "",
            "APICURIO_DATASOURCE_PASSWORD": database.password or "",
            "APICURIO_DATASOURCE_JDBC_INITIAL_SIZE": "1",
            "APICURIO_DATASOURCE_JDBC_MIN_SIZE": "1",
            "APICURIO_DATASOURCE_JDBC_MAX_SIZE": "10",
            # Else every connection that a restart of PostgreSQL broke fails one request.
            "QUARKUS_DATASOURCE_POSTGRESQL_JDBC_VALIDATE_ON_BORROW": "true",
            "QUARKUS_HTTP_HOST": "127.0.0.1",
            "QUARKUS_HTTP_PORT": str(self._port),
            # A second listener that we do not use, else on 9000 of every interface.
            "QUARKUS_MANAGEMENT_HOST": "127.0.0.1",
            "QUARKUS_MANAGEMENT_PORT": "0",
        }
        home = installed("registry")
        arguments = [BRIEF, "-jar", str(home / "quarkus-run.jar")]
        command = java(heap="256m", arguments=arguments, archive=archive_of(home))
        return Program(name=self.name, command=command, env=settings, stop_seconds=ARCHIVE_SECONDS)

    def probe(self) -> str | None:
        """None when it lists its subjects, else why not."""
        try:
            answer = httpx.get(f"{self.url}/subjects", timeout=5)
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__
        return None if answer.status_code == 200 else f"HTTP {answer.status_code}"
