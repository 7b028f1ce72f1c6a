"""Every way in which the stack refuses: one class each, its docstring is the message."""

from __future__ import annotations

from hierdiff_core.errors import HierdiffError


class StackRunning(HierdiffError):
    """A stack already runs on {home} (process {pid}): use it, or stop it with Ctrl-C there."""


class ServiceFailed(HierdiffError):
    """Service {service} {reason}; its log is {log}."""


class MissingPart(HierdiffError):
    """The embedded stack needs {part}, which is not installed: pip install 'hierdiff[standalone]'
    or run `make install`."""


class MissingUser(HierdiffError):
    """PostgreSQL refuses to run as root and the OS user {user!r} cannot be created ({reason});
    create it, or start the stack as another user."""


class UnusableHome(HierdiffError):
    """Folder {home} cannot hold a stack: {reason}; set HIERDIFF_HOME to another one."""


class MissingDeployments(HierdiffError):
    """No prefect.yaml in {folders}; run from a clone, or install hierdiff again."""


class SubtreeFailed(HierdiffError):
    """Flow run {child} ({name}) ended as {state}; its page in the UI says why. Retry it or the
    night to make what is missing."""


class WaitGivenUp(HierdiffError):
    """Nobody waits for this flow run here any more; it goes on."""


class EmbeddingFailed(HierdiffError):
    """Flow run {child} ({name}) ended as {state}; its page in the UI says why. Retry the night to
    embed what is missing."""


class NightIncomplete(HierdiffError):
    """Run {run} is missing {missing} images{aside}; retry it in the UI or with
    `hierdiff retry {run}`."""


class NoPrefect(HierdiffError):
    """PREFECT_API_URL is not set and no stack runs here: set it, or start `hierdiff standalone`."""


class UnreachablePrefect(HierdiffError):
    """No Prefect server answers at {url} ({reason}); check that it runs and that PREFECT_API_URL is
    right."""


class UntrustedPrefect(HierdiffError):
    """The certificate of the Prefect server at {url} is not trusted here ({reason}); set
    PREFECT_API_SSL_CERT_FILE to the certificate of whoever signed it."""


class RefusedByPrefect(HierdiffError):
    """The Prefect server at {url} refuses this client; set PREFECT_API_AUTH_STRING or
    PREFECT_API_KEY."""


class NotDeployed(HierdiffError):
    """The Prefect server at {url} has no deployment {name}; run `hierdiff deploy` first."""


class PortTaken(HierdiffError):
    """Nothing can be served on {host}:{port}: {reason}; name another port with --port."""
