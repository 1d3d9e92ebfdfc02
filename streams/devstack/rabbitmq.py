"""RabbitMQ: Debian's rabbitmq-server as a separate node with the management plugin.

The node has its own name, cookie and Erlang port mapper, so it is isolated from a system-wide
RabbitMQ and from other stacks.
"""

from __future__ import annotations

import json
import re
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from streams.devstack import probes
from streams.devstack.packages import Need, newest, which
from streams.devstack.ports import LOOPBACK
from streams.devstack.process import Command, clean_environment
from streams.devstack.service import Image, certificates_of, folder
from streams.devstack.state import ServiceRecord

# Without busy waiting Erlang wakes up a little slower, but leaves CPU time to other processes.
_ERLANG_ARGUMENTS = (
    "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
)

_WITH_FILES = ("ssl_options", "management.ssl")
_LIMITED_SINCE = 4
"""From this version on a quorum queue has a delivery limit; older ones refuse to lift it."""

QUEUES = "queues"
"""Name of the option for the type of queues."""
LIFTED = "scrutin-votes"
"""Name of the operator's policy that lifts the delivery limit."""

QueueType = Literal["quorum", "classic"]


def _server() -> Path | None:
    """The server's own script: Debian's wrapper requires the system-wide node's user."""
    return newest("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")


CONTAINER_ARGUMENTS = (
    "-rabbit default_queue_type rabbit_quorum_queue -rabbit default_policies"
    f' [{{operator,[{{<<"{LIFTED}">>,[{{<<"queue_pattern">>,<<"^votes[.]">>}},'
    '{<<"delivery_limit">>,-1}]}]}]'
)
"""The same as :func:`definitions` for the virtual host that RabbitMQ 4.3 itself creates."""


def has_limits(server: Path) -> bool:
    """Whether quorum queues of this server have a delivery limit.

    Args:
        server: its script, in a folder that names the version.
    """
    version = re.search(r"rabbitmq_server-(\d+)\.", str(server))
    return version is not None and int(version[1]) >= _LIMITED_SINCE


def definitions(options: Mapping[str, str], *, limits: bool) -> dict[str, Any]:
    """What a node with quorum queues holds from its first start on.

    Args:
        options: of the service.
        limits: whether quorum queues have a delivery limit, which is lifted then.
    """
    user, vhost = options["user"], options["vhost"]
    everything = dict.fromkeys(("configure", "write", "read"), ".*")
    # An operator's policy holds beside policies of others; a limit that they give prevails over it.
    lifted = {
        "component": "operator_policy",
        "vhost": vhost,
        "name": LIFTED,
        "value": {
            "pattern": "^votes[.]",
            "apply-to": "queues",
            "definition": {"delivery-limit": -1},
        },
    }
    return {
        "users": [{"name": user, "password": options["password"], "tags": "administrator"}],
        "vhosts": [{"name": vhost, "metadata": {"default_queue_type": "quorum"}}],
        "permissions": [{"user": user, "vhost": vhost, **everything}],
        "parameters": [lifted] if limits else [],
    }


def _listeners(record: ServiceRecord) -> list[str]:
    place = f"{LOOPBACK}:{record.ports['amqp']}"
    management = record.ports["management"]
    if (certificates := certificates_of(record)) is None:
        return [
            f"listeners.tcp.1 = {place}",
            f"management.tcp.ip = {LOOPBACK}",
            f"management.tcp.port = {management}",
        ]
    files = {
        "cacertfile": certificates.ca,
        "certfile": certificates.certificate,
        "keyfile": certificates.key,
    }
    return [
        "listeners.tcp = none",
        f"listeners.ssl.1 = {place}",
        f"management.ssl.ip = {LOOPBACK}",
        f"management.ssl.port = {management}",
        *(f"{at}.{name} = {file}" for name, file in files.items() for at in _WITH_FILES),
        "ssl_options.verify = verify_none",
        "ssl_options.fail_if_no_peer_cert = false",
    ]


def _first_data(record: ServiceRecord) -> list[str]:
    """Lines for the user and the virtual host."""
    # RabbitMQ's own default is classic. Clients would be refused (406) if it changed later.
    if record.options.get(QUEUES) != "quorum":
        return [
            f"default_user = {record.options['user']}",
            f"default_pass = {record.options['password']}",
            "default_vhost = /",
        ]
    server = _server()
    path = folder(record) / "definitions.json"
    path.touch(mode=0o600)
    held = definitions(record.options, limits=server is not None and has_limits(server))
    path.write_text(json.dumps(held))
    return [f"load_definitions = {path}"]


def _management(record: ServiceRecord) -> str:
    scheme = "https" if "tls" in record.options else "http"
    return f"{scheme}://{record.host}:{record.ports['management']}"


