#!/usr/bin/env bash
# Runs a command with a Vulkan driver that needs no graphics card: SwiftShader, which Debian ships in chromium-common.
#
#     scripts/software_vulkan.sh cargo test -p device-suite --features vulkan
#     scripts/software_vulkan.sh --as-it-is COMMAND...
#
# Needs Debian or a descendant, with apt and dpkg, and rustc. The package is downloaded once and unpacked into
# ${XDG_CACHE_HOME:-~/.cache}/roentgen/software-vulkan; nothing is installed, and removing that folder undoes everything.
# Where apt finds no such package, run `apt-get update` as root first.
#
# software_vulkan.rs says what is put in front of SwiftShader and why; --as-it-is leaves that out, and then
# `engine::device` has to refuse the device. Mesa's software driver (lavapipe of Debian 12) crashes on these shaders.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

layered=yes
if [ "${1:-}" = --as-it-is ]; then
    layered=no
    shift
fi
if [ $# -eq 0 ]; then
    echo "usage: scripts/software_vulkan.sh [--as-it-is] COMMAND [ARGUMENT...]" >&2
    exit 2
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/roentgen/software-vulkan
folder=$cache/usr/lib/chromium
swiftshader=$folder/libvk_swiftshader.so

if [ ! -e "$cache/unpacked" ]; then
    mkdir -p "$cache"
    # apt drops its rights for a download and would then have to write into this folder.
    (cd "$cache" && apt-get -o APT::Sandbox::User=root -q download chromium-common >&2)
    for package in "$cache"/chromium-common_*.deb; do
        # libvulkan.so.1 is the loader, for systems that have none.
        dpkg-deb --fsys-tarfile "$package" |
            tar -x -C "$cache" ./usr/lib/chromium/libvk_swiftshader.so ./usr/lib/chromium/libvulkan.so.1
        rm "$package"
    done
    touch "$cache/unpacked"
fi

driver=$swiftshader
if [ "$layered" = yes ]; then
    driver=$cache/libsoftware_vulkan.so
    if [ "$here/software_vulkan.rs" -nt "$driver" ]; then
        rustc --edition 2024 -O -C panic=abort --crate-type cdylib -o "$driver" "$here/software_vulkan.rs"
    fi
fi
# A loader resolves a relative path against folders of its own.
printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.1.0"}}\n' "$driver" \
    >"$cache/$layered.json"

export SOFTWARE_VULKAN_DRIVER=$swiftshader
# The second name is that of loaders before 1.3.207.
export VK_DRIVER_FILES=$cache/$layered.json VK_ICD_FILENAMES=$cache/$layered.json
# Last, so that a loader of the system is preferred.
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$cache}
# Timing kernels against each other tells nothing on a CPU and takes minutes.
export CUBECL_AUTOTUNE_LEVEL=minimal
export ROENTGEN_DEVICE=${ROENTGEN_DEVICE:-vulkan}
exec "$@"
