//! The shared libraries that programs need, and what they open without any file saying so.

use std::collections::BTreeMap;

use kiln_closure::{Closure, ElfError, Files, Item, RULES, Request, Stat, closure, placed, read};
use kiln_preset::Reasons;
use kiln_sdk::diagnose::quoted;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::types::HostError;

use crate::installed::base_name;

/// What goes into the image beside what the project installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shared {
    /// By the path where it stands in the image; the files are those of the builder.
    pub items: BTreeMap<String, Item>,
    /// Who needs a library first, by the name that is asked for.
    pub askers: BTreeMap<String, String>,
    /// A library that asks for the certificates of the system, or a program that does.
    pub trusts: Option<String>,
}

/// Name services that the image's own `/etc/nsswitch.conf` names.
const SERVICES: [&str; 2] = ["libnss_files.so.2", "libnss_dns.so.2"];

/// Functions by which a program opens libraries.
const LOADING: [&str; 2] = ["dlopen", "dlmopen"];

/// Functions by which a program asks for the certificates of the system.
const TRUSTING: [&str; 7] = [
    "SSL_CTX_set_default_verify_paths",
    "SSL_CTX_set_default_verify_file",
    "SSL_CTX_set_default_verify_dir",
    "SSL_CTX_set_default_verify_store",
    "X509_STORE_set_default_paths",
    "X509_STORE_set_default_paths_ex",
    "gnutls_certificate_set_x509_system_trust",
];

/// Libraries that define those functions, and so mention them.
const TLS: [&str; 4] = ["libssl", "libcrypto", "libgnutls", "libgnutls-openssl"];

/// Looks for all that `request` needs in `root`, which holds the builder's files and the project's. `is_own` tells the
/// project's, which are part of another layer. What is guessed is added, and said.
///
/// # Errors
///
/// Every library that is missing and who needs it, files for other machines, and a tree that cannot be read.
pub(crate) fn shared(
    root: &dyn Files,
    mut request: Request,
    extra: &[String],
    is_own: &dyn Fn(&str) -> Result<bool, HostError>,
    reasons: &mut Reasons,
) -> Result<Shared, Vec<Diagnostic>> {
    let unreadable = |error: HostError| {
        vec![Diagnostic::error("closure-file", format!("the files cannot be read: {}", error.message))]
    };
    let asked = request.with.clone();
    let mut items = extra_items(root, extra, &mut request)?;
    let mut found = closure(root, &request).map_err(unreadable)?;
    let guesses = guesses(&found);
    if !guesses.is_empty() && !fails(&found) {
        for (code, message, added) in guesses {
            let named = quoted(&added);
            for name in added {
                match name.strip_suffix('/') {
                    Some(directory) => request.files.push(format!("{directory}/*")),
                    None => request.with.push(name),
                }
            }
            reasons.warn(code, format!("{message}; {named} comes along"), "");
        }
        found = closure(root, &request).map_err(unreadable)?;
    }
    if fails(&found) {
        return Err(found.problems.iter().map(error).collect());
    }
    for problem in found.problems.iter().filter(|problem| problem.code == "closure-platform") {
        reasons.warn(problem.code, problem.message.clone(), "");
    }
    let mut shared = Shared::default();
    let loader = look(root, &found, is_own, &mut shared).map_err(unreadable)?;
    if let (Some(path), true, true) = (loader, asked.is_empty(), extra.is_empty()) {
        reasons.warn(
            "c-dlopen",
            format!("`{path}` opens libraries at run time, and no file says which"),
            "what the project does not install itself is added with `--opt c.with=SONAME` or `--opt c.files=PATH`",
        );
    }
    items.extend(found.items);
    for (path, item) in items {
        if !is_own(&path).map_err(unreadable)? {
            shared.items.insert(path, item);
        }
    }
    // What tells the C library which conversions there are is no ELF file.
    for directory in request.files.iter().filter_map(|file| file.strip_suffix("/gconv/*")) {
        for name in ["gconv-modules", "gconv-modules.cache", "gconv-modules.d/gconv-modules-extra.conf"] {
            let path = format!("{directory}/gconv/{name}");
            if let Some(real) = root.real_path(&path).map_err(unreadable)? {
                shared.items.insert(path, Item::File(real));
            }
        }
    }
    Ok(shared)
}

