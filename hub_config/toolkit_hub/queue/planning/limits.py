"""Quotas: how much a user, an account with all accounts below it, or an organization may hold at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from toolkit_hub.queue.planning.capacity import EPSILON
from toolkit_hub.queue.planning.runs import Request, RunClass, RunningRun, WaitingRun

__all__ = ["Limits", "Quota", "QuotaBlock", "Usage", "check_submit", "nearest_allowed"]

#: What a quota counts, in the order in which a refusal names the first one.
_COUNTED = ("gpus", "cpus", "mem", "running", "interactive")
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

    def limit_in_words(self) -> str:
        unit = _UNITS[self.what]
        return f"{self.limit:g} {unit[:-1] if self.limit == 1 and unit.endswith('s') else unit}"

    def details(self) -> str:
        """With the numbers of now."""
        in_use = "" if self.never else f"{self.used:g} of "
        amounts = f"{in_use}{self.limit_in_words()}{'' if self.never else ' in use'}, and it asks for {self.asked:g}"
        return f"the quota of {self.holder()}: {amounts}"

    def shown_by(self) -> str:
        """The command that shows the quota."""
        return f"`toolkit quota ls {self._as_arguments()}`"

    def raised_by(self) -> str:
        """The command that raises it."""
        return f"`toolkit quota set {self._as_arguments()} {self.what}=N`"

    def _as_arguments(self) -> str:
        name = self.name or self.scope
        return {"user": f"--user {name}", "organization": "--organization"}.get(self.kind, name)


class _Scope:
    """A quota and what is used of it."""

    __slots__ = ("kind", "quota", "scope", "used")

    def __init__(self, kind: str, scope: str, quota: Quota) -> None:
        self.kind, self.scope, self.quota = kind, scope, quota
        self.used = [0.0] * len(_COUNTED)


@dataclass(frozen=True, slots=True)
class _Binding:
    """How a quota binds the runs of one class: the amounts that it limits, by place in `_COUNTED`."""

    scope: _Scope
    limits: tuple[tuple[int, float], ...]


class Usage:
    """What is held under each quota. One object for one pass: it is changed as runs start."""

    def __init__(self, limits: Limits, running: Iterable[RunningRun] = ()) -> None:
        self._limits = limits
        self._scopes: dict[tuple[str, str], _Scope] = {}
        self._scopes_of: dict[tuple[str, str, str], list[tuple[str, str, Quota]]] = {}
        #: By class (a list: hashing an Enum is slow), then by who.
        self._of: list[dict[tuple[str, str, str], tuple[_Binding, ...]]] = [{} for _ in RunClass]
        for run in running:
            self._add(run, (len(run.devices), run.cpu, run.mem, 1, 1))

    def take(self, run: WaitingRun) -> None:
        self._add(run, _amounts(run))

    def block(self, run: WaitingRun, beside: WaitingRun | None = None) -> QuotaBlock | None:
        """The first quota that the run would break; with `beside`, if that run were to hold its part as well."""
        bindings = self._of[run.run_class].get((run.user, run.account, run.organization))
        if bindings is None:
            bindings = self._bindings(run)
        if not bindings:
            return None
        amounts = _amounts(run)
        for binding in bindings:
            scope = binding.scope
            more = self._part(beside, scope) if beside is not None else None
            for place, limit in binding.limits:
                used = scope.used[place] + (more[place] if more else 0)
                if amounts[place] and used + amounts[place] > limit + EPSILON:
                    return self._blocked(scope, place, limit, amounts[place])
        return None

    def ceiling(self, run: WaitingRun) -> tuple[float, ...]:
        """What the run asks for, in the order of `_COUNTED`, and no more of anything than its quotas ever allow."""
        most = list(_amounts(run))
        for binding in self._bindings(run):
            for place, limit in binding.limits:
                most[place] = min(most[place], limit)
        return tuple(most)

    def _part(self, run: WaitingRun, scope: _Scope) -> list[float] | None:
        """What the run would take of a quota, None if it does not come under it."""
        binding = next((one for one in self._bindings(run) if one.scope is scope), None)
        if binding is None:
            return None
        amounts = _amounts(run)
        counted = {place for place, _ in binding.limits}
        return [amount if place in counted else 0 for place, amount in enumerate(amounts)]

    def _bindings(self, run: WaitingRun | RunningRun) -> tuple[_Binding, ...]:
        """The quotas that the run comes under; none for most."""
        key, known = (run.user, run.account, run.organization), self._of[run.run_class]
        found = known.get(key)
        if found is None:
            scopes = self._scopes_of.get(key)
            if scopes is None:
                scopes = self._scopes_of[key] = self._limits.scopes(*key)
            bindings = (self._binding(*scope, run.run_class) for scope in scopes)
            found = known[key] = tuple(binding for binding in bindings if binding.limits)
        return found

    def _binding(self, kind: str, scope: str, quota: Quota, run_class: RunClass) -> _Binding:
        spared: tuple[str, ...] = () if run_class is RunClass.INTERACTIVE else ("interactive",)
        if quota.spares_preemptable and run_class >= RunClass.PREEMPTABLE:
            spared += ("gpus", "cpus", "mem")
        known = self._scopes.setdefault((kind, scope), _Scope(kind, scope, quota))
        limits = [(place, getattr(quota, what)) for place, what in enumerate(_COUNTED) if what not in spared]
        limited = tuple((place, limit) for place, limit in limits if limit is not None)
        return _Binding(known, limited)

    def _add(self, run: WaitingRun | RunningRun, amounts: tuple[float, ...]) -> None:
        for binding in self._bindings(run):
            for place, _ in binding.limits:
                binding.scope.used[place] += amounts[place]

    @staticmethod
    def _blocked(scope: _Scope, place: int, limit: float, asked: float) -> QuotaBlock:
        used = round(scope.used[place], 6)
        return QuotaBlock(scope.kind, scope.scope, scope.quota.name, _COUNTED[place], limit, used, asked)


def _amounts(run: WaitingRun) -> tuple[float, ...]:
    asks = run.request
    return asks.gpu, asks.cpu, asks.mem, 1, 1


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


def nearest_allowed(limits: Limits, run: WaitingRun) -> WaitingRun | None:
    """The run with no more of anything than its quotas ever allow, its bid included; None where they allow no job at all."""
    gpus, cpu, mem, running, interactive = Usage(limits).ceiling(run)
    if min(cpu, mem) <= 0 or min(running, interactive) < 1:
        return None
    asks = run.request
    request = replace(asks, gpu=int(gpus), cpu=cpu, mem=mem) if gpus else Request(cpu, mem)
    scopes = limits.scopes(run.user, run.account, run.organization)
    bids = [quota.bid for _, _, quota in scopes if quota.bid is not None]
    return replace(run, request=request, bid=min([run.bid, *bids]))
