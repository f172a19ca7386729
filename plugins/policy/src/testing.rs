//! Facts as the host would give them, for tests.

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::policy_types::{BuildFacts, ImageFacts, LayerInfo};
use kiln_sdk::wit::source_types::ImageInfo;
use kiln_sdk::wit::trees::{Change, ChangeKind};
use kiln_sdk::wit::types::{FileInfo, FileKind, HostError, ImageConfig, Pair, Platform};

use crate::files::{Changes, Files};
use crate::settings::Settings;

pub(crate) const DAY: u64 = 24 * 60 * 60;

pub(crate) fn pair(key: &str, value: &str) -> Pair {
    Pair { key: key.into(), value: value.into() }
}

pub(crate) fn pairs(options: &[(&str, &str)]) -> Vec<Pair> {
    options.iter().map(|(key, value)| pair(key, value)).collect()
}

pub(crate) fn settings(options: &[(&str, &str)]) -> Settings {
    Settings::read(&pairs(options)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

pub(crate) fn build() -> BuildFacts {
    BuildFacts {
        frontend: "dockerfile".into(),
        frontend_digest: format!("sha256:{}", "0".repeat(64)),
        target: String::new(),
        platforms: vec![Platform::default()],
        build_args: Vec::new(),
        allowed: Vec::new(),
        push_to: Vec::new(),
        today: 20_000 * DAY,
        options: Vec::new(),
    }
}

pub(crate) fn span(line: u32) -> Span {
    Span::on_line("Dockerfile", line, 1, 10)
}

pub(crate) fn image_info(reference: &str, created: Option<u64>) -> ImageInfo {
    ImageInfo {
        reference: reference.into(),
        manifest: format!("sha256:{}", "1".repeat(64)),
        index: None,
        platform: Platform::default(),
        config: ImageConfig::default(),
        layers: 1,
        compressed_size: 1,
        created,
        annotations: Vec::new(),
    }
}

pub(crate) fn image_facts(config: ImageConfig) -> ImageFacts {
    ImageFacts {
        platform: Platform::default(),
        config,
        annotations: Vec::new(),
        layers: Vec::new(),
        history: Vec::new(),
        base: None,
        total_size: 0,
        attestation_types: Vec::new(),
    }
}

pub(crate) fn layer(created_by: &str, size: u64, from_base: bool) -> LayerInfo {
    LayerInfo {
        digest: format!("sha256:{}", "2".repeat(64)),
        media_type: String::new(),
        size,
        created_by: created_by.into(),
        from_base,
        spans: vec![span(3)],
    }
}

/// Codes of findings, in order.
pub(crate) fn codes(findings: &[Diagnostic]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// A filesystem, and the layer that makes it.
#[derive(Default)]
pub(crate) struct Table {
    files: BTreeMap<String, Vec<u8>>,
    modes: BTreeMap<String, u32>,
}

impl Table {
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut table = Self::default();
        for (path, text) in files {
            table.add(path, text.as_bytes());
        }
        table
    }

    pub(crate) fn add(&mut self, path: &str, bytes: &[u8]) {
        self.files.insert(path.into(), bytes.to_vec());
    }

    pub(crate) fn with_mode(mut self, path: &str, mode: u32) -> Self {
        self.modes.insert(path.into(), mode);
        self
    }

    fn info(&self, path: &str, bytes: &[u8]) -> FileInfo {
        FileInfo {
            path: path.into(),
            kind: FileKind::Regular,
            size: bytes.len() as u64,
            mode: self.modes.get(path).copied().unwrap_or(0o644),
            uid: 0,
            gid: 0,
            target: String::new(),
        }
    }
}

fn absent(path: &str) -> HostError {
    HostError { code: "not-found".into(), message: format!("there is no `{path}`") }
}

impl Files for Table {
    fn read(&self, path: &str, offset: u32, max: u32) -> Result<Vec<u8>, HostError> {
        let bytes = self.files.get(path).ok_or_else(|| absent(path))?;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        // Less than asked for, as a host may answer.
        Ok(rest[..rest.len().min(max as usize).min(1000)].to_vec())
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        let below = format!("{path}/");
        let children: Vec<FileInfo> = self
            .files
            .iter()
            .filter(|(path, _)| path.strip_prefix(&below).is_some_and(|rest| !rest.contains('/')))
            .map(|(path, bytes)| self.info(path, bytes))
            .collect();
        if children.is_empty() { Err(absent(path)) } else { Ok(children) }
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        self.files.get(path).map(|bytes| self.info(path, bytes)).ok_or_else(|| absent(path))
    }
}

impl Changes for Table {
    fn page(&self, start: u32, limit: u32) -> Vec<Change> {
        let entry = |(path, bytes): (&String, &Vec<u8>)| Change {
            kind: ChangeKind::Added,
            file: self.info(path, bytes),
            content: None,
        };
        self.files.iter().skip(start as usize).take(limit as usize).map(entry).collect()
    }
}
