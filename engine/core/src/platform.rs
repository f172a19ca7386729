//! What a program must run on: OCI platform, normalised.

use std::fmt;

/// `os/arch[/variant]`, spelled as the OCI image index does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    pub os: String,
    pub arch: String,
    /// Empty when there is none.
    pub variant: String,
    /// Empty when there is none.
    pub os_version: String,
}

/// Why a text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a platform; write `os/arch` or `os/arch/variant`, such as `linux/amd64` or `linux/arm/v7`"
)]
pub struct ParsePlatformError(pub String);

impl Platform {
    pub fn new(os: &str, arch: &str, variant: &str) -> Self {
        let (arch, variant) = normalise(arch, variant);
        Self { os: os.to_ascii_lowercase(), arch, variant, os_version: String::new() }
    }

    /// The platform this program was compiled for.
    pub fn host() -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self::new("linux", arch, "")
    }

    /// From `os/arch[/variant]`, or a lone `arch` or `os` of a well-known name; the rest is that of `host`.
    pub fn parse(text: &str) -> Result<Self, ParsePlatformError> {
        let error = || ParsePlatformError(text.to_owned());
        let fine = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let parts: Vec<&str> = text.trim().split('/').collect();
        if !parts.iter().all(|part| fine(part)) {
            return Err(error());
        }
        let host = Self::host();
        match parts[..] {
            [one] => match one.to_ascii_lowercase().as_str() {
                os @ ("linux" | "windows" | "darwin" | "freebsd") => {
                    Ok(Self::new(os, &host.arch, &host.variant))
                }
                "local" => Ok(host),
                arch if KNOWN_ARCHES.contains(&normalise(arch, "").0.as_str()) => {
                    Ok(Self::new("linux", arch, ""))
                }
                _ => Err(error()),
            },
            [os, arch] => Ok(Self::new(os, arch, "")),
            [os, arch, variant] => Ok(Self::new(os, arch, variant)),
            _ => Err(error()),
        }
    }

    /// Whether an image for `self` serves where `wanted` is asked for: same system and processor, and the same
    /// variant when both name one.
    pub fn serves(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.arch == wanted.arch
            && (self.variant == wanted.variant || self.variant.is_empty() || wanted.variant.is_empty())
    }
}

const KNOWN_ARCHES: [&str; 10] =
    ["amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "mips64le", "loong64", "wasm"];

fn normalise(arch: &str, variant: &str) -> (String, String) {
    let arch = arch.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let pair = match (arch.as_str(), variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
        ("x86_64" | "x86-64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
        ("aarch64", v) => ("arm64", v),
        ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", ""),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (a, v) => (a, v),
    };
    (pair.0.to_owned(), pair.1.to_owned())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_platform_become_one() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("Linux/AMD64", "linux/amd64"),
            ("arm64", "linux/arm64"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "/", "linux/", "a/b/c/d", "nosucharch", "linux/am d64"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }
}
