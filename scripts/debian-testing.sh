#!/usr/bin/env bash
# A program of Debian testing, unpacked with the libraries that it needs and run with them on whatever Debian or Ubuntu this
# is: nothing is installed, nothing mounted, and no rights are needed.
#
#   scripts/debian-testing.sh PACKAGE PROGRAM FOLDER      FOLDER/PROGRAM runs it, afterwards
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 PACKAGE PROGRAM FOLDER" >&2; exit 2; }
package=$1 program=$2
mkdir -p "$3"
folder=$(realpath "$3")
[ ! -x "$folder/$program" ] || exit 0

keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f $keys ] || { echo "no $keys: neither Debian nor Ubuntu with debian-archive-keyring" >&2; exit 1; }
mkdir -p "$folder"/apt/lists/partial "$folder"/apt/cache/archives/partial
echo "deb [signed-by=$keys] http://deb.debian.org/debian testing main" >"$folder/apt/sources.list"
: >"$folder/apt/status"
cat >"$folder/apt/apt.conf" <<END
Dir::State "$folder/apt"; Dir::State::status "$folder/apt/status"; Dir::Cache "$folder/apt/cache";
Dir::Etc::sourcelist "$folder/apt/sources.list"; Dir::Etc::sourceparts "-"; Debug::NoLocking "true";
APT::Install-Recommends "false"; APT::Sandbox::User "$(id -un)"; Acquire::Languages "none";
END
export APT_CONFIG=$folder/apt/apt.conf
apt-get update -q
apt-get install -qy --download-only "$package"
rm -rf "$folder/unpacking" "$folder/root"
for archive in "$folder"/apt/cache/archives/*.deb; do dpkg-deb -x "$archive" "$folder/unpacking"; done
rm -rf "$folder/apt"
mv "$folder/unpacking" "$folder/root"

loader=$(find "$folder/root/usr/lib" -name 'ld-linux-*' -path '*-linux-gnu*' | head -n 1)
libraries=$(dirname "$loader")
cat >"$folder/$program.part" <<END
#!/bin/sh
unset LD_LIBRARY_PATH
exec "$loader" --library-path "$libraries:$libraries/pulseaudio" --argv0 "$program" "$folder/root/usr/bin/$program" "\$@"
END
chmod +x "$folder/$program.part"
mv "$folder/$program.part" "$folder/$program"
