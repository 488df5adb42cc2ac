#!/usr/bin/env bash
# Installs the Debian packages that the tests need beside Python: a whole SLURM, a browser that
# renders the report, and a C compiler for the null CUDA device (tests/cuda). Does nothing where all
# of them are there. Services that the packages start are not used: the development cluster starts
# daemons of its own, on ports of its own.
set -euo pipefail

packages=(slurm-wlm slurm-client slurmctld slurmd slurmdbd mariadb-server munge chromium
    gcc libc6-dev)
export DEBIAN_FRONTEND=noninteractive

missing=()
for package in "${packages[@]}"; do
    if ! dpkg-query --show --showformat='${Status}\n' "$package" 2>/dev/null \
        | grep --quiet '^install ok installed$'; then
        missing+=("$package")
    fi
done
if ((${#missing[@]} == 0)); then
    exit 0
fi

as_root=()
if ((EUID != 0)); then
    as_root=(sudo --preserve-env=DEBIAN_FRONTEND)
fi

# Mirrors fail now and then; a second or third try mends it
for attempt in 1 2 3; do
    if "${as_root[@]}" apt-get update --quiet \
        && "${as_root[@]}" apt-get install --quiet --yes --no-install-recommends "${missing[@]}"; then
        exit 0
    fi
    echo "installing ${missing[*]} failed (attempt $attempt of 3)" >&2
    sleep $((attempt * 10))
done
echo "error: could not install ${missing[*]}; see apt-get's messages above" >&2
exit 1
