"""Quotas: how much a user, an account with all accounts below it, or an organization may hold at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from toolkit_hub.queue.planning.capacity import EPSILON
from toolkit_hub.queue.planning.runs import RunClass, RunningRun, WaitingRun

__all__ = ["Limits", "Quota", "QuotaBlock", "Usage", "check_submit"]

#: What a quota counts, in the order in which a refusal names the first one.
_COUNTED = ("gpus", "cpus", "mem", "running", "interactive")
#: The first so many of them are what a run holds.
_HELD = 3
_UNITS = {
    "gpus": "GPUs",
    "cpus": "CPUs",
    "mem": "GiB of memory",
    "running": "running jobs",
    "queued": "queued jobs",
    "interactive": "interactive jobs",
    "bid": "as highest bid",
}


@dataclass(frozen=True, slots=True)
class Quota:
    """None: no limit. `name` is what people call the holder; `mem` in GiB; `queued` and `bid` count at submit only. With
    `spares_preemptable`, runs that may be stopped for others neither count in GPUs, CPUs and memory nor are held back by them."""

    name: str = ""
    gpus: int | None = None
    cpus: float | None = None
    mem: float | None = None
    running: int | None = None
    interactive: int | None = None
    queued: int | None = None
    bid: int | None = None
    spares_preemptable: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Quotas by id. `parents` has the account above each account; `interactive_per_user` is for users whose quota names none."""

    users: Mapping[str, Quota] = field(default_factory=dict)
    accounts: Mapping[str, Quota] = field(default_factory=dict)
    organizations: Mapping[str, Quota] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    interactive_per_user: int | None = None

    def scopes(self, user: str, account: str, organization: str) -> list[tuple[str, str, Quota]]:
        """The quotas that bind a run, the narrowest first, as kind, id and quota."""
        found: list[tuple[str, str, Quota]] = []
        own = self.users.get(user, Quota(user))
        if own.interactive is None and self.interactive_per_user is not None:
            own = replace(own, interactive=self.interactive_per_user)
        if user in self.users or own.interactive is not None:
            found.append(("user", user, own))
        above: str | None = account
        seen: set[str] = set()
        while above is not None and above not in seen:
            seen.add(above)
            if above in self.accounts:
                found.append(("account", above, self.accounts[above]))
            above = self.parents.get(above)
        if organization in self.organizations:
            found.append(("organization", organization, self.organizations[organization]))
        return found


@dataclass(frozen=True, slots=True)
class QuotaBlock:
    """A quota that a run would break: `used` of `limit` are taken and the run asks for `asked` more of `what`."""

    kind: str
    scope: str
    name: str
    what: str
    limit: float
    used: float
    asked: float

    @property
    def never(self) -> bool:
        """Whether the run alone is beyond the quota."""
        return self.asked > self.limit + EPSILON

    def holder(self) -> str:
        return f"{self.kind} {self.name or self.scope}"

    def unit(self) -> str:
        return _UNITS[self.what]

    def details(self) -> str:
        """With the numbers of now."""
        amounts = f"{self.used:g} of {self.limit:g} {self.unit()} in use, and it asks for {self.asked:g}"
        return f"the quota of {self.holder()}: {amounts}"


class _Scope:
    """A quota and what is used of it."""

    __slots__ = ("kind", "limits", "quota", "scope", "used")

    def __init__(self, kind: str, scope: str, quota: Quota) -> None:
        self.kind, self.scope, self.quota = kind, scope, quota
        self.used = [0.0] * len(_COUNTED)
        counted = ((place, getattr(quota, what)) for place, what in enumerate(_COUNTED))
        self.limits = tuple((place, limit) for place, limit in counted if limit is not None)

    def counts(self, run: WaitingRun | RunningRun, place: int) -> bool:
        """Whether the quota looks at this amount of the run."""
        return place >= _HELD or not self.quota.spares_preemptable or run.run_class < RunClass.PREEMPTABLE

    def block(self, place: int, limit: float, asked: float) -> QuotaBlock:
        return QuotaBlock(
            self.kind, self.scope, self.quota.name, _COUNTED[place], limit, round(self.used[place], 6), asked
        )


class Usage:
    """What is held under each quota. One object for one pass: it is changed as runs start."""

    def __init__(self, limits: Limits, running: tuple[RunningRun, ...] = ()) -> None:
        self._limits = limits
        self._scopes: dict[tuple[str, str], _Scope] = {}
        self._of: dict[tuple[str, str, str], tuple[_Scope, ...]] = {}
        for run in running:
            amounts = (len(run.devices), run.cpu, run.mem, 1, int(run.run_class is RunClass.INTERACTIVE))
            self._add(run, amounts)

    def binding(self, run: WaitingRun | RunningRun) -> tuple[_Scope, ...]:
        """The quotas that the run comes under; empty for most."""
        who = (run.user, run.account, run.organization)
        found = self._of.get(who)
        if found is None:
            scopes = self._limits.scopes(*who)
            found = self._of[who] = tuple(
                self._scopes.setdefault((kind, scope), _Scope(kind, scope, quota)) for kind, scope, quota in scopes
            )
        return found

    def take(self, run: WaitingRun) -> None:
        self._add(run, _amounts(run))

    def block(self, run: WaitingRun, beside: WaitingRun | None = None) -> QuotaBlock | None:
        """The first quota that the run would break; with `beside`, if that run were to hold its part as well."""
        scopes = self.binding(run)
        if not scopes:
            return None
        amounts = _amounts(run)
        kept = self.binding(beside) if beside is not None else ()
        for scope in scopes:
            for place, limit in scope.limits:
                asked = amounts[place]
                if not asked or not scope.counts(run, place):
                    continue
                used = scope.used[place] + asked
                if beside is not None and scope in kept and scope.counts(beside, place):
                    used += _amounts(beside)[place]
                if used > limit + EPSILON:
                    return scope.block(place, limit, asked)
        return None

    def _add(self, run: WaitingRun | RunningRun, amounts: tuple[float, ...]) -> None:
        for scope in self.binding(run):
            for place, amount in enumerate(amounts):
                if scope.counts(run, place):
                    scope.used[place] += amount


def _amounts(run: WaitingRun) -> tuple[float, ...]:
    asks = run.request
    return asks.gpu, asks.cpu, asks.mem, 1, int(run.run_class is RunClass.INTERACTIVE)


def check_submit(limits: Limits, run: WaitingRun, queued: tuple[WaitingRun, ...]) -> QuotaBlock | None:
    """What forbids to put the run into the queue: too many there, too high a bid, or more than its quotas ever allow."""
    never = Usage(limits).block(run)
    if never is not None:
        return never
    for kind, scope, quota in limits.scopes(run.user, run.account, run.organization):
        if quota.bid is not None and run.bid > quota.bid:
            return QuotaBlock(kind, scope, quota.name, "bid", quota.bid, 0, run.bid)
        if quota.queued is not None:
            count = sum((kind, scope, quota) in limits.scopes(o.user, o.account, o.organization) for o in queued)
            if count + 1 > quota.queued:
                return QuotaBlock(kind, scope, quota.name, "queued", quota.queued, count, 1)
    return None
