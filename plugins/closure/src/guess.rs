//! Guesses what no ELF file tells: the C library opens some libraries by name, when a program uses what needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kiln_sdk::diagnose::quoted;
use kiln_sdk::wit::types::HostError;

use crate::elf::Elf;
use crate::files::Files;
use crate::search::{base_name, directory};
use crate::walk::Problem;

/// Functions that look up names of hosts, users, groups or services.
const LOOKUPS: [&str; 10] = [
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_r",
    "getnameinfo",
    "getpwnam",
    "getpwnam_r",
    "getpwuid",
    "getpwuid_r",
    "getgrnam",
    "getservbyname",
];

/// Functions for which glibc unwinds the stack with a library of the compiler.
const UNWINDING: [&str; 3] = ["pthread_cancel", "pthread_exit", "backtrace"];

/// The version since which glibc reads files and asks name servers by itself.
const SELF_SUFFICIENT: &str = "GLIBC_2.34";

const MAX_SWITCH_BYTES: u32 = 1 << 20;

/// What should perhaps be there as well. `objects` are the files of the closure, `with` what was asked for by name.
pub(crate) fn problems(
    files: &dyn Files,
    objects: &BTreeMap<String, Rc<Elf>>,
    with: &[String],
) -> Result<Vec<Problem>, HostError> {
    let Some((libc, c_library)) = objects.iter().find(|(path, _)| base_name(path).starts_with("libc.so.6"))
    else {
        // Other C libraries open nothing behind one's back.
        return Ok(Vec::new());
    };
    let is_part = |path: &str| {
        let name = base_name(path);
        path == libc
            || name.starts_with("ld-linux")
            || name.starts_with("libresolv")
            || name.starts_with("libnss_")
            // It can convert for streams of characters that hardly anybody has; who has says so by calling `iconv`.
            || name.starts_with("libstdc++")
    };
    let user = |words: &[&str]| {
        let uses =
            |(path, elf): &(&String, &Rc<Elf>)| !is_part(path) && words.iter().any(|word| elf.mentions(word));
        objects.iter().find(uses).map(|(path, _)| path.clone())
    };
    let there: BTreeSet<&str> =
        objects.keys().map(|path| base_name(path)).chain(with.iter().map(String::as_str)).collect();
    let mut beside = vec![directory(libc).to_owned()];
    beside.push(match beside[0].strip_prefix("/usr") {
        Some(rest) => rest.to_owned(),
        None => format!("/usr{}", beside[0]),
    });
    let find = |name: &str| -> Result<bool, HostError> {
        for place in &beside {
            if files.real_path(&format!("{place}/{name}"))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let mut problems = Vec::new();

    if let Some(path) = user(&LOOKUPS) {
        let mut missing = Vec::new();
        for service in services(files)? {
            let is_own = matches!(service.as_str(), "files" | "dns") && c_library.mentions(SELF_SUFFICIENT);
            let name = format!("libnss_{service}.so.2");
            if !is_own && !there.contains(name.as_str()) && find(&name)? {
                missing.push(name);
            }
        }
        if !missing.is_empty() {
            problems.push(Problem {
                code: "closure-nss",
                message: format!(
                    "`{path}` looks up names, for which the C library opens {}",
                    quoted(&missing)
                ),
                help: asked(&missing),
                lacks: missing,
            });
        }
    }
    let libgcc = "libgcc_s.so.1";
    if let Some(path) = user(&UNWINDING)
        && !there.contains(libgcc)
        && find(libgcc)?
    {
        problems.push(Problem {
            code: "closure-libgcc",
            message: format!(
                "`{path}` ends threads or prints backtraces, for which the C library opens `{libgcc}`"
            ),
            help: asked(&[libgcc.to_owned()]),
            lacks: vec![libgcc.to_owned()],
        });
    }
    if let Some(path) = user(&["iconv_open"]) {
        let mut conversions = None;
        for place in &beside {
            let place = format!("{place}/gconv");
            if !files.names(&place)?.is_empty() {
                conversions.get_or_insert(place);
            }
        }
        let has_some = objects.keys().any(|path| directory(path).ends_with("/gconv"));
        if let (Some(place), false) = (conversions, has_some) {
            problems.push(Problem {
                code: "closure-gconv",
                message: format!("`{path}` converts text, for which the C library opens files of `{place}`"),
                help: "Unicode and ASCII work without; for others copy that directory as well".to_owned(),
                lacks: vec![place.clone()],
            });
        }
    }
    Ok(problems)
}

/// Services that `/etc/nsswitch.conf` names, or those that are asked without one.
fn services(files: &dyn Files) -> Result<Vec<String>, HostError> {
    let path = "/etc/nsswitch.conf";
    let mut services = Vec::new();
    if files.real_path(path)?.is_some() {
        let text = files.read(path, 0, MAX_SWITCH_BYTES)?;
        for line in String::from_utf8_lossy(&text).lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((_, list)) = line.split_once(':') else { continue };
            // `[NOTFOUND=return]` is an action and no service.
            let words = list.split_whitespace().filter(|word| !word.contains(['[', ']', '=']));
            services.extend(words.map(str::to_owned));
        }
    }
    services.extend(["files", "dns"].map(str::to_owned));
    services.sort();
    services.dedup();
    Ok(services)
}

fn asked(names: &[String]) -> String {
    let flags: Vec<String> = names.iter().map(|name| format!("`--with={name}`")).collect();
    format!("add {}, if the program gets there", flags.join(" "))
}