class RabbitMQ:
    """See :class:`streams.devstack.service.Service`.

    Args:
        queue_type: of durable queues that are declared without one, in a broker that `up` creates.
    """

    name = "rabbitmq"
    title = "RabbitMQ"
    ports: tuple[str, ...] = ("amqp", "management", "epmd", "distribution")
    stop_signal: signal.Signals = signal.SIGTERM
    abandon_signal: signal.Signals = signal.SIGKILL

    def __init__(self, queue_type: QueueType = "classic") -> None:
        self._queue_type = queue_type

    def given(self, stack_id: str, environ: Mapping[str, str]) -> ServiceRecord | None:
        """From RABBITMQ_HOST, PORT, USER, PASSWORD (or PASS) and VHOST."""
        host = environ.get("RABBITMQ_HOST")
        if not host:
            return None
        management = environ.get("SCRUTIN_RABBITMQ_MANAGEMENT_URL")
        password = environ.get("RABBITMQ_PASSWORD") or environ.get("RABBITMQ_PASS") or "guest"
        return ServiceRecord(
            name=self.name,
            stack=stack_id,
            kind="given",
            host=host,
            ports={"amqp": int(environ.get("RABBITMQ_PORT", "5672"))},
            options={
                "user": environ.get("RABBITMQ_USER", "guest"),
                "password": password,
                "vhost": environ.get("RABBITMQ_VHOST", "/"),
                **({"management": management} if management else {}),
            },
        )

    def options(self) -> dict[str, str]:
        """A user with a random password, and the type of queues."""
        password = secrets.token_urlsafe(12)
        return {"user": "scrutin", "password": password, "vhost": "/", QUEUES: self._queue_type}

    def needs(self) -> Sequence[Need]:
        """rabbitmq-server with Erlang."""
        return [
            Need("rabbitmq-server", "rabbitmq-server", _server),
            Need("epmd", "erlang-base", lambda: which("epmd")),
        ]

    def prepare(self, record: ServiceRecord, say: Callable[[str], None]) -> None:
        """Write the configuration and the cookie."""
        del say
        home = folder(record)
        for part in ("", "data", "log", "home"):
            (home / part).mkdir(parents=True, exist_ok=True)
        lines = [
            *_listeners(record),
            *_first_data(record),
            "log.console = true",
            "log.console.level = info",
            "log.console.use_colors = off",
            "log.file = false",
            # A publisher blocked by an alarm would look like a fault of Scrutin.
            "disk_free_limit.absolute = 50MB",
            "vm_memory_high_watermark.relative = 0.4",
        ]
        config = home / "rabbitmq.conf"
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n")
        (home / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (home / "rabbitmq-env.conf").write_text("")
        cookie = home / "home" / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)

    def commands(self, record: ServiceRecord) -> list[Command]:
        """The port mapper, which would otherwise outlive the node unrecorded, and the node."""
        home = folder(record)
        epmd_port = str(record.ports["epmd"])
        env = clean_environment(
            HOME=str(home / "home"),
            ERL_EPMD_ADDRESS=LOOPBACK,
            ERL_EPMD_PORT=epmd_port,
            RABBITMQ_NODENAME=f"scrutin-{record.stack}@localhost",
            RABBITMQ_DIST_PORT=str(record.ports["distribution"]),
            RABBITMQ_CONF_ENV_FILE=str(home / "rabbitmq-env.conf"),
            RABBITMQ_CONFIG_FILE=str(home / "rabbitmq.conf"),
            RABBITMQ_ADVANCED_CONFIG_FILE=str(home / "advanced.config"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(home / "enabled_plugins"),
            RABBITMQ_MNESIA_BASE=record.data,
            RABBITMQ_LOG_BASE=str(home / "log"),
            RABBITMQ_PID_FILE=str(home / "rabbitmq.pid"),
            RABBITMQ_GENERATED_CONFIG_DIR=str(home / "generated"),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=_ERLANG_ARGUMENTS,
            # The script then execs Erlang instead of waiting for it: one process to signal.
            RUNNING_UNDER_SYSTEMD="true",
        )
        epmd = [str(which("epmd")), "-address", LOOPBACK, "-port", epmd_port]
        return [
            Command("epmd", epmd, cwd=home, env=env),
            Command("rabbitmq-server", [str(_server())], cwd=home, env=env),
        ]

    def image(self, record: ServiceRecord) -> Image:
        """The official image with management."""
        quorum = record.options.get(QUEUES) == "quorum"
        more = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": CONTAINER_ARGUMENTS} if quorum else {}
        return Image(
            name="rabbitmq:4.3-management-alpine",
            environment={
                **more,
                "RABBITMQ_DEFAULT_USER": record.options["user"],
                "RABBITMQ_DEFAULT_PASS": record.options["password"],
                "RABBITMQ_NODENAME": "rabbit@localhost",
            },
            ports={"amqp": 5672, "management": 15672},
        )

    def probe(self, record: ServiceRecord) -> None:
        """Check that AMQP answers, and the management API of the stack's own broker."""
        probes.amqp(record.host, record.ports["amqp"], tls="tls" in record.options)
        if "management" in record.ports:
            probes.http_get(
                record.host,
                record.ports["management"],
                "/api/whoami",
                user=record.options["user"],
                password=record.options["password"],
                tls="tls" in record.options,
            )

    def env(self, record: ServiceRecord) -> dict[str, str]:
        """RABBITMQ_*, and the management API that `scrutin doctor` and the bridge ask."""
        more = {"RABBITMQ_TLS": "true"} if "tls" in record.options else {}
        if "management" in record.ports:
            more["SCRUTIN_RABBITMQ_MANAGEMENT_URL"] = _management(record)
        elif "management" in record.options:
            more["SCRUTIN_RABBITMQ_MANAGEMENT_URL"] = record.options["management"]
        return {
            **more,
            "RABBITMQ_HOST": record.host,
            "RABBITMQ_PORT": str(record.ports["amqp"]),
            "RABBITMQ_USER": record.options["user"],
            "RABBITMQ_PASSWORD": record.options["password"],
            "RABBITMQ_VHOST": record.options["vhost"],
        }

    def links(self, record: ServiceRecord) -> dict[str, str]:
        """amqp:// and the management pages."""
        user = record.options["user"]
        scheme = "amqps" if "tls" in record.options else "amqp"
        found = {self.title: f"{scheme}://{user}@{record.host}:{record.ports['amqp']}"}
        if "management" in record.ports:
            found["RabbitMQ management"] = f"{_management(record)}/"
        return found
