"""Sign-in, refresh, sign-out (API.md, section 2; no state: tokens are `TokenService`'s, accounts the store's)."""

from quart import Blueprint, Response

from oht50d.model.accounts import Account, Role
from oht50d.model.errors import CommandRejected
from oht50d.web.envelope import success
from oht50d.web.guard import Guard
from oht50d.web.present import Json
from oht50d.web.schema import LoginRequest, OneTimeRequest, RefreshRequest, body_as
from oht50d.web.tokens import PERMISSIONS, TokenPair
from oht50d.web.web_ports import WebPorts


def user_view(username: str, role: Role) -> Json:
    """A user as clients see one."""
    return {
        "id": username,
        "username": username,
        "role": role.name.lower(),
        "permissions": list(PERMISSIONS[role]),
    }


def _tokens(pair: TokenPair, message: str) -> Response:
    view: Json = {
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "token_type": "bearer",
        "expires_in": pair.expires_s,
        "user": user_view(pair.account.username, pair.account.role),
    }
    response = success(view, message, top=view)
    response.headers["Cache-Control"] = "no-store"
    return response


def auth_blueprint(ports: WebPorts, guard: Guard) -> Blueprint:
    """/auth/login, /refresh, /logout, /me and /one-time."""
    blueprint = Blueprint("auth", __name__, url_prefix="/api/v1/auth")

    @blueprint.post("/login")
    async def login() -> Response:
        given = await body_as(LoginRequest)
        account = await ports.accounts.verify(given.username, given.password)
        return _tokens(ports.tokens.issue(_active(account, "wrong user name or password")), "signed in")

    @blueprint.post("/refresh")
    async def refresh() -> Response:
        spent = ports.tokens.spend((await body_as(RefreshRequest)).refresh_token)
        account = _active(await ports.accounts.get(spent.username), "the account is gone or switched off")
        return _tokens(ports.tokens.issue(account, spent.session_id), "refreshed")

    @blueprint.post("/one-time")
    async def one_time() -> Response:
        account = ports.one_time.redeem((await body_as(OneTimeRequest)).token)
        return _tokens(ports.tokens.issue(_active(account, "this link was used or is too old")), "signed in")

    @blueprint.post("/logout")
    async def logout() -> Response:
        ports.tokens.revoke(guard.identity().session_id)
        return success({}, "signed out")

    @blueprint.get("/me")
    async def me() -> Response:
        identity = guard.identity()
        return success(user_view(identity.username, identity.role))

    return blueprint


def _active(account: Account | None, why_not: str) -> Account:
    if account is None or not account.is_active:
        raise CommandRejected("AUTH_FAILED", why_not)
    return account
