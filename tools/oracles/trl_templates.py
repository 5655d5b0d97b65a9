"""Prints the chat templates that ship with TRL, one JSON line {"name", "text"} for each; nothing if TRL is missing."""

import importlib.util
import json
from pathlib import Path

spec = importlib.util.find_spec("trl")
folders = [] if spec is None else spec.submodule_search_locations
for folder in folders:
    for path in sorted(Path(folder, "chat_templates").glob("*.jinja")):
        # newline="" keeps the line ends that one of them has.
        with open(path, encoding="utf-8", newline="") as file:
            print(json.dumps({"name": path.name, "text": file.read()}))
