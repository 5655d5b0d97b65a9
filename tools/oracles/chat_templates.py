"""Renders chat templates as transformers does.

Reads JSON lines: {"template", "messages", "variables"?, "tokens"?, "add_generation_prompt"?} or {"template", "raw": true},
whose variables are all the template gets. Prints a JSON line for each: {"text"} or {"error"}.
The clock stands at midnight of 26 July 2024.
"""

import datetime
import json
import sys

from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import _compile_jinja_template, _normalize_chat_messages, render_jinja_template


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


chat_template_utils.datetime = FixedClock


def render(case):
    if case.get("raw"):
        return _compile_jinja_template(case["template"]).render(**case.get("variables", {}))
    rendered, _ = render_jinja_template(
        conversations=[_normalize_chat_messages(case["messages"])],
        chat_template=case["template"],
        add_generation_prompt=case.get("add_generation_prompt", False),
        **{**case.get("tokens", {}), **case.get("variables", {})},
    )
    return rendered[0]


for line in sys.stdin:
    try:
        result = {"text": render(json.loads(line))}
    except RecursionError:
        result = {"error": "RecursionError"}
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result), flush=True)
