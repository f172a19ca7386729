//! Reads the fields of `RUN --mount` (§11.5): which type of mount is asked for, and which options go with it.

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::graph::CacheSharing;
use kiln_sdk::wit::instruction_types::{Argument, FlagValue};

use crate::findings::Findings;
use crate::git::boolean;
use crate::path::absolute;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

const KINDS: [(&str, Kind); 5] = [
    ("bind", Kind::Bind),
    ("cache", Kind::Cache),
    ("secret", Kind::Secret),
    ("ssh", Kind::Ssh),
    ("tmpfs", Kind::Tmpfs),
];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

const KEYS: [&str; 19] = [
    "destination",
    "dst",
    "env",
    "from",
    "gid",
    "id",
    "mode",
    "readonly",
    "readwrite",
    "required",
    "ro",
    "rw",
    "sharing",
    "size",
    "source",
    "src",
    "target",
    "type",
    "uid",
];

/// One `--mount`, its values read but not yet given defaults.
pub(crate) struct Request<'a> {
    pub(crate) kind: Kind,
    pub(crate) from: Option<&'a Argument>,
    pub(crate) source: &'a str,
    pub(crate) target: &'a str,
    pub(crate) readonly: Option<bool>,
    pub(crate) id: &'a str,
    pub(crate) sharing: Option<CacheSharing>,
    pub(crate) size_kib: u32,
    pub(crate) required: bool,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) env: Option<&'a str>,
    pub(crate) at: &'a Span,
}

/// What can be said of a mount whose variables are not expanded (§24, 15): a variable that never will be.
pub(crate) fn validate(flag: &FlagValue, findings: &mut Findings) {
    for field in flag.values.iter().filter(|field| key(field) == "from") {
        refuse_variable(field, findings);
    }
}

fn refuse_variable(field: &Argument, findings: &mut Findings) -> bool {
    let refused = field.original.contains('$');
    if refused {
        let message = "`from` takes no variables";
        let help = "declare a stage, `FROM … AS name`, and write `from=name`";
        findings.push(Diagnostic::error("variable-in-from", message).at(&field.at).help(help));
    }
    refused
}

/// The key of a field in lower case; a field without `=` is nothing but key.
fn key(field: &Argument) -> String {
    let key = if field.key.is_empty() { &field.value } else { &field.key };
    key.to_ascii_lowercase()
}

impl<'a> Request<'a> {
    pub(crate) fn read(flag: &'a FlagValue, findings: &mut Findings) -> Option<Self> {
        let mut request = Self {
            kind: Kind::Bind,
            from: None,
            source: "",
            target: "",
            readonly: None,
            id: "",
            sharing: None,
            size_kib: 0,
            required: false,
            mode: None,
            uid: None,
            gid: None,
            env: None,
            at: &flag.at,
        };
        let mut good = true;
        for (i, field) in flag.values.iter().enumerate() {
            let key = key(field);
            if let Err(mut error) = request.set(&key, field) {
                // Options are held against the type that was said before them.
                let later = flag.values[i + 1..].iter().any(|field| self::key(field) == "type");
                if later && error.help.is_empty() {
                    error.help = "put `type=` first".into();
                }
                findings.push(Diagnostic::error(error.code, error.message).at(&field.at).help(error.help));
                good = false;
            }
        }
        let from_refused = request.from.is_some_and(|from| refuse_variable(from, findings));
        (good && !from_refused && request.fits_together(flag, findings)).then_some(request)
    }

