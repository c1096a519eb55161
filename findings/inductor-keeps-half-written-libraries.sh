#!/usr/bin/env bash
# Expected: a process that is killed while torch.compile has the C++ compiler at work costs that one compilation: the next process finds the
#   library in Inductor's cache unfinished, or not at all, and compiles it again.
# Really: the compiler writes the library under its final name, and whoever comes next takes any file of that name for a whole one. Every later
#   process fails with "ImportError: ... file too short" (InductorError) until somebody deletes the file by hand.
# Versions: torch 2.13.0 (CPU), Python 3.11, g++ 12.
# Met: training on machines that are taken away (preemption, a container's end, kill -9 of the process group) with a cache kept on disk.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -c "import torch; print('torch', torch.__version__)"
cat > "$folder/compile.py" <<'PYTHON'
import torch
print(torch.compile(lambda x: (x + 1).relu())(torch.ones(64)).sum())
PYTHON
# A compiler that is killed with the process that called it, as it has begun to write; only as long as the file "kill" is there.
cat > "$folder/cxx" <<'COMPILER'
#!/usr/bin/env bash
target=""; words=("$@")
for number in "${!words[@]}"; do if [ "${words[$number]}" = -o ]; then target="${words[$((number + 1))]}"; fi; done
if [ -e "$(dirname "$0")/kill" ] && [[ "$target" == *.main.so ]]; then : > "$target"; kill -9 "$(cat "$(dirname "$0")/pid")"; exit 1; fi
exec g++ "$@"
COMPILER
chmod +x "$folder/cxx"
export CXX="$folder/cxx" TORCHINDUCTOR_CACHE_DIR="$folder/cache" TORCHINDUCTOR_COMPILE_THREADS=1
touch "$folder/kill"
(echo "$BASHPID" > "$folder/pid"; exec "$folder/venv/bin/python" "$folder/compile.py") > "$folder/first.txt" 2>&1 || echo "the first process was killed"
rm "$folder/kill"
if "$folder/venv/bin/python" "$folder/compile.py" > "$folder/second.txt" 2>&1; then echo "the second process compiled it again"; exit 1; fi
grep -o "ImportError: .*file too short" "$folder/second.txt" | head -1
find "$folder/cache" -name "*.so" -size 0 -delete
"$folder/venv/bin/python" "$folder/compile.py"
