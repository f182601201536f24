"""What a population is doing: a live table of its members, or lines without a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table

from ceneurovae.console import messages, say
from ceneurovae.population import MemberReport
from ceneurovae.search_table import best_of, shown_value

SCORES = {"elbo": "ELBO", "r2": "R2"}
# Members that are shown; all are in `members.csv`.
SHOWN = 20

Members = tuple[MemberReport, ...]


def members_table(members: Members, objective: str = "elbo") -> Table:
    """A `rich` table of the best members of a population.

    Args:
        members: Tuple of `MemberReport`.
        objective: `"elbo"` or `"r2"`.
    """
    best, score = best_of(members), SCORES[objective]
    title = "" if best is None else f", best {score} so far: {best.score:.4g} of {best.number}"
    table = Table(title=f"{len(members)} members{title}", title_justify="left")
    names = list(dict.fromkeys(name for member in members for name in member.hyperparameters))
    for name in ("member", *names, "generations", "epochs", score, "began as"):
        table.add_column(name, justify="right")
    table.add_column("status")
    ranked = sorted(members, key=lambda m: (m.score is None, -(m.score or 0.0)))
    for member in sorted(ranked[:SHOWN], key=lambda member: member.number):
        status = member.status
        table.add_row(
            str(member.number),
            *(shown_value(member.hyperparameters.get(name)) for name in names),
            str(member.generation),
            shown_value(member.epochs),
            "" if member.score is None else f"{member.score:.4g}",
            shown_value(member.source),
            status if member.message is None else f"{status}: {member.message[:60]}",
            style="bold" if member is best else None,
        )
    return table


def member_line(member: MemberReport) -> str:
    """A member after a generation, as text."""
    values = ", ".join(f"{name} {shown_value(v)}" for name, v in member.hyperparameters.items())
    told = f"Member {member.number}, generation {member.generation}"
    if member.source is not None:
        told += f", begun as member {member.source}"
    if member.message is not None:
        return f"{told}: {values}: failed: {member.message}"
    score = "" if member.score is None else f"{member.score:.4g}"
    return f"{told}: {values}: score {score}"


@contextmanager
def showing_members(objective: str, quiet: bool = False) -> Iterator[Callable[[Members], None]]:
    """A context with a function that shows members, for `tune_population(report=)`."""
    if quiet:
        yield lambda members: None
    elif messages.is_terminal:
        with Live(console=messages, refresh_per_second=4) as live:
            yield lambda members: live.update(members_table(members, objective))
    else:
        said: set[tuple[int, int, str | None]] = set()

        def say_new(members: Members) -> None:
            for member in members:
                key = (member.number, member.generation, member.message)
                news = member.message is not None or member.score is not None
                if news and key not in said:
                    said.add(key)
                    say(member_line(member))

        yield say_new
