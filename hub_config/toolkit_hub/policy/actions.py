"""Every action that the toolkit knows, declared once: routes, documentation, OpenAPI and tests read it here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACTIONS", "Action"]


@dataclass(frozen=True)
class Action:
    """Something that can be done to a resource. `verb` `get` is what makes a resource visible at all."""

    name: str
    opens: str
    dangerous: bool = False

    @property
    def resource(self) -> str:
        return self.name.partition(":")[0]

    @property
    def verb(self) -> str:
        return self.name.partition(":")[2]


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("organization:get", "see the organization, its capacity and its queue"),
        Action("organization:maintain", "check the site's machine (doctor) and remove what is past its retention"),
        Action("user:get", "see a user"),
        Action("user:new", "create users of the organization", dangerous=True),
        Action("account:get", "see an account"),
        Action("job:new", "submit jobs in an account"),
        Action("job:get", "see a job's data, logs and declared ports"),
        Action("job:set", "change or kill a job"),
        Action("job:exec", "run code as the job's owner: notebook, terminal, SSH, VS Code", dangerous=True),
    )
}
