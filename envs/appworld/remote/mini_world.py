"""A small world of people and what is in their apps, drawn from a seed: plain data, no engine.

Everything is invented here. :mod:`mini_tasks` asks for things of this world, :mod:`build_mini` writes it into
AppWorld's databases.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

_FIRST = ("Ada", "Bruno", "Clara", "Dmitri", "Elena", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Kaya", "Leon")
_LAST = ("Abel", "Brandt", "Costa", "Doyle", "Engel", "Fontaine", "Grau", "Holm", "Ibsen", "Juhl", "Keller", "Lund")
_TAGS = ("work", "travel", "recipes", "books", "garden")
_SUBJECTS = ("Packing", "Sourdough", "Reading list", "Roses", "Budget", "Museum visit", "Tax papers", "Soup", "Trains")
_ALARMS = ("Wake up", "Medicine", "Stand-up", "Water the plants", "Gym")
_FOLDERS = ("downloads", "documents", "photos")
_STEMS = ("report", "invoice", "ticket", "scan", "draft", "summary", "map", "menu", "letter", "plan")
_ENDINGS = ("pdf", "txt", "jpg", "csv")
_PROJECTS = {
    "House move": ("Order boxes", "Cancel the lease", "Call the movers", "Forward the mail", "Read the meters"),
    "Spring fair": ("Book the hall", "Print flyers", "Invite the choir", "Rent tables", "Plan the menu"),
    "Thesis": ("Fix chapter two", "Draw the figures", "Check citations", "Write the abstract", "Book the defence"),
}
_COSTS = ("Cabin weekend", "Birthday dinner", "Concert tickets")


@dataclass
class Note:
    """A note of Simple Note."""

    title: str
    content: str
    tags: list[str]


@dataclass
class Person:
    """Somebody with an account in every app.

    Attributes:
        contacts: other person's number in the world -> relationships, as the person's phone book has them.
        alarms: (time, label, enabled).
        files: path below the home folder -> content.
        projects: name -> list of (title, completed).
        owed: title of a note of costs -> (other person's number, dollars).
    """

    first_name: str
    last_name: str
    email: str
    phone_number: str
    birthday: str
    sex: str
    password: str
    contacts: dict[int, list[str]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    alarms: list[tuple[str, str, bool]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    projects: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)
    owed: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}"

    @property
    def home(self) -> str:
        """Home folder in the file system app, as the app makes it."""
        return f"/home/{self.first_name.lower()}/"


def make_world(seed: int) -> list[Person]:
    """Draw the people of the world; equal seeds give equal worlds."""
    draws = random.Random(seed)
    last_names = list(_LAST)
    draws.shuffle(last_names)
    people = [_person(first, last, draws) for first, last in zip(_FIRST, last_names, strict=True)]
    for number, person in enumerate(people):
        _fill(person, number, people, draws)
    return people


def _person(first: str, last: str, draws: random.Random) -> Person:
    return Person(
        first_name=first,
        last_name=last,
        email=f"{first}.{last}@mail.example.com".lower(),
        phone_number=str(draws.randrange(10**9, 10**10)),
        birthday=f"{draws.randrange(1955, 2001)}-{draws.randrange(1, 13):02}-{draws.randrange(1, 29):02}",
        sex=draws.choice(("male", "female")),
        password="".join(draws.choices("abcdefghjkmnpqrstuvwxyz23456789", k=10)),
    )


def _fill(person: Person, number: int, people: list[Person], draws: random.Random) -> None:
    others = [each for each in range(len(people)) if each != number]
    draws.shuffle(others)
    siblings, friends, manager = draws.randrange(2, 4), draws.randrange(3, 5), 1
    kinds = ["sibling"] * siblings + ["friend"] * friends + ["manager"] * manager
    person.contacts = {other: [kind] for other, kind in zip(others, kinds, strict=False)}
    for subject in draws.sample(_SUBJECTS, 7):
        tags = sorted(draws.sample(_TAGS, draws.choice((1, 2))))
        person.notes.append(Note(subject, f"About {subject.lower()}.", tags))
    for label in draws.sample(_ALARMS, 4):
        person.alarms.append((f"{draws.randrange(5, 22):02}:{draws.choice(('00', '15', '30'))}", label, True))
    for folder in _FOLDERS:
        for stem in draws.sample(_STEMS, 6):
            person.files[f"{folder}/{stem}.{draws.choice(_ENDINGS)}"] = f"{stem} of {person.name}"
        person.files[f"{folder}/archive.{_ENDINGS[len(person.files) % len(_ENDINGS)]}"] = "kept"
    for project, titles in _PROJECTS.items():
        done = set(draws.sample(titles, 2))
        person.projects[project] = [(title, title in done) for title in titles]
    for title in _COSTS:
        debtors = draws.sample(sorted(person.contacts), draws.randrange(2, 5))
        person.owed[title] = [(debtor, draws.randrange(5, 90)) for debtor in debtors]
        lines = [f"{people[debtor].name}: ${amount}" for debtor, amount in person.owed[title]]
        person.notes.append(Note(title, "\n".join(lines), ["money"]))
