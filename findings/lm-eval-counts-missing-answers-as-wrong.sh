#!/usr/bin/env bash
# Expected: a multiple-choice document whose answer is none of its choices (a letter beyond the last, another spelling) is an error that names
#   the document, or is left out and counted.
# Really: it is scored as answered wrong by every model, so accuracy falls by its share. A warning in the log shows the document; the result,
#   its count of documents and its standard error do not tell of it.
# Versions: lm_eval 0.4.13, torch 2.13.0, Python 3.11.
# Met: tasks made from one's own JSONL; a file with answers "E" to four choices looks like a weaker model.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0 lm_eval==0.4.13
cd "$folder"
HF_DATASETS_CACHE="$folder/cache" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import json
from pathlib import Path

from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

print("lm_eval", importlib.metadata.version("lm_eval"))
rows = [{"q": "first", "choices": ["a", "b"], "gold": "a"}, {"q": "second", "choices": ["a", "b"], "gold": "E"}]
Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
Path("mine.yaml").write_text(
    "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: mine.jsonl}}\ntest_split: test\noutput_type: multiple_choice\n"
    'doc_to_text: "{{q}}"\ndoc_to_choice: choices\ndoc_to_target: gold\nmetric_list: [{metric: acc}]\n'
)


class First(LM):
    """A model that likes the first choice best."""

    def loglikelihood(self, requests):
        return [(0.0 if request.args[1].strip() == "a" else -1.0, False) for request in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

    def generate_until(self, requests):
        raise NotImplementedError


found = simple_evaluate(First(), tasks=["mine"], task_manager=TaskManager(include_path=".", include_defaults=False), bootstrap_iters=0)
accuracy = found["results"]["mine"]["acc,none"]
print("two documents, one without an answer; the other is answered right: accuracy", accuracy)
assert accuracy == 0.5, "a document without an answer is no longer counted as wrong"
PYTHON
