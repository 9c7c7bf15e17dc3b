"""A few blocks of code that an agent might try: what random policies draw from, since code cannot be listed."""

from __future__ import annotations

_TOKEN = (
    'passwords = {each["account_name"]: each["password"] for each in apis.supervisor.show_account_passwords()}\n'
    'token = apis.simple_note.login(username=apis.supervisor.show_profile()["email"], '
    'password=passwords["simple_note"])["access_token"]\n'
)

EXAMPLES = (
    "print(apis.api_docs.show_app_descriptions())",
    'print(apis.api_docs.show_api_descriptions(app_name="phone"))',
    'print(apis.api_docs.show_api_doc(app_name="phone", api_name="login"))',
    "print(apis.supervisor.show_profile())",
    "me = apis.supervisor.show_profile()\nprint(me)",  # the same call in other words
    "print(apis.supervisor.show_account_passwords())",
    "print(apis.phone.get_current_date_and_time())",
    "plan = []",  # nothing is called and nothing printed
    "print(unknown_name)",
    _TOKEN + "print(apis.simple_note.search_notes(access_token=token, page_limit=5))",
    _TOKEN + 'apis.simple_note.create_note(title="Try", content="", access_token=token)',  # a change beside the task
    "apis.supervisor.complete_task()",
)
