"""Who asks, may they, and how often: bearer tokens, roles, rate limits. Owner of the tables: `Guard`, one per app."""

from collections import OrderedDict

from quart import g, request

from oht50d.clock import now_ns
from oht50d.model.accounts import Role
from oht50d.model.errors import CommandRejected
from oht50d.services.ports import Actor, Claim
from oht50d.web.rate_limit import RateLimiter, Verdict
from oht50d.web.tokens import Identity
from oht50d.web.web_ports import WebPorts

_ACCOUNT_LIFE_NS = 5_000_000_000
_ACCOUNT_LIMIT = 1024


class Guard:
    """Reads the token once a request; refusals name the reason, the role that is needed, or the wait."""

    def __init__(self, ports: WebPorts) -> None:
        self._ports = ports
        self._requests = RateLimiter(ports.config.requests_per_minute)
        self._commands = RateLimiter(ports.config.commands_per_minute)
        self._active: OrderedDict[str, tuple[bool, int]] = OrderedDict()

    def count_request(self) -> Verdict:
        """One request of this user, or of this address if nobody is signed in."""
        return self._requests.take(self._key(), now_ns())

    def identity(self) -> Identity:
        """Who asks; raises CommandRejected INVALID_TOKEN or AUTH_FAILED."""
        known: Identity | None = g.get("identity")
        if known is None:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not token:
                raise CommandRejected(
                    "AUTH_FAILED",
                    "sign in: this needs an Authorization header with a bearer token",
                    {"field": "Authorization", "issue": "required: Bearer and a token"},
                )
            known = g.identity = self._ports.tokens.check(token.strip())
        return known

    def require(self, role: Role) -> Actor:
        """The signed-in actor with at least `role`; raises CommandRejected."""
        identity = self.identity()
        if identity.role < role:
            raise CommandRejected(
                "INSUFFICIENT_PERMISSIONS",
                f"this needs the role {role.name.lower()}, {identity.username} is {identity.role.name.lower()}",
                {"required_role": role.name.lower(), "role": identity.role.name.lower()},
            )
        return Actor(identity.username, identity.role, "http", address=request.remote_addr or "")

    async def require_for_command(self, role: Role) -> Actor:
        """Like `require`, counts a command, and looks whether the account is still active (at most 5 s old)."""
        actor = self.require(role)
        self.count_command(actor.name)
        await self.require_active(actor.name)
        return actor

    def count_command(self, username: str) -> None:
        """One command of this user; raises CommandRejected RATE_LIMITED."""
        verdict = self._commands.take(username, now_ns())
        if not verdict.is_allowed:
            raise limited(verdict)

    async def require_active(self, username: str) -> None:
        """Raises CommandRejected INVALID_TOKEN if the account is gone or was switched off."""
        is_active, read_ns = self._active.get(username, (False, 0))
        if not is_active or now_ns() - read_ns > _ACCOUNT_LIFE_NS:
            account = await self._ports.accounts.get(username)
            is_active = account is not None and account.is_active
            self._active[username] = (is_active, now_ns())
            self._active.move_to_end(username)
            if len(self._active) > _ACCOUNT_LIMIT:
                self._active.popitem(last=False)
        if not is_active:
            raise CommandRejected("INVALID_TOKEN", f"the account {username} is switched off")

    def optional_actor(self) -> Actor | None:
        """Who asks if they are signed in; None otherwise. Never raises: STOP is for everybody."""
        try:
            return self.require(Role.VIEWER)
        except CommandRejected:
            return None

    def _key(self) -> str:
        actor = self.optional_actor()
        return f"user:{actor.name}" if actor is not None else f"address:{request.remote_addr or 'unknown'}"


def limited(verdict: Verdict) -> CommandRejected:
    """The refusal of one act too many."""
    return CommandRejected(
        "RATE_LIMITED",
        f"more than {verdict.limit} a minute: try again in {verdict.reset_s} s",
        {"limit": verdict.limit, "retry_after_s": verdict.reset_s},
    )


def claim_of(boot_id: str | None, epoch: int | None, *, code: str) -> Claim:
    """The claim that a motion command carries; raises CommandRejected with the missing field."""
    for name, given in (("boot_id", boot_id), ("epoch", epoch)):
        if given is None:
            issue = "required and missing"
            raise CommandRejected(code, f"{name}: {issue}", {"field": name, "issue": issue})
    assert boot_id is not None
    assert epoch is not None
    return Claim(boot_id, epoch)
