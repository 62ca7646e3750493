#!/usr/bin/env bash
# Lifecycle configuration of a SageMaker notebook instance, for each start, run as root:
# installs the culler, restarts the server if it runs, and verifies that idle compute is culled.
# With Windows line ends it runs only as `bash FILE`: upload what `tr -d '\r' <FILE | base64 -w0` gives.
# shellcheck disable=SC2016 # the inner shell expands it
F=${BASH_SOURCE[0]:-}; [ ! -f "$F" ] || ! grep -q $'\r' "$F" || exec bash -c "$(tr -d '\r' <"$F")" # for CRLF
set -euo pipefail
trap '((LINENO < 2)) || N=$LINENO' DEBUG
trap 'echo "auto-shutdown: ERROR: A mistake near line $N. Nothing was changed." >&2
  [ "${STRICT-}" != 1 ] && [ "${1-}" != --check ]; exit $?' EXIT

STRICT=0              # 1: a failure fails the app's start; 0: it is only logged
TIMEOUT_IN_MINS=120   # minutes without activity until idle compute is shut down; at least 1
KEEP_TERMINALS=false  # true: idle terminals are kept
MIN_TIMEOUT_IN_MINS=0 # minutes; the least that users may set; 0: no bound
MAX_TIMEOUT_IN_MINS=0 # minutes; the most that users may set; 0: no bound
MAX_KEEP_ALIVE_IN_MINS=1440 # minutes; the longest keep-alive; 0: no bound
DRY_RUN=false         # true: nothing is shut down, only told
IDLE_TIMEOUTS=''      # minutes by instance type, first match: 'ml.p*:15 ml.g*:30'; or JSON
EXTRA_SETTINGS=''     # JSON: '{"Class": {"trait": value}}'
BUNDLE=''             # s3://bucket/key, /path/to/bundle.tar.gz, or pip:name==version
BUNDLE_SHA256=''      # that file's checksum, with pip of the wheel; '': only the files in it are verified
INDEX_URL=''          # the one index for pip, https://...
WAIT_IN_SECS=120      # seconds that a restarted server has to answer
CONDA_DIR=/home/ec2-user/anaconda3
SERVER_PYTHON=''      # the Python that runs the server; '': the one of JupyterSystemEnv
SERVER_USER=ec2-user  # who runs the server and owns its files
USER_HOME=/home/ec2-user

PYTHONS=(envs/JupyterSystemEnv/bin/python) RUN=(env "HOME=$USER_HOME" "PATH=$PATH") ROOT=(env)
[ "$(id -un)" = "$SERVER_USER" ] || RUN=(sudo -n -u "$SERVER_USER" -- "${RUN[@]}")
[ "$(id -u)" = 0 ] || ROOT=(sudo -n)

MANAGER=upstart
[ -z "$(command -v systemctl)" ] || MANAGER=systemd

restart() {
  local how=(initctl restart jupyter-server --no-wait)
  [ -z "$(command -v systemctl)" ] || how=(systemctl --no-block restart jupyter-server)
  try 60 "${ROOT[@]}" "${how[@]}"
}

# ---- From here on the same in all three scripts.
OURS=sagemaker_studio_autoshutdown
LIMIT=240 SECONDS=0 work='' config='' scripts='' told='' said='' why='' fine='' rest='Nothing was changed.'

log() { printf 'auto-shutdown: %s: %s\n' "$1" "$(printf %s "${*:2}" | tr -c '[:print:]' ' ')" >&2; }

fail() {
  log ERROR "$*${rest:+ $rest}"
  told=yes
  exit 1
}

# within SECONDS COMMAND...: ends it then, and all before SageMaker's 300 s.
within() {
  local most=$1 left=$((LIMIT - SECONDS))
  ((left > 3)) || left=4
  timeout -k 5 "$((most < left ? most : left))" "${@:2}" </dev/null 3<&- 4>&-
}

