"""The tasks of the split ``mini``: eight scenarios with three variants each, over :mod:`mini_world`.

A task says what is asked, what the databases must look like afterwards (every change that was asked for and no
other), the answer, and a solution that uses nothing but the APIs any agent has.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mini_world import Note, Person

VARIANTS = 3

Changes = dict[str, dict[str, Any]]
"""Table -> ``added`` and ``removed`` (lists of field values), ``updated`` (list of [key fields, new values]), or
``count`` (number of rows added as a consequence, whatever is in them)."""

_OPEN = """
passwords = {{each["account_name"]: each["password"] for each in apis.supervisor.show_account_passwords()}}
profile = apis.supervisor.show_profile()

def log_in(app):
    user = profile["phone_number"] if app == "phone" else profile["email"]
    return getattr(apis, app).login(username=user, password=passwords[app])["access_token"]

def pages(call, **arguments):
    found, index = [], 0
    while page := call(page_index=index, page_limit=20, **arguments):
        found += page
        index += 1
    return found

tokens = {{app: log_in(app) for app in {apps}}}
"""


@dataclass
class MiniTask:
    """One task.

    Attributes:
        scenario, variant: name of the scenario, and 1 to 3.
        difficulty: 1 to 3, as AppWorld counts it.
        supervisor: number of the person who asks.
        answer: what must be answered; None where nothing is asked for.
        steps: blocks of code that solve the task, the last one reports it as done.
        extra_notes: notes that only this task's world has.
    """

    scenario: str
    variant: int
    difficulty: int
    supervisor: int
    apps: list[str]
    instruction: str
    answer: str | int | None
    changes: Changes
    steps: list[str]
    extra_notes: list[Note] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Scenario and variant, as AppWorld names its tasks."""
        return f"{self.scenario}_{self.variant}"


@dataclass
class _Asked:
    """What a scenario answers: the parts of a task that differ between scenarios."""

    instruction: str
    changes: Changes
    work: str
    answer: str | int | None = None
    extra_notes: list[Note] = field(default_factory=list)


def make_tasks(people: list[Person], seed: int) -> list[MiniTask]:
    """Draw all tasks; equal arguments give equal tasks."""
    tasks = []
    for place, (scenario, (difficulty, apps, ask)) in enumerate(SCENARIOS.items()):
        for variant in range(1, VARIANTS + 1):
            draws = random.Random(f"{seed} {scenario} {variant}")
            supervisor = (place + (variant - 1) * 4) % len(people)
            asked = ask(people, people[supervisor], draws)
            answer = "answer=answer" if asked.answer is not None else ""
            steps = [_OPEN.format(apps=apps).strip(), asked.work.strip(), f"apis.supervisor.complete_task({answer})"]
            tasks.append(
                MiniTask(
                    scenario=scenario,
                    variant=variant,
                    difficulty=difficulty,
                    supervisor=supervisor,
                    apps=apps,
                    instruction=asked.instruction,
                    answer=asked.answer,
                    changes=asked.changes,
                    steps=steps,
                    extra_notes=asked.extra_notes,
                )
            )
    return tasks


def _count_notes(people: list[Person], person: Person, draws: random.Random) -> _Asked:
    counts = Counter(tag for note in person.notes for tag in note.tags if tag != "money")
    tag = draws.choice(sorted(counts))
    return _Asked(
        f"How many of my notes in Simple Note are tagged '{tag}'?",
        {},
        f"""
notes = pages(apis.simple_note.search_notes, access_token=tokens["simple_note"], tags=[{tag!r}])
answer = len(notes)
print(answer)
""",
        answer=counts[tag],
    )


def _alarm_off(people: list[Person], person: Person, draws: random.Random) -> _Asked:
    _, label, _ = draws.choice(person.alarms)
    return _Asked(
        f"Turn off the alarm on my phone that is labelled '{label}'.",
        {"phone.Alarm": {"updated": [[{"label": label}, {"enabled": False}]]}},
        f"""
for alarm in pages(apis.phone.show_alarms, access_token=tokens["phone"]):
    if alarm["label"] == {label!r}:
        print(apis.phone.update_alarm(alarm_id=alarm["alarm_id"], enabled=False, access_token=tokens["phone"]))
""",
    )


def _find_number(people: list[Person], person: Person, draws: random.Random) -> _Asked:
    [other] = [number for number, kinds in person.contacts.items() if "manager" in kinds]
    return _Asked(
        "What is the phone number of my manager, as it is in my phone's contacts?",
        {},
        """
[manager] = apis.phone.search_contacts(access_token=tokens["phone"], relationship="manager")
answer = manager["phone_number"]
print(answer)
""",
        answer=people[other].phone_number,
    )


def _delete_files(people: list[Person], person: Person, draws: random.Random) -> _Asked:
    folder = draws.choice(sorted({path.split("/")[0] for path in person.files}))
    ending = draws.choice(sorted({path.rpartition(".")[2] for path in person.files if path.startswith(folder)}))
    gone = [path for path in person.files if path.startswith(folder + "/") and path.endswith("." + ending)]
    return _Asked(
        f"Delete all files that end in '.{ending}' from the folder ~/{folder} of my file system. Keep everything else.",
        {"file_system.File": {"removed": [{"path": person.home + path} for path in gone]}},
        f"""
for path in apis.file_system.show_directory(access_token=tokens["file_system"], directory_path="~/{folder}"):
    if path.endswith(".{ending}"):
        print(apis.file_system.delete_file(file_path=path, access_token=tokens["file_system"]))
""",
    )


