//! Package repositories within builder images, so that a test installs packages and needs no network for it.

/// An instruction that makes packages of Debian and leaves apt nothing else to install from. Each has a name and the
/// shell commands that fill `$root`, its files.
pub(crate) fn repository(packages: &[(&str, &str)]) -> String {
    let mut text = String::from("RUN <<'END'\nset -eu\nmkdir /repository\n");
    for (name, commands) in packages {
        text += &format!(
            "root=$(mktemp -d)\nmkdir $root/DEBIAN\n{commands}\n\
             printf '%s\\n' 'Package: {name}' 'Version: 9' 'Architecture: all' 'Maintainer: N <n@example.org>' \
             'Description: {name}' >$root/DEBIAN/control\n\
             chmod 755 $root\n\
             dpkg-deb --build $root /repository/{name}.deb\n\
             dpkg-deb -f /repository/{name}.deb >>/repository/Packages\n\
             printf 'Filename: ./{name}.deb\\nSize: %s\\nSHA256: %s\\n\\n' $(stat -c %s /repository/{name}.deb) \
             $(sha256sum /repository/{name}.deb | cut -d' ' -f1) >>/repository/Packages\n\
             rm -r $root\n"
        );
    }
    text + "rm -rf /etc/apt/sources.list*\necho 'deb [trusted=yes] file:/repository ./' >/etc/apt/sources.list\nEND\n"
}

/// The package `libfrob-dev`, a header that says how often.
pub(crate) const HEADER: (&str, &str) =
    ("libfrob-dev", "mkdir -p $root/usr/include\necho '#define FROB 27' >$root/usr/include/frob.h");
