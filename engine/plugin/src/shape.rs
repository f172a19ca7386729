//! Reads of a file what can be known without compiling it: whether it is a component, what goes in and out, and which
//! language it was written in.

use wasmparser::{Encoding, KnownCustom, Parser, Payload};

use crate::engine::CompileError;
use crate::error::Refusal;

/// The outside of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// In the order of the file.
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    pub(crate) language: Language,
}

/// As the tools wrote it into the `producers` sections. Only for advice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    C,
    Python,
    JavaScript,
    Go,
    #[default]
    Unknown,
}

impl Language {
    /// How to build a plugin that does not import WASI.
    pub(crate) fn without_wasi(self) -> &'static str {
        match self {
            Self::Rust => {
                "build it with `--target wasm32-unknown-unknown` and the linker `wasm-component-ld`, not for `wasm32-wasip2`"
            }
            Self::C => "build it as a reactor that calls nothing of libc that needs a system",
            Self::Python => "build it with `componentize-py componentize --stub-wasi`",
            Self::JavaScript => {
                "build it with `jco componentize --disable all`, or `componentize-qjs --sync --stub-wasi`"
            }
            Self::Go => "kiln does not run plugins in Go yet, whose runtime always imports WASI",
            Self::Unknown => "build it without WASI; the plugin guide tells how in each language",
        }
    }

    fn of(producer: &str) -> Option<Self> {
        // Interpreters first: what they embed was compiled from Rust or C.
        match producer {
            "Python" | "componentize-py" => Some(Self::Python),
            "JavaScript" | "ComponentizeJS" | "componentize-js" | "componentize-qjs" => {
                Some(Self::JavaScript)
            }
            "Go" | "TinyGo" => Some(Self::Go),
            "Rust" => Some(Self::Rust),
            "C" | "C11" | "C99" | "C++" | "C_plus_plus" => Some(Self::C),
            _ => None,
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Python | Self::JavaScript => 3,
            Self::Go => 2,
            Self::Rust => 2,
            Self::C => 1,
            Self::Unknown => 0,
        }
    }
}

/// Reads the outermost sections of a component.
///
/// # Errors
///
/// [`Refusal::NotWasm`], [`Refusal::Text`], [`Refusal::CoreModule`], [`Refusal::Precompiled`],
/// [`Refusal::UnknownKind`], and [`Refusal::Compile`] for a component that breaks off.
pub(crate) fn read(bytes: &[u8]) -> Result<Shape, Refusal> {
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => {}
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => return Err(Refusal::CoreModule),
        [0, b'a', b's', b'm', a, b, c, d, ..] => {
            return Err(Refusal::UnknownKind {
                version: u16::from_le_bytes([*a, *b]),
                layer: u16::from_le_bytes([*c, *d]),
            });
        }
        [0x7f, b'E', b'L', b'F', ..] => return Err(Refusal::Precompiled),
        _ if bytes.trim_ascii_start().starts_with(b"(component")
            || bytes.trim_ascii_start().starts_with(b"(module") =>
        {
            return Err(Refusal::Text);
        }
        _ => return Err(Refusal::NotWasm),
    }
    sections(bytes).map_err(|error| Refusal::Compile(CompileError(error.to_string())))
}

fn sections(bytes: &[u8]) -> wasmparser::Result<Shape> {
    let mut shape = Shape::default();
    // Payloads of what is nested follow in line; 1 is the component itself.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding, .. } => {
                depth += 1;
                debug_assert!(depth > 1 || encoding == Encoding::Component);
            }
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports {
                    shape.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    shape.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Producers(fields) = section.as_known() {
                    for field in fields {
                        for value in field?.values {
                            if let Some(language) = Language::of(value?.name)
                                && language.rank() > shape.language.rank()
                            {
                                shape.language = language;
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(shape)
}
