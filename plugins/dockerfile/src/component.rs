//! The frontend as a component: the exports, and the host as its imports offer it.

use kiln_sdk::diagnose::quoted;
use kiln_sdk::plugin::{Check, Detect, Frontend, Outline as OutlineExport, Plugin};
use kiln_sdk::wit::describe::{Example, PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::{Diagnostic, Severity};
use kiln_sdk::wit::frontend_types::{
    BuildFailure, BuildRequest, BuildResult, Confidence, Detection, Outline, TargetInfo,
};
use kiln_sdk::wit::graph::ContextSource;
use kiln_sdk::wit::instruction_types::{Descriptor, InstructionError, Invocation, Outcome, Statement};
use kiln_sdk::wit::source_types::{ContextInfo, ImageInfo, ImageRequest};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{HostError, Platform};
use kiln_sdk::wit::{contexts, instructions, resolver};

use crate::findings::{CHECKS, EXPERIMENTAL, url};
use crate::host::{Host, Remote};
use crate::{answer, load, outline};

/// How much of a file is asked for at a time.
const READ_BYTES: u32 = 4 << 20;

/// Files beyond this are no build files.
const MAX_FILE_BYTES: usize = 16 << 20;

#[cfg(target_family = "wasm")]
#[global_allocator]
static MEMORY: kiln_sdk::memory::Shelves = kiln_sdk::memory::Shelves::new();

/// The component.
#[derive(Debug)]
pub struct Dockerfile;

impl Plugin for Dockerfile {
    fn describe() -> PluginInfo {
        let rules = CHECKS.iter().map(|(code, summary)| Rule {
            code: (*code).to_owned(),
            summary: (*summary).to_owned(),
            url: url(code),
            severity: Severity::Warning,
            experimental: *code == EXPERIMENTAL,
        });
        let own = OWN_RULES.iter().map(|(code, severity, summary)| Rule {
            code: (*code).to_owned(),
            summary: (*summary).to_owned(),
            url: String::new(),
            severity: *severity,
            experimental: false,
        });
        PluginInfo {
            name: "dockerfile".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "builds what a Dockerfile describes".to_owned(),
            homepage: String::new(),
            license: env!("CARGO_PKG_LICENSE").to_owned(),
            options: Vec::new(),
            rules: rules.chain(own).collect(),
            examples: vec![Example {
                title: "Build in one stage, ship from another".to_owned(),
                text: "FROM golang:1.24 AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /app .\n\nFROM scratch\n\
                       COPY --from=build /app /app\nENTRYPOINT [\"/app\"]\n"
                    .to_owned(),
            }],
        }
    }
}

/// Kiln's own findings.
const OWN_RULES: [(&str, Severity, &str); 47] = [
    ("bad-check-option", Severity::Error, "options of `# check=` that cannot be read"),
    ("bad-directive", Severity::Error, "a parser directive with an impossible value"),
    ("bad-epoch", Severity::Error, "a SOURCE_DATE_EPOCH that is no time"),
    ("bad-flag-value", Severity::Error, "a flag with a value that it does not take"),
    ("bad-fragment", Severity::Error, "an instruction plugin answers with an impossible graph"),
    ("bad-ignore-file", Severity::Error, "an ignore file with a malformed pattern"),
    ("bad-onbuild", Severity::Error, "an instruction that may not come after ONBUILD"),
    ("bad-substitution", Severity::Error, "`${…}` that cannot be expanded"),
    ("bad-trigger", Severity::Error, "a base image with a trigger that cannot be read"),
    ("blank-name", Severity::Error, "an ARG without a name"),
    ("blank-reference", Severity::Error, "a FROM whose image expands to nothing"),
    ("check-failed", Severity::Error, "findings in a file that asks them to fail the build"),
    ("duplicate-flag", Severity::Error, "a flag that is given twice"),
    ("expansion-too-deep", Severity::Error, "text that is read in by text that it reads in"),
    ("flag-without-value", Severity::Error, "a flag that needs a value"),
    ("from-in-expansion", Severity::Error, "a FROM within text that is read in"),
    ("image-no-platform", Severity::Error, "a base image that is not there for the platform"),
    ("image-not-found", Severity::Error, "a base image that does not exist"),
    ("image-unauthorized", Severity::Error, "a base image that the registry does not give out"),
    ("image-unavailable", Severity::Error, "a base image that cannot be looked up"),
    ("instruction-before-from", Severity::Error, "an instruction other than ARG before the first FROM"),
    ("instruction-too-long", Severity::Error, "an instruction that no builder runs"),
    ("invalid-platform", Severity::Error, "`--platform` that is no platform"),
    ("invalid-reference", Severity::Error, "a FROM that names no image"),
    ("invalid-stage-name", Severity::Error, "a name that a stage cannot have"),
    ("json-not-strings", Severity::Error, "a JSON array with other elements than strings"),
    ("line-too-long", Severity::Error, "a line that no builder reads"),
    ("no-build-file", Severity::Error, "there is no build file"),
    ("no-instructions", Severity::Error, "a build file without instructions"),
    ("no-stages", Severity::Error, "a build file without FROM"),
    ("not-utf8", Severity::Error, "bytes that are not UTF-8"),
    ("repeated-directive", Severity::Error, "a parser directive that is given twice"),
    ("required-variable", Severity::Error, "`${name:?…}` with an unset variable"),
    ("stage-not-before", Severity::Error, "a stage that is used before it begins, or by itself"),
    ("too-many-instructions", Severity::Error, "a build file that no builder evaluates"),
    ("too-much-text", Severity::Error, "a file that its variables multiply to more than a plan may hold"),
    (
        "undefined-default",
        Severity::Warning,
        "a variable that is nowhere set, in a default before the first FROM",
    ),
    ("unknown-flag", Severity::Error, "a flag that the instruction does not have"),
    ("unknown-instruction", Severity::Error, "a keyword that nothing handles"),
    ("unknown-stage", Severity::Error, "`--from` of neither a stage nor an image"),
    ("unknown-target", Severity::Error, "the stage to be built does not exist"),
    ("unreadable-build-file", Severity::Error, "a build file that cannot be read"),
    ("unreadable-ignore-file", Severity::Error, "an ignore file that cannot be read"),
    ("unterminated-heredoc", Severity::Error, "a here-document without its end"),
    ("unterminated-quote", Severity::Error, "a quote that is not closed"),
    ("unused-build-arg", Severity::Warning, "a build argument that no ARG declares"),
    ("wrong-argument-count", Severity::Error, "too few or too many arguments"),
];

impl Frontend for Dockerfile {
    fn build(request: BuildRequest) -> Result<BuildResult, BuildFailure> {
        answer::build(&Imports, &request)
    }
}

impl Check for Dockerfile {
    fn check(request: BuildRequest) -> Vec<Diagnostic> {
        answer::check(&Imports, &request)
    }
}

impl OutlineExport for Dockerfile {
    fn list_targets(request: BuildRequest) -> Result<Vec<TargetInfo>, BuildFailure> {
        outline::list_targets(&Imports, &request)
    }

    fn describe_target(request: BuildRequest) -> Result<Outline, BuildFailure> {
        outline::describe_target(&Imports, &request)
    }
}

impl Detect for Dockerfile {
    fn detect(context: &Tree) -> Detection {
        let (confidence, reason) = match load::FILE_NAMES.iter().find(|name| context.stat(name).is_ok()) {
            Some(name) => (Confidence::Certain, format!("`{name}` found")),
            None => (Confidence::No, format!("looked for {}", quoted(load::FILE_NAMES))),
        };
        Detection { confidence, reason }
    }
}

/// The functions that the host offers to the component.
struct Imports;

impl Host for Imports {
    fn build_file(&self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        read(&contexts::open_build_file()?, path)
    }

    fn context_file(&self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        // All else is excluded, so that the host need not look at it.
        let ignore = vec!["**".to_owned(), format!("!{path}")];
        read(&contexts::open(&ContextSource { name: String::new(), ignore: Some(ignore) })?, path)
    }

    fn context_names(&self) -> Vec<String> {
        contexts::names()
    }

    fn contexts(&self, names: &[String], platform: &Platform) -> Vec<Option<ContextInfo>> {
        contexts::lookup(names, platform)
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        resolver::images(requests)
    }

    fn remote_time(&self, source: &Remote) -> Result<Option<u64>, HostError> {
        let answer = match source {
            Remote::Git(git) => {
                resolver::git(std::slice::from_ref(git)).pop().map(|it| it.map(|it| Some(it.modified)))
            }
            Remote::Http(http) => {
                resolver::http(std::slice::from_ref(http)).pop().map(|it| it.map(|it| it.modified))
            }
        };
        answer.unwrap_or(Ok(None))
    }

    fn known(&self) -> Vec<Descriptor> {
        instructions::known()
    }

    fn validate(&self, statements: &[Statement]) -> Vec<Diagnostic> {
        instructions::validate(statements)
    }

    fn apply(&self, invocation: &Invocation) -> Vec<Result<Outcome, InstructionError>> {
        instructions::apply(invocation)
    }
}

fn read(tree: &Tree, path: &str) -> Result<Option<Vec<u8>>, HostError> {
    let mut bytes = Vec::new();
    loop {
        let piece = match tree.read(path, bytes.len() as u32, READ_BYTES) {
            Ok(piece) => piece,
            Err(error) if error.code == "not-found" && bytes.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        };
        if piece.is_empty() {
            return Ok(Some(bytes));
        }
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_FILE_BYTES {
            let message = format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20);
            return Err(HostError { code: "limit".to_owned(), message });
        }
        // A short answer may be all there is, or the host's own limit: only an empty one is the end.
    }
}

kiln_sdk::export_detecting_frontend!(Dockerfile);