    fn set(&mut self, key: &str, field: &'a Argument) -> Result<(), Wrong> {
        let has_value = field.original.contains('=');
        let value = if has_value { field.value.as_str() } else { "" };
        let kind = self.kind;
        let invalid = |message: String| Wrong { code: "invalid-mount", message, help: String::new() };
        let only_for = |kinds: &str| {
            invalid(format!("`{key}` is for {kinds} mounts, and this is a {} mount", kind.name()))
        };
        let switch = || match (has_value, boolean(value)) {
            (false, _) => Ok(true),
            (true, Some(on)) => Ok(on),
            (true, None) => Err(invalid(format!("`{key}={value}` is neither true nor false"))),
        };
        match key {
            "readonly" | "ro" => self.readonly = Some(switch()?),
            "readwrite" | "rw" => self.readonly = Some(!switch()?),
            "required" => match self.kind {
                Kind::Secret | Kind::Ssh => self.required = switch()?,
                _ => return Err(only_for("secret and ssh")),
            },
            _ if !KEYS.contains(&key) => return Err(unknown(key)),
            _ if !has_value => return Err(invalid(format!("`{key}` needs a value: `{key}=…`"))),
            "type" => match KINDS.iter().find(|(name, _)| *name == value) {
                Some((_, kind)) => self.kind = *kind,
                None => {
                    let error = invalid(format!(
                        "no type of mount `{value}`; there are bind, cache, secret, ssh and tmpfs"
                    ));
                    return Err(match nearest(value, KINDS.map(|(name, _)| name)) {
                        Some(near) => error.help(format!("write `type={near}`")),
                        None => error,
                    });
                }
            },
            "from" => self.from = Some(field).filter(|field| !field.value.is_empty()),
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "id" => self.id = value,
            "env" if value.is_empty() => return Err(invalid("`env` needs the name of a variable".into())),
            "env" => self.env = Some(value),
            "sharing" => {
                self.sharing = Some(match value {
                    "shared" => CacheSharing::Shared,
                    "private" => CacheSharing::Private,
                    "locked" => CacheSharing::Locked,
                    _ => {
                        let known = ["shared", "private", "locked"];
                        let error =
                            invalid(format!("no way of sharing `{value}`; there are {}", known.join(", ")));
                        return Err(match nearest(value, known) {
                            Some(near) => error.help(format!("write `sharing={near}`")),
                            None => error,
                        });
                    }
                })
            }
            "size" if self.kind != Kind::Tmpfs => return Err(only_for("tmpfs")),
            "size" => {
                let size = size_kib(value);
                self.size_kib = size.ok_or_else(|| {
                    invalid(format!("`size={value}` is not a size"))
                        .help("write a number of bytes, or one with k, m or g")
                })?;
            }
            "mode" => {
                let octal = value.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| octal && *mode <= 0o7777);
                let error = || invalid(format!("`mode={value}` is not an octal mode from 0 to 7777"));
                self.mode = Some(mode.ok_or_else(error)?);
            }
            "uid" | "gid" => {
                let plain = value.bytes().all(|byte| byte.is_ascii_digit());
                let id = value.parse().ok().filter(|_| plain);
                let id = id.ok_or_else(|| invalid(format!("`{key}={value}` is not a number")))?;
                *(if key == "uid" { &mut self.uid } else { &mut self.gid }) = Some(id);
            }
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    /// Whether type and options can be had together.
    fn fits_together(&self, flag: &FlagValue, findings: &mut Findings) -> bool {
        let name = self.kind.name();
        let place = |wanted: &str| {
            flag.values.iter().find(|field| key(field) == wanted).map_or(self.at, |field| &field.at)
        };
        let mut errors: Vec<(String, &Span)> = Vec::new();
        if matches!(self.kind, Kind::Bind | Kind::Tmpfs) {
            for (key, said) in [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)] {
                if said.is_some() {
                    let message =
                        format!("`{key}` is for cache, secret and ssh mounts, and this is a {name} mount");
                    errors.push((message, place(key)));
                }
            }
        }
        if self.sharing.is_some() && self.kind != Kind::Cache {
            let message = format!("`sharing` is for cache mounts, and this is a {name} mount");
            errors.push((message, place("sharing")));
        }
        match self.kind {
            Kind::Secret => {
                if self.from.is_some() {
                    errors.push(("a secret mount has no `from`".into(), place("from")));
                }
                if !self.source.is_empty() && !self.id.is_empty() {
                    errors.push((
                        "`source` and `id` of a secret mount are the same thing: give one of them".into(),
                        self.at,
                    ));
                }
                if self.source.is_empty() && self.id.is_empty() && self.target.is_empty() {
                    errors.push(("a secret mount needs an `id` or a `target`".into(), self.at));
                }
            }
            Kind::Ssh if !self.source.is_empty() => {
                errors.push(("an ssh mount has no `source`".into(), self.at));
            }
            _ => {}
        }
        let good = errors.is_empty();
        for (message, at) in errors {
            findings.push(Diagnostic::error("invalid-mount", message).at(at));
        }

        let is_client = matches!(self.kind, Kind::Secret | Kind::Ssh);
        let idle = [
            ("id", !self.id.is_empty() && matches!(self.kind, Kind::Bind | Kind::Tmpfs)),
            ("env", self.env.is_some() && self.kind != Kind::Secret),
            ("source", !self.source.is_empty() && self.kind == Kind::Tmpfs),
            ("from", self.from.is_some() && matches!(self.kind, Kind::Tmpfs | Kind::Ssh)),
            ("rw", self.readonly == Some(false) && is_client),
        ];
        for (key, _) in idle.into_iter().filter(|(_, idle)| *idle) {
            let message = format!("`{key}` does nothing in a mount of type {name}");
            findings.push(Diagnostic::warning("no-effect", message).at(place(key)));
        }
        if self.kind == Kind::Cache && !self.selector().is_empty() {
            let said = self.mode.is_some() || self.uid.is_some() || self.gid.is_some();
            if said {
                let message = "`mode`, `uid` and `gid` do nothing in a cache mount with `source`";
                findings.push(Diagnostic::warning("no-effect", message).at(self.at));
            }
        }
        good
    }

    /// The sub-path to mount; empty for the root.
    pub(crate) fn selector(&self) -> String {
        match absolute("/", self.source).as_str() {
            "/" => String::new(),
            path => path.into(),
        }
    }
}

/// What is wrong with one field.
struct Wrong {
    code: &'static str,
    message: String,
    help: String,
}

impl Wrong {
    fn help(self, help: impl Into<String>) -> Self {
        Self { help: help.into(), ..self }
    }
}

fn unknown(key: &str) -> Wrong {
    let message = format!("`--mount` has no option `{key}`");
    let error = Wrong { code: "unknown-mount-option", message, help: String::new() };
    match nearest(key, KEYS) {
        Some(near) => error.help(format!("write `{near}`")),
        None => error.help("there are type, target, source, from, readonly, id, sharing, size, required, mode, uid, gid and env"),
    }
}

/// `64m`, `1.5g`, `100kb`, `2048`: KiB, rounded up.
pub(crate) fn size_kib(text: &str) -> Option<u32> {
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str| !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10u128.pow(fraction.len() as u32);
    let number = whole.parse::<u128>().ok()? * scale + fraction.parse::<u128>().ok()?;
    let bytes = number.checked_mul(1 << shift)?.div_ceil(scale);
    u32::try_from(bytes.div_ceil(1024)).ok()
}
