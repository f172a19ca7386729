//! Says what an image consists of: an SPDX document of its packages, as an attestation, as a file in the image, or as a
//! file beside it.
//!
//! Packages come from the databases of dpkg and apk, from what Go puts into programs that it builds, and from the notes
//! that distributions put into programs. The same image gives the same document, letter by letter.

mod elf;
mod golang;
mod packages;
mod spdx;

use kiln_sdk::GraphBuilder;
use kiln_sdk::plugin::{Plugin, Transform};
use kiln_sdk::wit::describe::{Example, OptionKind, OptionSpec, PluginInfo};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::Attestation;
use kiln_sdk::wit::graph::{FileAction, MakeDirAction, MakeFileAction};
use kiln_sdk::wit::image_transform::Changes;
use kiln_sdk::wit::policy_types::{BuildFacts, ImageFacts};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{FileKind, HostError};

/// What SPDX documents are called where attestations are told apart.
const PREDICATE_TYPE: &str = "https://spdx.dev/Document";

/// An image of more files than this is not looked through.
const MAX_ENTRIES: u32 = 400_000;
/// Programs of one image that are looked into.
const MAX_PROGRAMS: usize = 5_000;

/// The component.
#[derive(Debug)]
pub struct Sbom;

impl Plugin for Sbom {
    fn describe() -> PluginInfo {
        let option = |name: &str, kind, summary: &str, preset: &str| OptionSpec {
            name: name.into(),
            kind,
            summary: summary.into(),
            preset: preset.into(),
            required: false,
            choices: Vec::new(),
            sensitive: false,
        };
        PluginInfo {
            name: "sbom".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "says what an image consists of, as SPDX".into(),
            homepage: String::new(),
            license: env!("CARGO_PKG_LICENSE").into(),
            options: vec![
                option("attest", OptionKind::Boolean, "attach the document to the image", "true"),
                option("in-image", OptionKind::Text, "where in the image it is to be, if there", ""),
                option("beside", OptionKind::Text, "what it is called beside the output, if there", ""),
                option("created", OptionKind::Text, "the time that the document bears", "1970-01-01T00:00:00Z"),
            ],
            rules: Vec::new(),
            examples: vec![Example {
                title: "An attestation, and a file in the image".into(),
                text: "kiln build --plugin sbom_transform.wasm --opt sbom.in-image=/usr/share/sbom.spdx.json .\n".into(),
            }],
        }
    }
}

impl Transform for Sbom {
    fn transform(
        build: BuildFacts,
        image: ImageFacts,
        root: &Tree,
        scans: Vec<(String, Tree)>,
    ) -> Result<Changes, Vec<Diagnostic>> {
        let option = |name: &str| {
            let found = build.options.iter().find(|option| option.key == name);
            found.map_or("", |option| option.value.as_str())
        };
        let in_image = option("in-image");
        if !in_image.is_empty() && (!in_image.starts_with('/') || in_image.ends_with('/')) {
            let message =
                format!("`in-image` is `{in_image}`, and the path of a file in an image begins with `/`");
            return Err(vec![
                Diagnostic::error("bad-option", message).help("write `in-image=/usr/share/sbom.spdx.json`"),
            ]);
        }
        let look_through = |what: &str, tree: &Tree| {
            look(tree).map_err(|error| {
                let message = format!("{what} could not be looked through: {}", error.message);
                vec![Diagnostic::error("unreadable", message)]
            })
        };
        let contents = look_through("the image", root)?;
        let document = spdx::document(&contents.packages, &image, None, option("created"));
        let mut changes = Changes { diagnostics: contents.warnings, ..Changes::default() };
        if option("attest") == "true" {
            let attestation = |predicate| Attestation { predicate_type: PREDICATE_TYPE.into(), predicate };
            changes.add_attestations.push(attestation(document.clone()));
            // What the build file wants looked at as well has documents of its own, so that nobody takes a compiler of
            // a build stage for a part of the image.
            for (name, tree) in &scans {
                let contents = look_through(&format!("`{name}`"), tree)?;
                changes.diagnostics.extend(contents.warnings);
                let document = spdx::document(&contents.packages, &image, Some(name), option("created"));
                changes.add_attestations.push(attestation(document));
            }
        }
        if !option("beside").is_empty() {
            changes.extra_files.push((option("beside").to_owned(), document.clone().into_bytes()));
        }
        if !in_image.is_empty() {
            let mut graph = GraphBuilder::new();
            let base = graph.base();
            let directory = in_image.rsplit_once('/').map_or("", |(directory, _)| directory);
            let mut actions = Vec::new();
            if !directory.is_empty() {
                let path = directory.to_owned();
                actions.push(FileAction::MakeDir(MakeDirAction {
                    path,
                    mode: 0o755,
                    parents: true,
                    owner: None,
                }));
            }
            let data = document.into_bytes();
            actions.push(FileAction::MakeFile(MakeFileAction {
                path: in_image.into(),
                data,
                mode: 0o644,
                owner: None,
            }));
            changes.root = Some(graph.file(Some(base), actions));
            changes.fragment = Some(graph.finish());
        }
        Ok(changes)
    }
}