def _finish_project(people: list[Person], person: Person, draws: random.Random) -> _Asked:
    project = draws.choice(sorted(person.projects))
    rest = [title for title, done in person.projects[project] if not done]
    return _Asked(
        f"Mark every open task of my Todoist project '{project}' as completed.",
        {"todoist.Task": {"updated": [[{"title": title}, {"is_completed": True}] for title in rest]}},
        f"""
token = tokens["todoist"]
[project] = [each for each in pages(apis.todoist.show_projects, access_token=token) if each["name"] == {project!r}]
tasks = apis.todoist.show_tasks(project_id=project["project_id"], access_token=token, is_completed=False)
for task in tasks["no_section_tasks"]:
    print(apis.todoist.update_task(task_id=task["task_id"], is_completed=True, access_token=token))
""",
    )


def _text_group(people: list[Person], person: Person, draws: random.Random) -> _Asked:
    relationship = draws.choice(("sibling", "friend"))
    message = draws.choice(("I have moved, new address follows.", "Shall we meet on Sunday?", "My train is late."))
    receivers = [number for number, kinds in person.contacts.items() if relationship in kinds]
    return _Asked(
        f"Send the text message '{message}' from my phone to each of my {relationship}s.",
        {
            "phone.GlobalTextMessage": {
                "added": [
                    {"message": message, "sender.phone_number": person.phone_number,
                     "receiver.phone_number": people[number].phone_number}
                    for number in receivers
                ]
            },
            "phone.UserTextMessage": {"count": 2 * len(receivers)},
        },
        f"""
token = tokens["phone"]
for contact in pages(apis.phone.search_contacts, access_token=token, relationship={relationship!r}):
    number = contact["phone_number"]
    print(apis.phone.send_text_message(phone_number=number, message={message!r}, access_token=token))
""",
    )  # fmt: skip


def _request_money(people: list[Person], person: Person, draws: random.Random) -> _Asked:
    title = draws.choice(sorted(person.owed))
    owed = person.owed[title]
    return _Asked(
        f"My Simple Note note '{title}' lists who owes me how much. Send each of them a Venmo payment request over "
        f"that amount, with the description '{title}'. Their email addresses are in my phone's contacts.",
        {
            "venmo.PaymentRequest": {
                "added": [
                    {"sender.email": person.email, "receiver.email": people[number].email,
                     "amount": float(amount), "description": title}
                    for number, amount in owed
                ]
            },
            "venmo.Notification": {"count": len(owed)},
        },
        f"""
[found] = [
    note
    for note in pages(apis.simple_note.search_notes, access_token=tokens["simple_note"], query={title!r})
    if note["title"] == {title!r}
]
note = apis.simple_note.show_note(note_id=found["note_id"], access_token=tokens["simple_note"])
contacts = pages(apis.phone.search_contacts, access_token=tokens["phone"])
emails = {{each["first_name"] + " " + each["last_name"]: each["email"] for each in contacts}}
for line in note["content"].splitlines():
    name, _, amount = line.partition(": $")
    print(apis.venmo.create_payment_request(
        user_email=emails[name], amount=float(amount), description={title!r}, access_token=tokens["venmo"]
    ))
""",
    )  # fmt: skip


def _note_to_project(people: list[Person], person: Person, draws: random.Random) -> _Asked:
    project = draws.choice(sorted(person.projects))
    known = [title for title, _ in person.projects[project]]
    new = draws.sample(("Buy tape", "Thank the helpers", "Return the keys", "Make a list of guests", "Back up"), 3)
    lines = [*new, *draws.sample(known, 2)]
    draws.shuffle(lines)
    title = f"{project}: ideas"
    note = Note(title, "\n".join(lines), ["todo"])
    return _Asked(
        f"Add a task to my Todoist project '{project}' for every line of my Simple Note note '{title}' that the "
        "project has no task for yet, whether open or completed. Then delete the note.",
        {
            "todoist.Task": {"added": [{"title": line, "is_completed": False} for line in new]},
            "simple_note.Note": {"removed": [{"title": title}]},
        },
        f"""
token = tokens["todoist"]
[project] = [each for each in pages(apis.todoist.show_projects, access_token=token) if each["name"] == {project!r}]
tasks = apis.todoist.show_tasks(project_id=project["project_id"], access_token=token)["no_section_tasks"]
known = {{task["title"] for task in tasks}}
[found] = [
    note
    for note in pages(apis.simple_note.search_notes, access_token=tokens["simple_note"], query={title!r})
    if note["title"] == {title!r}
]
note = apis.simple_note.show_note(note_id=found["note_id"], access_token=tokens["simple_note"])
for line in note["content"].splitlines():
    if line not in known:
        print(apis.todoist.create_task(project_id=project["project_id"], title=line, access_token=token))
print(apis.simple_note.delete_note(note_id=note["note_id"], access_token=tokens["simple_note"]))
""",
        extra_notes=[note],
    )


SCENARIOS: dict[str, tuple[int, list[str], Callable[[list[Person], Person, random.Random], _Asked]]] = {
    "countnotes": (1, ["simple_note"], _count_notes),
    "alarmoff": (1, ["phone"], _alarm_off),
    "findnumber": (1, ["phone"], _find_number),
    "deletefiles": (2, ["file_system"], _delete_files),
    "finishproject": (2, ["todoist"], _finish_project),
    "textgroup": (2, ["phone"], _text_group),
    "requestmoney": (3, ["simple_note", "phone", "venmo"], _request_money),
    "notetoproject": (3, ["simple_note", "todoist"], _note_to_project),
}
"""Scenario -> difficulty, the apps that it needs, and how a variant is drawn."""