/// An image below the program.
pub(crate) struct Runtime<'r> {
    pub name: &'r str,
    /// Its files, with what the project installed on top.
    pub files: &'r dyn Files,
}

/// Looks for all that `request` needs in a runtime image, which is to have it. What comes along nevertheless: the files
/// `extra` of the builder with what these need and the image lacks, and the cache by which the dynamic linker finds
/// libraries of the project.
///
/// # Errors
///
/// Those of [`shared`].
pub(crate) fn on_runtime(
    builder: &dyn Files,
    runtime: Runtime<'_>,
    request: Request,
    extra: &[String],
    is_own: &dyn Fn(&str) -> Result<bool, HostError>,
    reasons: &mut Reasons,
) -> Result<Shared, Vec<Diagnostic>> {
    let has_libraries = request.files.iter().any(|path| base_name(path).contains(".so"));
    let alone = Request { architecture: request.architecture.clone(), ..Request::default() };
    let found = shared(runtime.files, request, &[], is_own, reasons).map_err(|mut found| {
        for missing in found.iter_mut().filter(|one| one.code == "closure-missing") {
            missing.help = format!(
                "the runtime image `{}` has to have it: name another with `--opt c.runtime=IMAGE`, or link with `--opt c.link=static`",
                runtime.name
            );
        }
        found
    })?;
    reasons.say("c-runtime", format!("it runs on `{}`, which has its libraries", runtime.name));
    let mut along = match extra {
        [] => Shared::default(),
        extra => shared(builder, alone, extra, is_own, reasons)?,
    };
    let unreadable = |error: HostError| {
        vec![Diagnostic::error("c-runtime", format!("the runtime image cannot be read: {}", error.message))]
    };
    let is_asked = |path: &str| {
        extra.iter().any(|asked| {
            let below = path.strip_prefix(asked.trim_end_matches('/'));
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let mut items = BTreeMap::new();
    for (path, item) in along.items {
        if is_asked(&path) || runtime.files.real_path(&path).map_err(unreadable)?.is_none() {
            items.insert(path, item);
        }
    }
    let is_cache = |item: &Item| has_libraries && matches!(item, Item::Data(_));
    items.extend(found.items.into_iter().filter(|(_, item)| is_cache(item)));
    along.items = placed(items, "", Some(runtime.files)).map_err(unreadable)?;
    Ok(along)
}

/// What would be missed at run time: code, sentence, and names; one that ends with `/` is a directory.
fn guesses(found: &Closure) -> Vec<(&'static str, String, Vec<String>)> {
    let mut guesses = Vec::new();
    for problem in &found.problems {
        let lacks: Vec<String> = match problem.code {
            "closure-nss" => {
                let is_asked = |name: &&String| SERVICES.contains(&name.as_str());
                problem.lacks.iter().filter(is_asked).cloned().collect()
            }
            "closure-gconv" => problem.lacks.iter().map(|directory| format!("{directory}/")).collect(),
            "closure-libgcc" => problem.lacks.clone(),
            _ => Vec::new(),
        };
        if !lacks.is_empty() {
            guesses.push((problem.code, problem.message.clone(), lacks));
        }
    }
    guesses
}

fn is_error(code: &str) -> bool {
    RULES.iter().any(|(known, _, is_error)| *known == code && *is_error)
}

fn fails(found: &Closure) -> bool {
    found.problems.iter().any(|problem| is_error(problem.code))
}

fn error(problem: &kiln_closure::Problem) -> Diagnostic {
    let help = match problem.code {
        "closure-missing" => {
            let more = "install the package that has it with `--opt c.packages=PACKAGE`";
            match problem.help.starts_with("looked in") || problem.help.contains("another one") {
                true => format!("{}; {more}", problem.help),
                false => more.to_owned(),
            }
        }
        "closure-machine" => "all programs and libraries of an image are for one machine".to_owned(),
        _ => problem.help.clone(),
    };
    match is_error(problem.code) {
        true => Diagnostic::error(problem.code, problem.message.clone()).help(help),
        false => Diagnostic::warning(problem.code, problem.message.clone()).help(help),
    }
}

/// Reads who asks for which library, and who trusts whom the system trusts. Returns a file of the project that opens
/// libraries at run time.
fn look(
    root: &dyn Files,
    found: &Closure,
    is_own: &dyn Fn(&str) -> Result<bool, HostError>,
    shared: &mut Shared,
) -> Result<Option<String>, HostError> {
    let mut loader = None;
    for (path, item) in &found.items {
        let Item::File(real) = item else { continue };
        let elf = match read(root, real) {
            Ok(elf) => elf,
            Err(ElfError::Host(error)) => return Err(error),
            Err(ElfError::NotElf(_) | ElfError::Malformed(_)) => continue,
        };
        for name in elf.needed.iter().chain(&elf.interpreter) {
            shared.askers.entry(base_name(name).to_owned()).or_insert_with(|| path.clone());
        }
        let stem = base_name(path).split(".so").next().unwrap_or_default();
        let trusts = !TLS.contains(&stem)
            && (stem.starts_with("libcurl") || TRUSTING.iter().any(|function| elf.mentions(function)));
        if trusts && shared.trusts.is_none() {
            shared.trusts = Some(path.clone());
        }
        let opens = LOADING.iter().any(|function| elf.mentions(function));
        if loader.is_none() && opens && is_own(path)? {
            loader = Some(path.clone());
        }
    }
    Ok(loader)
}

/// Files that are asked for by path. Programs and libraries among them become part of `request`, with all that they need.
fn extra_items(
    root: &dyn Files,
    extra: &[String],
    request: &mut Request,
) -> Result<BTreeMap<String, Item>, Vec<Diagnostic>> {
    let mut items = BTreeMap::new();
    let unreadable = |path: &str, error: &HostError| {
        vec![Diagnostic::error("c-files", format!("`{path}` cannot be read: {}", error.message))]
    };
    for path in extra {
        let all = match root.stat(path).map_err(|error| unreadable(path, &error))? {
            None | Some(Stat::Other) => {
                let message = format!("`{path}` is not in the builder image");
                let help = "`--opt c.packages=…` installs what has it";
                return Err(vec![Diagnostic::error("c-files", message).help(help)]);
            }
            Some(Stat::Directory) => {
                root.matching(&format!("{path}/**")).map_err(|error| unreadable(path, &error))?
            }
            Some(Stat::File | Stat::Link(_)) => vec![path.clone()],
        };
        for path in all {
            let stat = root.stat(&path).map_err(|error| unreadable(&path, &error))?;
            match (stat, read(root, &path)) {
                (_, Ok(_)) => request.files.push(path),
                (_, Err(ElfError::Host(error)))
                    if error.code != "not-found" && error.code != "not-a-file" =>
                {
                    return Err(unreadable(&path, &error));
                }
                (Some(Stat::Link(target)), _) => drop(items.insert(path, Item::Link(target))),
                (Some(Stat::File), _) => drop(items.insert(path.clone(), Item::File(path))),
                _ => {}
            }
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use kiln_closure::testing::{Image, Tree};

    use super::*;

    const LIBS: &str = "/lib/x86_64-linux-gnu";

    fn tree(uses: &[&str], libc_words: &[&str]) -> Tree {
        let program =
            Image::program(Image::AMD64, "/lib64/ld-linux-x86-64.so.2").needs(&["libc.so.6"]).uses(uses);
        let libc = Image::new(Image::AMD64).uses(libc_words);
        Tree::new()
            .file("/app", &program.bytes())
            .file("/lib64/ld-linux-x86-64.so.2", &Image::new(Image::AMD64).bytes())
            .file(&format!("{LIBS}/libc.so.6"), &libc.bytes())
            .file("/etc/nsswitch.conf", b"hosts: files dns\npasswd: db\n")
    }

    fn found(tree: &Tree) -> (Result<Shared, Vec<Diagnostic>>, Vec<Diagnostic>) {
        let mut reasons = Reasons::new();
        let request = Request { files: vec!["/app".to_owned()], ..Request::default() };
        let shared = shared(
            tree,
            request,
            &["/etc/nsswitch.conf".to_owned()],
            &|path| Ok(path == "/app" || path.starts_with("/etc")),
            &mut reasons,
        );
        (shared, reasons.into_diagnostics())
    }

    #[test]
    fn the_project_s_own_files_are_no_part_of_it() {
        let (shared, said) = found(&tree(&["puts"], &["GLIBC_2.34"]));
        let shared = shared.unwrap();
        let paths: Vec<&String> = shared.items.keys().collect();
        assert_eq!(paths, [&format!("{LIBS}/libc.so.6"), "/lib64/ld-linux-x86-64.so.2"]);
        assert_eq!((shared.trusts, said.len()), (None, 0));
    }

    #[test]
    fn what_the_c_library_opens_comes_along_with_a_warning() {
        let library = Image::new(Image::AMD64).bytes();
        let tree = tree(&["getaddrinfo", "pthread_cancel", "iconv_open"], &[])
            .file(&format!("{LIBS}/libnss_dns.so.2"), &library)
            .file(&format!("{LIBS}/libnss_db.so.2"), &library)
            .file(&format!("{LIBS}/libgcc_s.so.1"), &library)
            .file(&format!("{LIBS}/gconv/UTF-16.so"), &library)
            .file(&format!("{LIBS}/gconv/gconv-modules"), b"module");
        let (shared, said) = found(&tree);
        let items = shared.unwrap().items;
        for name in ["libnss_dns.so.2", "libgcc_s.so.1", "gconv/UTF-16.so", "gconv/gconv-modules"] {
            assert!(items.contains_key(&format!("{LIBS}/{name}")), "{name}: {items:?}");
        }
        assert!(!items.contains_key(&format!("{LIBS}/libnss_db.so.2")), "the image asks no database");
        let codes: Vec<&str> = said.iter().map(|one| one.code.as_str()).collect();
        assert_eq!(codes, ["closure-nss", "closure-libgcc", "closure-gconv"]);
        assert!(said[0].message.ends_with("`libnss_dns.so.2` comes along"), "{}", said[0].message);
    }

    #[test]
    fn a_missing_library_is_named_with_who_needs_it() {
        let program = Image::program(Image::AMD64, "/lib64/ld.so").needs(&["libgone.so.1"]).bytes();
        let tree = Tree::new().file("/app", &program).file("/etc/nsswitch.conf", b"");
        let (shared, _) = found(&tree);
        let messages: Vec<String> = shared.unwrap_err().into_iter().map(|one| one.message).collect();
        assert!(
            messages.iter().any(|text| text.contains("/lib64/ld.so") && text.contains("/app")),
            "{messages:?}"
        );
        assert!(
            messages.iter().any(|text| text.contains("libgone.so.1") && text.contains("/app")),
            "{messages:?}"
        );
    }

    #[test]
    fn a_runtime_image_has_its_own_libraries_and_gets_the_files_that_are_asked_for() {
        let library = Image::new(Image::AMD64);
        let builder = tree(&["puts"], &["GLIBC_2.34"])
            .file("/etc/words", b"one")
            .file(
                &format!("{LIBS}/libmod.so"),
                &library.clone().needs(&["libdeep.so.1", "libc.so.6"]).bytes(),
            )
            .file(&format!("{LIBS}/libdeep.so.1"), &library.bytes());
        let program = Image::program(Image::AMD64, "/lib64/ld-linux-x86-64.so.2").needs(&["libc.so.6"]);
        let runtime = Tree::new()
            .file("/app", &program.bytes())
            .link("/lib", "usr/lib")
            .file("/lib64/ld-linux-x86-64.so.2", &library.bytes())
            .file(&format!("/usr{LIBS}/libc.so.6"), &library.uses(&["GLIBC_2.34"]).bytes())
            .file("/etc/words", b"two");
        let found = |runtime: &Tree, extra: &[String]| {
            let request = Request { files: vec!["/app".to_owned()], ..Request::default() };
            let runtime = Runtime { name: "debian", files: runtime };
            on_runtime(&builder, runtime, request, extra, &|path| Ok(path == "/app"), &mut Reasons::new())
        };
        assert_eq!(found(&runtime, &[]).unwrap().items.len(), 0);
        let items = found(&runtime, &["/etc/words".to_owned(), format!("{LIBS}/libmod.so")]).unwrap().items;
        let paths: Vec<String> = items.into_keys().collect();
        let libs = format!("/usr{LIBS}");
        assert_eq!(paths, ["/etc/words", &format!("{libs}/libdeep.so.1"), &format!("{libs}/libmod.so")]);
        let bare = found(&Tree::new().file("/app", &program.bytes()), &[]).unwrap_err();
        assert!(bare.iter().all(|one| one.help.contains("`debian` has to have it")), "{bare:?}");
    }

    #[test]
    fn a_runtime_image_learns_where_libraries_of_the_project_are() {
        let library = Image::new(Image::AMD64).bytes();
        let program =
            Image::program(Image::AMD64, "/lib64/ld-linux-x86-64.so.2").needs(&["libown.so"]).bytes();
        let runtime = Tree::new()
            .file("/app", &program)
            .file("/usr/local/lib/libown.so", &library)
            .file("/lib64/ld-linux-x86-64.so.2", &library)
            .file("/etc/ld.so.conf", b"/usr/local/lib\n");
        let along = |files: &[&str]| {
            let files = files.iter().map(|path| (*path).to_owned()).collect();
            let request = Request { files, ..Request::default() };
            let own = |path: &str| Ok(path == "/app" || path.starts_with("/usr/local"));
            let image = Runtime { name: "debian", files: &runtime };
            let along = on_runtime(&runtime, image, request, &[], &own, &mut Reasons::new());
            along.unwrap().items.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(along(&["/app", "/usr/local/lib/libown.so"]), ["/etc/ld.so.cache"]);
        assert_eq!(along(&["/app"]), Vec::<String>::new(), "it has a cache of its own libraries");
    }

    #[test]
    fn a_program_that_opens_libraries_is_told_of_unless_some_are_named() {
        let code = |said: Vec<Diagnostic>| said.into_iter().map(|one| one.code).collect::<Vec<_>>();
        let tree = tree(&["dlopen"], &["dlopen", "GLIBC_2.34"]);
        let said = |with: &[&str]| {
            let mut reasons = Reasons::new();
            let with = with.iter().map(|name| (*name).to_owned()).collect();
            let request = Request { files: vec!["/app".to_owned()], with, ..Request::default() };
            shared(&tree, request, &[], &|path| Ok(path == "/app"), &mut reasons).unwrap();
            code(reasons.into_diagnostics())
        };
        assert_eq!(said(&[]), ["c-dlopen"]);
        assert_eq!(said(&["libc.so.6"]), Vec::<String>::new());
    }

    #[test]
    fn certificates_are_for_who_asks_for_them() {
        let (asks, _) = found(&tree(&["SSL_CTX_set_default_verify_paths"], &["GLIBC_2.34"]));
        assert_eq!(asks.unwrap().trusts.as_deref(), Some("/app"));
    }
}