/// What was found in an image.
struct Contents {
    packages: Vec<packages::Package>,
    warnings: Vec<Diagnostic>,
}

fn look(root: &Tree) -> Result<Contents, HostError> {
    let read = |path: &str| whole(root, path);
    let distribution =
        packages::distribution(&read("etc/os-release")?.or(read("usr/lib/os-release")?).unwrap_or_default());
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    if let Some(text) = read("var/lib/dpkg/status")? {
        packages::dpkg(&text, true, &distribution, &mut found);
    }
    if let Ok(parts) = root.children("var/lib/dpkg/status.d") {
        for part in parts.iter().filter(|part| !part.path.ends_with(".md5sums")) {
            packages::dpkg(&read(&part.path)?.unwrap_or_default(), false, &distribution, &mut found);
        }
    }
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        if let Some(text) = read(path)? {
            packages::apk(&text, &distribution, &mut found);
        }
    }
    let mut programs = 0;
    for file in root.glob(&["**".to_owned()], MAX_ENTRIES)? {
        // Libraries of distributions are not executable, and their packages are known already.
        if file.kind != FileKind::Regular || file.mode & 0o111 == 0 || file.size < elf::SMALLEST {
            continue;
        }
        if programs == MAX_PROGRAMS {
            let message = format!("of the programs of the image only {MAX_PROGRAMS} were looked into");
            warnings.push(Diagnostic::warning("many-programs", message));
            break;
        }
        let bytes = |offset: u64, length: usize| at(root, &file.path, offset, length);
        let Some(sections) = elf::sections(&bytes) else { continue };
        programs += 1;
        if let Some(info) = elf::section(&sections, ".go.buildinfo", &bytes) {
            golang::modules(&info, &file.path, &mut found);
        }
        if let Some(note) = elf::section(&sections, ".note.package", &bytes) {
            packages::note(&note, &file.path, &mut found);
        }
    }
    found.sort();
    found.dedup();
    Ok(Contents { packages: found, warnings })
}

/// A whole file as text, whatever is in it; `None` where there is none.
fn whole(root: &Tree, path: &str) -> Result<Option<String>, HostError> {
    let mut bytes = Vec::new();
    loop {
        match root.read(path, bytes.len() as u32, 4 << 20) {
            // A short answer may be all there is, or the host's own limit: only an empty one is the end.
            Ok(piece) if piece.is_empty() => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// So many bytes of a file; `None` if it has fewer.
fn at(root: &Tree, path: &str, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let offset = u32::try_from(offset + bytes.len() as u64).ok()?;
        let piece = root.read(path, offset, (length - bytes.len()) as u32).ok()?;
        if piece.is_empty() {
            return None;
        }
        bytes.extend_from_slice(&piece);
    }
    Some(bytes)
}

kiln_sdk::export_transform!(Sbom);