# try SECONDS COMMAND...: what it says is $said, the line that matters $why.
try() {
  local code=0
  said=$(within "$@" 2>&1) || code=$?
  why=${said##*$'\n'}
  ((code)) || return 0
  log DEBUG "exit code $code: $said"
  if ((code == 124 || code == 137)); then
    why="not done within $1 s"
  elif [[ $said == *ERROR:\ * && $said != *Traceback* ]]; then
    why=${said#*ERROR: }
    why=${why%%$'\n'*}
  fi
  why=${why%.}
  return "$code"
}

# py SECONDS NAME ARGUMENT...: calls a function of $CODE in the server's Python.
py() { try "$1" "${RUN[@]}" "$PYTHON" -c "$CODE" "${@:2}"; }

CODE='
import json, os, re, sys
if sys.version_info < (3, 10):
    sys.exit("its Python is %d.%d, and 3.10 or newer is needed" % sys.version_info[:2])
from importlib import metadata
ours = "'$OURS'"

def look():
    found = [each.version for each in metadata.distributions(name="jupyter_server")] + ["0.0, missing"]
    if not [2, 10] <= [int(each) for each in re.findall("[0-9]+", found[0])[:2]] < [3]:
        sys.exit("its Jupyter Server is %s, and 2.10 or newer is needed (notebook 6?)" % found[0])
    print(sys.prefix)

def fetch(url, file):
    try:
        import boto3
    except ImportError:
        sys.exit("there is neither an aws command nor boto3")
    boto3.client("s3").download_file(*url[5:].split("/", 1), file)

def pins(file):
    pinned = {}
    for each in metadata.distributions():
        name, number = re.sub("[-_.]+", "_", str(each.metadata["Name"])).lower(), str(each.version)
        if re.fullmatch(r"(\d+!)?\d+(\.\d+)*(\.?(a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+\w+(\.\w+)*)?", number):
            pinned.setdefault(name, number)
    print(pinned.pop(ours, "none"))
    with open(file, "w") as output:
        output.writelines("%s==%s\n" % each for each in pinned.items())

def classes():
    from culling_manager import CullingKernelManager, CullingTerminalManager
    from culling_manager.server import extension
    print(metadata.version(ours))

globals()[sys.argv[1]](*sys.argv[2:])
'

refuse() { fail "$1 is '${!1}', and must be $2."; }

# must NAME PATTERN WORDS: a setting that has to match.
must() { [[ ${!1} =~ ^$2$ ]] || refuse "$1" "$3"; }

# whole NAME LEAST: a setting that is a whole number.
whole() {
  if [[ ! ${!1} =~ ^[0-9]{1,6}$ ]] || ((10#${!1} < $2)); then
    refuse "$1" "a whole number from $2 to 999999"
  fi
  printf -v "$1" %d "$((10#${!1}))"
}

check_settings() {
  local name value
  for name in STRICT KEEP_TERMINALS {,MIN_,MAX_}TIMEOUT_IN_MINS MAX_KEEP_ALIVE_IN_MINS DRY_RUN IDLE_TIMEOUTS \
    EXTRA_SETTINGS BUNDLE BUNDLE_SHA256 INDEX_URL WAIT_IN_SECS CONDA_DIR SERVER_PYTHON; do
    value=${!name-}
    value=${value%"${value##*[![:space:]]}"} # a carriage return goes, too
    printf -v "$name" %s "${value#"${value%%[![:space:]]*}"}"
    [[ ! ${!name} =~ [[:cntrl:]] ]] || refuse "$name" "one line of plain text"
  done
  KEEP_TERMINALS=${KEEP_TERMINALS,,} DRY_RUN=${DRY_RUN,,} BUNDLE_SHA256=${BUNDLE_SHA256,,}
  must STRICT '[01]' "0 or 1"
  whole TIMEOUT_IN_MINS 1
  whole MIN_TIMEOUT_IN_MINS 0
  whole MAX_TIMEOUT_IN_MINS 0
  whole MAX_KEEP_ALIVE_IN_MINS 0
  whole WAIT_IN_SECS 1
  ((MAX_TIMEOUT_IN_MINS == 0 || MIN_TIMEOUT_IN_MINS <= MAX_TIMEOUT_IN_MINS)) ||
    refuse MAX_TIMEOUT_IN_MINS "0 or at least MIN_TIMEOUT_IN_MINS"
  must KEEP_TERMINALS '(true|false)' "true or false"
  must DRY_RUN '(true|false)' "true or false"
  must IDLE_TIMEOUTS '(\{.*\}|( *[^ :"]+:[0-9]+)*)' "empty, pattern:minutes ..., or {JSON}"
  must EXTRA_SETTINGS '(\{.*\})?' "empty or {JSON}"
  must BUNDLE_SHA256 '([0-9a-f]{64})?' "empty or 64 hexadecimal digits"
  must BUNDLE '(s3://[^/]+/.+|/.+|pip:[[:alnum:]._-]+==[[:alnum:]._!+]+)' "s3://bucket/key, /a/path, or pip:name==version"
  [[ $BUNDLE != pip:* ]] || must BUNDLE_SHA256 .+ "the wheel's with pip:"
  [[ $BUNDLE != pip:* ]] || must INDEX_URL '(https|file)://.+' "https://... with pip:"
}

find_server() {
  local each
  PYTHON=$SERVER_PYTHON
  for each in "${PYTHONS[@]}"; do
    [ -n "$PYTHON" ] || [ ! -x "$CONDA_DIR/$each" ] || PYTHON=$CONDA_DIR/$each
  done
  [ -n "$PYTHON" ] || fail "The server's Python is not in $CONDA_DIR: set SERVER_PYTHON."
  py 30 look || fail "$PYTHON cannot be used: $why."
  scripts=$why/share/culling_manager config=$why/etc/jupyter/jupyter_server_config.d/culling_manager_settings.json
  try 10 "${RUN[@]}" mktemp -d "${TMPDIR:-/tmp}/auto-shutdown.XXXXXX" || fail "No temporary directory: $why."
  work=$why HERE=("${RUN[@]}" bash -c 'cd -- "$0" && exec "$@"' "$work" env)
}

fetch() {
  local aws
  aws=$(command -v aws || command -v "${PYTHON%/*}/aws" || command -v "$CONDA_DIR/bin/aws" || true)
  if [[ $BUNDLE == pip:* ]]; then
    try 9 "${HERE[@]}" bash -c 'echo "$0" >wanted' "${BUNDLE#pip:} --hash=sha256:$BUNDLE_SHA256" && return
  elif [[ $BUNDLE == /* ]]; then
    try 60 "${HERE[@]}" cp -- "$BUNDLE" bundle.tar.gz
  elif [ -n "$aws" ]; then
    try 90 "${HERE[@]}" "$aws" s3 cp --only-show-errors "$BUNDLE" bundle.tar.gz
  else
    py 90 fetch "$BUNDLE" "$work/bundle.tar.gz"
  fi || fail "$BUNDLE cannot be fetched: $why."
  try 30 "${HERE[@]}" sha256sum bundle.tar.gz || fail "$BUNDLE cannot be read: $why."
  [[ -z $BUNDLE_SHA256 || ${said%% *} == "$BUNDLE_SHA256" ]] ||
    fail "$BUNDLE has checksum ${said%% *}, which is not BUNDLE_SHA256."
  try 60 "${HERE[@]}" bash -c 'mkdir bundle && tar -xzf bundle.tar.gz -C bundle --strip-components=1 --no-same-owner &&
    cd bundle && sha256sum --check --strict --quiet SHA256SUMS' ||
    fail "$BUNDLE cannot be unpacked, or is damaged: $why."
}

# Never --user; nothing else there changes its version.
pip_install() {
  local from=(--no-index --find-links bundle/wheels "$work"/bundle/wheels/"$OURS"-*.whl)
  [[ $BUNDLE != pip:* ]] || from=(--require-hashes --index-url "$INDEX_URL" --no-cache-dir -r wanted)
  try 120 "${HERE[@]}" PYTHONNOUSERSITE=1 "$PYTHON" -m pip --isolated --no-input --disable-pip-version-check install \
    "${from[@]}" --no-user --upgrade --constraint pins "$@"
}

install() {
  local reason
  rest=''
  pip_install || {
    reason=$why # pip 26.3 fails when its work is done, if another package has an odd version
    if ! py 30 classes || { [ "$why" = "$before" ] && [ ! -e "$work/bundle/wheels/$OURS-$why-py3-none-any.whl" ]; }; then
      fail "pip cannot install it: $reason. The server stays as it was."
    fi
    log WARNING "pip failed, yet $OURS $why is there and can be imported: $reason."
  }
  py 30 classes || { pip_install --force-reinstall --no-deps; py 30 classes; } || {
    reason=$why
    try 60 "${RUN[@]}" "$PYTHON" -m pip uninstall --quiet --yes "$OURS" || true
    fail "culling_manager cannot be imported by $PYTHON: $reason. It was removed; Jupyter's own managers are used."
  }
  fine=yes
}

# obey: does what lifecycle.py says, for root runs nothing that a user can write.
obey() {
  local verb words
  while IFS=' ' read -r verb words <&3; do
    if [ "$verb" = restart ]; then
      if restart; then why="done"; else
        log ERROR "Installed, but the server cannot be restarted: $why. The culler will be active when it starts again."
        told=yes
      fi
      echo "$why" >&4
    elif [ "$verb" = background ]; then
      LIMIT=1800
      { obey 2>&1 | "${RUN[@]}" bash -c 'exec cat >"$0"' "$LOG"; } >/dev/null 2>&1 &
      return 0
    else
      log "$verb" "$words"
      [ "$verb" != ERROR ] || told=yes
    fi
  done
  [ -z "$told" ]
}

ended() {
  local code=$?
  trap - EXIT
  set +e
  if ((code)); then
    [ -n "$told" ] || log ERROR "Ended by surprise with exit code $code."
    [ -n "$fine" ] || [ ! -e "$config" ] || py 30 classes || {
      "${RUN[@]}" rm -f -- "$config"
      log WARNING "$config was removed, for what it selects cannot be imported."
    }
    [[ ${STRICT-} = 1 || $check ]] && code=1 || code=0
  fi
  [ -z "$work" ] || "${RUN[@]}" rm -rf -- "$work" "$config.new"
  exit "$code"
}

main() {
  local before changed=yes run
  trap ended EXIT
  trap 'exit 143' HUP INT TERM
  cd /
  check_settings
  [ -z "$check" ] || return 0
  find_server
  fetch
  try 30 "${HERE[@]}" PYTHONNOUSERSITE=1 "$PYTHON" -c "$CODE" pins pins ||
    fail "What is installed for $PYTHON cannot be listed: $why."
  before=$why
  install
  log INFO "$OURS $why is installed for $PYTHON."
  [ "$why" != "$before" ] || changed=no
  LOG=$USER_HOME/.auto-shutdown/start.log
  run=("${RUN[@]}" "$PYTHON" "$scripts/lifecycle.py" ${IDLE_TIMEOUTS:+"--idle-timeouts=$IDLE_TIMEOUTS"}
    "$TIMEOUT_IN_MINS" "$MIN_TIMEOUT_IN_MINS" "$MAX_TIMEOUT_IN_MINS"
    "$MAX_KEEP_ALIVE_IN_MINS" "$KEEP_TERMINALS" "$DRY_RUN" "$EXTRA_SETTINGS" "$config" "$WAIT_IN_SECS" "$LOG")
  try 30 "${run[@]}" configure || fail "$config cannot be written: $why."
  [ "$why" = same ] || changed=yes
  try 20 "${run[@]}" copy || log WARNING "$why"
  set -m # what goes on in the background outlives this script
  coproc TOLD { exec "${run[@]}" activate $changed "$MANAGER" 2>/dev/null; }
  set +m
  exec 3<&"${TOLD[0]}" 4>&"${TOLD[1]}"
  obey || exit 1
}

check=${1-} # --check: only the settings
main
