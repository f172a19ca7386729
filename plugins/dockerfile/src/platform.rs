//! Platforms as text, `os/arch[/variant]` (§8.6, §10.3).

use kiln_sdk::wit::types::Platform;

/// Reads and normalises a platform.
///
/// An operating system alone, or an architecture alone, takes the rest from `default`. Nothing when it is malformed.
pub fn read(text: &str, default: &Platform) -> Option<Platform> {
    let mut parts = text.split('/');
    let (first, second, third) = (parts.next()?, parts.next(), parts.next());
    if parts.next().is_some() {
        return None;
    }
    // `windows(10.0.17763)/amd64` carries the version of the operating system.
    let (os, os_version) = match first.split_once('(') {
        Some((os, version)) => (os, version.strip_suffix(')')?),
        None => (first, ""),
    };
    let well_formed = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
    };
    if !well_formed(os) || !second.is_none_or(well_formed) || !third.is_none_or(well_formed) {
        return None;
    }
    let Some(arch) = second else {
        let lower = os.to_lowercase();
        if let Some(os) = known_os(&lower) {
            let mut platform = Platform { os, os_version: os_version.to_owned(), ..default.clone() };
            platform.variant = normal(&platform.arch, &platform.variant).1;
            return Some(platform);
        }
        let (arch, variant) = normal(&lower, "");
        return is_known_arch(&arch).then(|| Platform {
            os: default.os.clone(),
            arch,
            variant,
            os_version: String::new(),
        });
    };
    let (arch, variant) = normal(&arch.to_lowercase(), &third.unwrap_or_default().to_lowercase());
    let lower = os.to_lowercase();
    Some(Platform { os: known_os(&lower).unwrap_or(lower), arch, variant, os_version: os_version.to_owned() })
}

/// `linux/arm/v7`; without the version of the operating system.
pub fn format(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.arch);
    if !platform.variant.is_empty() {
        text.push('/');
        text.push_str(&platform.variant);
    }
    text
}

/// Architectures that are known by several names, and variants that say nothing.
fn normal(arch: &str, variant: &str) -> (String, String) {
    let (arch, variant) = match (arch, variant) {
        ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (arch.to_owned(), variant.to_owned())
}

fn known_os(os: &str) -> Option<String> {
    let os = if os == "macos" { "darwin" } else { os };
    let known = [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasip1",
        "windows",
        "zos",
    ];
    known.contains(&os).then(|| os.to_owned())
}

fn is_known_arch(arch: &str) -> bool {
    let known = [
        "386",
        "amd64",
        "amd64p32",
        "arm",
        "armbe",
        "arm64",
        "arm64be",
        "loong64",
        "mips",
        "mipsle",
        "mips64",
        "mips64le",
        "mips64p32",
        "mips64p32le",
        "ppc",
        "ppc64",
        "ppc64le",
        "riscv",
        "riscv64",
        "s390",
        "s390x",
        "sparc",
        "sparc64",
        "wasm",
    ];
    known.contains(&arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_10_3_platforms_are_normalised() {
        let default = Platform::default();
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("LINUX/x86_64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("windows", "windows/amd64"),
            ("windows(10.0.1)/amd64", "windows/amd64"),
            ("weird/thing", "weird/thing"),
        ] {
            assert_eq!(read(text, &default).map(|it| format(&it)).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "/", "linux/", "a/b/c/d", "nonsense", "linux/am d", "linux(1/amd64"] {
            assert_eq!(read(text, &default), None, "{text}");
        }
    }
}
