"""A private PostgreSQL server for the tests: its own cluster in a temporary folder, on loopback, gone afterwards.

``RANKOPT_TEST_POSTGRES`` names a server to use instead (its user must be allowed to create databases).
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, make_url, text


class Unavailable(Exception):
    """No server can be had here; the message says why."""


@contextmanager
def server(durable: bool = False) -> Iterator[str]:
    """Give the URL of a running server.

    Args:
        durable: sync as a server does that keeps its data.

    Raises:
        Unavailable: nothing is installed, or it does not start.
    """
    given = os.environ.get("RANKOPT_TEST_POSTGRES")
    if given:
        yield given
        return
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise Unavailable("the driver is missing: pip install 'psycopg[binary]'") from error
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="rankopt-pg-"))
    user = _unprivileged()
    if user is not None:
        shutil.chown(folder, user)
    port = _free_port()
    data = str(folder / "data")
    try:
        _run(user, programs["initdb"], "-D", data, "-U", "rankopt", "--auth=trust", "--no-sync", "-E", "UTF8", "--no-locale")
        # Speed only: these databases do not outlive the test.
        sync = "on" if durable else "off"
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync={sync} -c max_connections=60"
        _run(user, programs["pg_ctl"], "-D", data, "-w", "-t", "60", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://rankopt@127.0.0.1:{port}/postgres"
        finally:
            _run(user, programs["pg_ctl"], "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """Give the URL of a new, empty database on a server."""
    name = f"t_{uuid4().hex[:12]}"
    admin = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def _programs() -> dict[str, str]:
    for folder in (None, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)):
        found = {name: shutil.which(name, path=str(folder) if folder else None) for name in ("initdb", "pg_ctl")}
        if all(found.values()):
            return {name: str(path) for name, path in found.items()}
    raise Unavailable("no PostgreSQL server is installed (initdb and pg_ctl were not found)")


def _unprivileged() -> str | None:
    """Return the account to run as: the server refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise Unavailable("running as root and there is no unprivileged account for the server")


def _run(user: str | None, *command: str) -> None:
    # The server keeps its parent's standard streams open, so they must not be pipes.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, user=user, stdout=output, stderr=output, cwd="/", check=False, timeout=120)
        if done.returncode:
            output.seek(0)
            raise Unavailable(f"{Path(command[0]).name} failed: {output.read().decode(errors='replace')[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
