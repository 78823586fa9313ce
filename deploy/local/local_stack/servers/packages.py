"""Apache Kafka and Apicurio Registry from Maven packages, checked against packages.lock, kept in a cache.

The cache is the user's (`$XDG_CACHE_HOME/consent-relay`), so a second clone downloads nothing. A set of packages
becomes visible in it by one rename, after every file has had the SHA-256 of the lock file: an interrupted
download leaves nothing that a later start could trust.
"""

import fcntl
import hashlib
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import DownloadFailedError, StartCancelledError
from local_stack.servers.download_bar import Download, download_progress

LOCK_FILE = Path(__file__).with_name("packages.lock")
PARALLEL = 6


@dataclass(frozen=True, kw_only=True)
class Package:
    """One line of the lock file."""

    set_name: str
    group: str
    artifact: str
    version: str
    classifier: str
    packaging: str
    size: int
    sha256: str


def locked(set_name: str, lock_file: Path = LOCK_FILE) -> list[Package]:
    """The packages of one set, as locked."""
    found = []
    for line in lock_file.read_text().splitlines():
        if line and not line.startswith("#"):
            name, group, artifact, version, classifier, packaging, size, sha256 = line.split()
            if name == set_name:
                found.append(
                    Package(
                        set_name=name,
                        group=group,
                        artifact=artifact,
                        version=version,
                        classifier="" if classifier == "-" else classifier,
                        packaging=packaging,
                        size=int(size),
                        sha256=sha256,
                    )
                )
    return found


def cache_dir() -> Path:
    """The user's cache directory for this project."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "consent-relay"


def installed(set_name: str) -> Path:
    """The directory with the set's files, downloaded first when it is not there yet.

    Jars are left as they are; a tar.gz is unpacked. Raises DownloadFailedError.
    """
    packages = locked(set_name)
    fingerprint = hashlib.sha256("".join(package.sha256 for package in packages).encode()).hexdigest()[:12]
    target = cache_dir() / f"{set_name}-{fingerprint}"
    if not target.exists():
        cache_dir().mkdir(parents=True, exist_ok=True)
        with _exclusive(cache_dir() / f"{set_name}.lock"):
            if not target.exists():
                _install(set_name, packages, target)
    return target


def verify(file: Path, package: Package) -> None:
    """Raises DownloadFailedError unless the file is the one that was locked."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != package.sha256:
        raise DownloadFailedError(
            f"{package.artifact} {package.version} has SHA-256 {found}, {LOCK_FILE.name} says {package.sha256}"
        )


def _install(set_name: str, packages: list[Package], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=f".{set_name}-") as scratch:
        staging = Path(scratch) / "files"
        staging.mkdir()
        files = _fetch_all(set_name, packages, Path(scratch))
        for package, file in zip(packages, files, strict=True):
            if package.packaging == "tar.gz":
                with tarfile.open(file) as archive:
                    archive.extractall(staging, filter="data")
            else:
                shutil.move(file, staging / file.name)
        staging.rename(target)


def _fetch_all(set_name: str, packages: list[Package], scratch: Path) -> list[Path]:
    stop = threading.Event()
    with (
        download_progress(set_name, sum(package.size for package in packages)) as progress,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):
        try:
            return list(pool.map(lambda package: fetch(package, scratch, progress, stop), packages))
        except BaseException:
            stop.set()  # Ctrl-C, or one that failed: the others need not come to their end
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def fetch(package: Package, scratch: Path, progress: Download, stop: threading.Event) -> Path:
    # Imported here: a start with a full cache does without jgo's half second.
    from jgo.maven import MavenContext, PythonResolver

    def advance(count: int) -> None:
        if stop.is_set():
            raise StartCancelledError
        progress.advance(count)

    @contextmanager
    def report(_filename: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield advance

    context = MavenContext(
        resolver=PythonResolver(progress_callback=report), repo_cache=scratch / "repository", timeout=60
    )
    component = context.project(package.group, package.artifact).at_version(package.version)
    try:
        file = Path(component.artifact(package.classifier, package.packaging).resolve())
    except Exception as error:
        raise DownloadFailedError(
            f"cannot download {package.artifact} {package.version}: {error}\n"
            "The first start needs the network (about 200 MB, kept in the cache for the next ones)."
        ) from error
    verify(file, package)
    return file


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """One downloader at a time, over all processes of the user."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
