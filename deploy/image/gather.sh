#!/bin/sh
# Makes the root directory of the image in a throw-away stage of Debian: the programs of some packages, node, a shell, the
# libraries that these load, and nothing else. What each came from is recorded where scanners of images look for it.
#
#   gather.sh <root> <package>…
set -eu

root=$1
shift
# For people who look into a pod, and `env`, which the program's first line starts.
base='dash coreutils grep'
# Depend on what is not taken along: ICU, Python, Bash, PAM.
without='xfs_scrub|xfs_scrub_all|e2scrub|e2scrub_all|su|runuser'

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# The last two are what node loads.
apt-get -qq install --yes --no-install-recommends "$@" libatomic1 libstdc++6

mkdir -p "$root/etc" "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/local/bin" "$root/var/lib/dpkg"
# /bin, /lib and so on, which are links into /usr.
for link in bin sbin lib lib32 lib64; do
  if [ -L "/$link" ]; then
    cp -a "/$link" "$root/"
    mkdir -p "$root/$(readlink "/$link")"
  fi
done
# Where the DaemonSet and the runtime mount something.
mkdir -p "$root/csi" "$root/dev" "$root/host" "$root/proc" "$root/run" "$root/sys" "$root/var/lib/kubelet"
mkdir -m 1777 "$root/tmp"

programs=$(mktemp)
# shellcheck disable=SC2086 # a list
dpkg -L "$@" $base | grep -E '^(/usr)?/s?bin/.' | grep -vE "/($without)\$" | sort -u > "$programs"
echo /usr/local/bin/node >> "$programs"
tr '\n' '\0' < "$programs" | xargs -0 cp -a --parents -t "$root"

libraries=$(mktemp)
loaded=$(mktemp)
# Scripts are no programs to ldd, which says so and fails.
xargs ldd < "$programs" > "$loaded" 2> /dev/null || true
if grep 'not found' "$loaded"; then exit 1; fi
sed -nE 's|^.* => (/.*) \(0x.*|\1|p; s|^[[:space:]]*(/.*) \(0x.*|\1|p' "$loaded" | sort -u > "$libraries"
xargs -I {} cp -L --parents {} "$root" < "$libraries"

cp -a /etc/mke2fs.conf /etc/nsswitch.conf "$root/etc/"
cp -L --parents /etc/os-release /etc/debian_version "$root/"
# Beneath the one that the program puts over it for `mdadm --add`, with the same words.
mkdir "$root/etc/mdadm"
printf '%s\n' 'CREATE bbl=no' 'AUTO -all' > "$root/etc/mdadm/mdadm.conf"
# For people; containers start the file itself.
ln -s /opt/meshstor/dist/meshstor.mjs "$root/usr/local/bin/meshstor"
printf '%s\n' 'root:x:0:0:root:/:/bin/sh' 'meshstor:x:65532:65532:meshstor:/:/bin/sh' > "$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'meshstor:x:65532:' > "$root/etc/group"

# A package lists its libraries below /lib or below /usr/lib; either finds it.
owners=$(mktemp)
sed -E 's|^(/usr)?/|*/|' "$libraries" | xargs dpkg-query -S 2> /dev/null | sed 's/:.*//' > "$owners" || true
# shellcheck disable=SC2086
printf '%s\n' "$@" $base base-files >> "$owners"
sort -u "$owners" | while read -r package; do
  dpkg-query -s "$package"
  echo
  if [ -e "/usr/share/doc/$package/copyright" ]; then cp -L --parents "/usr/share/doc/$package/copyright" "$root"; fi
done > "$root/var/lib/dpkg/status"

# Nobody becomes somebody else in here.
find "$root" -xdev -type f -perm /6000 -exec chmod ug-s {} +
