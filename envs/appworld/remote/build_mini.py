"""Build the world and the tasks of the split ``mini`` with what the AppWorld package provides.

Run by AppWorld's own interpreter as ``python build_mini.py FOLDER SEED``: ``FOLDER/data`` becomes a data folder as
AppWorld's own is laid out, and each task's ground truth also has ``walkthrough.json``, code blocks that solve it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from mini_tasks import MiniTask, make_tasks
from mini_world import Note, Person, make_world

MAIL_APPS = ("simple_note", "file_system", "todoist", "venmo", "gmail", "amazon", "spotify", "splitwise")
SPLIT = "mini"


def write_api_docs(data: Path) -> None:
    """Write the API documentation files that worlds are made with."""
    from appworld.collections.api_docs import ApiDocCollection
    from appworld.common.constants import CANARY_STRING

    folder = data / "api_docs" / "standard"
    folder.mkdir(parents=True)
    for app, docs in sorted(ApiDocCollection.build().items()):
        for doc in docs.values():
            doc["canary_string"] = CANARY_STRING
        (folder / f"{app}.json").write_text(json.dumps(docs), encoding="utf-8")


def write_base_databases(data: Path, people: list[Person]) -> None:
    """Write the databases that all tasks start from."""
    from appworld.apps import get_all_apps
    from appworld.apps.model_lib import CachedDBHandler, get_db_home_path, get_direct_cached_sqlite3_connection
    from appworld.collections.models import ModelCollection
    from appworld.common.constants import DB_VERSION, DEFAULT_SYSTEM_DATETIME
    from appworld.common.utils import freeze_time

    home = get_db_home_path("disk", "base")
    Path(home).mkdir(parents=True)
    with freeze_time(DEFAULT_SYSTEM_DATETIME):
        models = ModelCollection.load(
            to_db_home_path=get_db_home_path("memory", "base"),
            from_db_home_path=home,
            force_empty_apps=[*get_all_apps()],
            load_apps=[],
            create_db=True,
        )
        users = [_add_accounts(models, person) for person in people]
        for person, ids in zip(people, users, strict=True):
            _fill_phone(models, person, people, ids["phone"])
            _fill_files(models, person, ids["file_system"])
            _fill_projects(models, person, ids["todoist"])
            for note in person.notes:
                _add_note(models, note, ids["simple_note"])
        _fill_api_docs(models, data)
        models.save(home, format="full", delete_if_exists=True, save_model_hashes=True)
    CachedDBHandler.reset()
    get_direct_cached_sqlite3_connection.cache_clear()  # it still shows the empty files that were replaced
    (data / "version.txt").write_text(DB_VERSION, encoding="utf-8")


def _fill_api_docs(models: Any, data: Path) -> None:
    """Write the documentation into the app that agents look APIs up in."""
    for path in sorted((data / "api_docs" / "standard").glob("*.json")):
        for doc in json.loads(path.read_text(encoding="utf-8")).values():
            names = ("api_name", "path", "method", "description", "parameters", "response_schemas")
            models.api_docs.ApiDoc.create_save(app_name_=doc["app_name"], **{name: doc[name] for name in names})


def _add_accounts(models: Any, person: Person) -> dict[str, int]:
    names = {"first_name": person.first_name, "last_name": person.last_name}
    main_user = models.admin.MainUser.create_save(
        **names, email=person.email, phone_number=person.phone_number, birthday=person.birthday, sex=person.sex
    )
    ids = {}
    for app in ("phone", *MAIL_APPS):
        models.admin.AccountPassword.create_save(main_user_id=main_user.id, account_name=app, password=person.password)
        own = {"phone_number": person.phone_number} if app == "phone" else {"email": person.email, "verified": True}
        if app == "venmo":
            own["venmo_balance"] = 500.0
        ids[app] = models[app].User.create_save(**names, password=person.password, **own).id
    return ids


def _fill_phone(models: Any, person: Person, people: list[Person], user: int) -> None:
    for other, kinds in person.contacts.items():
        known = people[other]
        models.phone.Contact.create_save(
            user_id=user, first_name=known.first_name, last_name=known.last_name, email=known.email,
            phone_number=known.phone_number, relationships=kinds, birthday=known.birthday,
        )  # fmt: skip
    for time, label, enabled in person.alarms:
        models.phone.Alarm.create_save(
            user_id=user, time=time, label=label, enabled=enabled, repeat_days=[], snooze_minutes=5, vibration=False
        )


def _fill_files(models: Any, person: Person, user: int) -> None:
    folders = {"/", "/home/", person.home, *(f"{person.home}{path.split('/')[0]}/" for path in person.files)}
    for folder in sorted(folders):
        models.file_system.Directory.create_save(user_id=user, path=folder)
    for path, content in person.files.items():
        models.file_system.File.create_save(user_id=user, path=person.home + path, content=content, compressed_data=[])


def _fill_projects(models: Any, person: Person, user: int) -> None:
    todoist = models.todoist
    inbox = todoist.Project.create_save(name="Inbox", user_id=user, is_inbox=True)
    todoist.ProjectCollaboratorLink.create_save(project_id=inbox.id, user_id=user)
    for name, tasks in person.projects.items():
        project = todoist.Project.create_save(name=name, user_id=user)
        todoist.ProjectCollaboratorLink.create_save(project_id=project.id, user_id=user)
        for place, (title, done) in enumerate(tasks):
            todoist.Task.create_save(
                project_id=project.id, user_id=user, title=title, is_completed=done, order_index=place,
                priority="medium",
            )  # fmt: skip


def _add_note(models: Any, note: Note, user: int) -> None:
    models.simple_note.Note.create_save(
        user_id=user, title=note.title, content=note.content, tags=note.tags, pinned=False
    )


def write_task(data: Path, task: MiniTask, person: Person) -> None:
    """Write one task: what the agent is told, its databases and its ground truth."""
    from appworld.apps import get_all_apps
    from appworld.apps.model_lib import CachedDBHandler, get_db_home_path
    from appworld.collections.models import ModelCollection
    from appworld.common.constants import DB_VERSION, DEFAULT_SYSTEM_DATETIME
    from appworld.common.utils import freeze_time
    from appworld.task import Task

    with freeze_time(DEFAULT_SYSTEM_DATETIME):
        models = ModelCollection.load(
            to_db_home_path=get_db_home_path("memory", "task_input", task.name),
            from_db_home_path=get_db_home_path("disk", "base"),
            load_apps=get_all_apps(),
        )
        main_user = models.admin.MainUser.find_one(email=person.email)
        own = models.supervisor
        supervisor = own.Supervisor.create_save(
            first_name=person.first_name, last_name=person.last_name, email=person.email,
            phone_number=person.phone_number, birthday=person.birthday, sex=person.sex,
        )  # fmt: skip
        for app in ("phone", *MAIL_APPS):
            own.AccountPassword.create_save(supervisor_id=supervisor.id, account_name=app, password=person.password)
        own.Task.create_save(supervisor_id=supervisor.id, instruction=task.instruction)
        for note in task.extra_notes:
            _add_note(models, note, models.simple_note.User.find_one(email=person.email).id)
        Task(
            id=task.name, instruction=task.instruction, supervisor=main_user, datetime=DEFAULT_SYSTEM_DATETIME,
            allowed_apps=get_all_apps(skip_admin=True), db_version=DB_VERSION, model_collection=models,
        ).save(delete_if_exists=True, save_ground_truth=False, model_collection_format="changes")  # fmt: skip
    CachedDBHandler.reset()
    _write_ground_truth(data / "tasks" / task.name / "ground_truth", task)


def _write_ground_truth(folder: Path, task: MiniTask) -> None:
    def write(name: str, value: Any) -> None:
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1), encoding="utf-8")

    folder.mkdir()
    asked = bool(task.changes)
    requirements = [("The answer is the right one.", task.answer is not None)]
    requirements.append(("Nothing changed but what was asked for.", asked))
    requirements += [(f"The changes of {table} are those asked for.", True) for table in task.changes]
    labels = [
        {"requirement": text, "label": "no_op_fail" if fails_undone else "no_op_pass"}
        for text, fails_undone in requirements
    ]
    write("test_data", labels)
    write("answer", task.answer)
    write("public_data", {})
    write("private_data", {"changes": task.changes})
    code = "\n".join(task.steps)
    metadata = {"difficulty": task.difficulty, "mode": "minimal", "num_apps": len(task.apps)}
    metadata |= {"num_apis": len(set(re.findall(r"apis\.(\w+\.\w+)", code)))}
    write("metadata", metadata | {"num_solution_code_lines": len(code.splitlines())})
    write("walkthrough", task.steps)
    shutil.copy(Path(__file__).with_name("mini_evaluation.py"), folder / "evaluation.py")


def main() -> None:
    """Build everything below the folder given on the command line."""
    folder, seed = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    os.environ["APPWORLD_ROOT"] = str(folder)
    data = folder / "data"
    data.mkdir(parents=True)
    people = make_world(seed)
    write_api_docs(data)
    write_base_databases(data, people)
    tasks = make_tasks(people, seed)
    for task in tasks:
        write_task(data, task, people[task.supervisor])
    (data / "datasets").mkdir()
    (data / "datasets" / f"{SPLIT}.txt").write_text("".join(f"{task.name}\n" for task in tasks), encoding="utf-8")


if __name__ == "__main__":
    main()
