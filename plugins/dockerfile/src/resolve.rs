//! Reads what FROM lines and `--from` name (§9.4, §10). Asks nobody and evaluates no instruction.

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::instruction_types::FlagKind;
use kiln_sdk::wit::types::Platform;

use crate::arguments::{self, bad_expansion};
use crate::checks;
use crate::expand::{self, Mode};
use crate::findings::Findings;
use crate::parse::{Keywords, Line};
use crate::platform;
use crate::scope::Globals;
use crate::stages::File;

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    Stage(usize),
    Scratch,
    /// A named context or an image.
    Named(String),
    /// The FROM line is wrong, which has been reported.
    Broken,
}

/// A FROM line with its variables expanded, and what the stage below it names.
#[derive(Clone, Debug)]
pub struct Head {
    pub base: Base,
    pub platform: Platform,
    /// The platform was asked for, by the file or by the request.
    pub fixed_platform: bool,
    pub wanted: Vec<Wanted>,
}

/// The value of a `from`.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub name: String,
    /// A number counts stages.
    pub by_number: bool,
}

/// What a `from` leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Named {
    Stage(usize),
    /// A number beyond the last stage.
    NoSuchStage,
    Scratch,
    /// A named context or an image.
    Other,
}

impl Wanted {
    pub fn find(&self, file: &File) -> Named {
        if self.by_number
            && let Ok(number) = self.name.parse::<i64>()
        {
            let index = usize::try_from(number).ok().filter(|index| *index < file.stages.len());
            return index.map_or(Named::NoSuchStage, Named::Stage);
        }
        match file.find(&self.name) {
            Some(index) => Named::Stage(index),
            None if self.name == "scratch" => Named::Scratch,
            None => Named::Other,
        }
    }
}

impl Wanted {
    /// The error for a `from` in stage `index` that leads to a stage which is not above it.
    pub fn impossible(&self, file: &File, index: usize) -> Option<Diagnostic> {
        let name = &self.name;
        match self.find(file) {
            Named::Stage(stage) if stage == index => Some(
                Diagnostic::error("stage-not-before", format!("the stage `{name}` cannot read from itself"))
                    .help("leave `from` out to read the build context, or name an earlier stage"),
            ),
            Named::Stage(stage) if stage > index => {
                let line = &file.stages[stage].from.line;
                let message = format!("the stage `{name}` begins only on line {}", line.logical.first_line);
                Some(
                    Diagnostic::error("stage-not-before", message)
                        .label(&line.whole(), "it begins here")
                        .help("move it before this stage: a stage can use only those above it"),
                )
            }
            Named::NoSuchStage => {
                let last = file.stages.len().saturating_sub(1);
                Some(
                    Diagnostic::error("unknown-stage", format!("there is no stage number {name}"))
                        .help(format!("stages are counted from 0 to {last}; better give the stage a name")),
                )
            }
            Named::Stage(_) | Named::Scratch | Named::Other => None,
        }
    }
}

/// Everything of a build file that depends on the target platform only.
#[derive(Debug)]
pub struct Heads {
    pub globals: Globals,
    pub target: Platform,
    /// The request names the target platform.
    pub asked: bool,
    pub stages: Vec<Head>,
    /// Which stages are to be evaluated.
    pub reachable: Vec<bool>,
}

/// Expands the FROM lines of all stages (§8.1, §9.7) and lists what their lines name.
pub fn heads(
    file: &File,
    globals: &Globals,
    target: &Platform,
    asked: bool,
    keywords: &Keywords,
    findings: &mut Findings,
) -> Vec<Head> {
    let mut heads: Vec<Head> = Vec::with_capacity(file.stages.len());
    // Of several stages of one name the latest above counts.
    let mut earlier: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, stage) in file.stages.iter().enumerate() {
        let line = &stage.from.line;
        let local = checks::local_options(line, findings);
        let expanded = |text: &str, range: &std::ops::Range<usize>, findings: &mut Findings| {
            let at = line.span(range);
            match expand::word(text, Mode::arguments(file.escape), globals) {
                Ok(expanded) => {
                    for name in &expanded.undefined {
                        findings.add(checks::undefined_in_from(name, globals, &at), local.as_ref());
                    }
                    Some(expanded.text)
                }
                Err(error) => {
                    findings.add(bad_expansion(&error, text, &at), None);
                    None
                }
            }
        };
        let base = match expanded(line.text(&stage.from.reference), &stage.from.reference, findings) {
            None => Base::Broken,
            Some(name) if name.is_empty() => {
                let written = line.text(&stage.from.reference);
                findings.add(
                    Diagnostic::error("blank-reference", format!("`{written}` expands to nothing, and FROM needs an image"))
                        .at(&line.span(&stage.from.reference))
                        .help("give the variable with `--build-arg`, or a default: `ARG NAME=value` before the first FROM"),
                    None,
                );
                Base::Broken
            }
            Some(name) => match earlier.get(name.as_str()) {
                Some(stage) => Base::Stage(*stage),
                None if name == "scratch" => Base::Scratch,
                None => Base::Named(name),
            },
        };
        let mut own_platform = None;
        if let Some(flag) = &stage.from.platform {
            let written = flag.value().unwrap_or_default();
            let range = flag.value_range();
            if let Some(text) = expanded(written, &range, findings) {
                own_platform = platform::read(&text, target);
                if own_platform.is_none() {
                    findings.add(bad_platform(line, written, &text, &range, globals), None);
                }
            }
        }
        let (platform, fixed_platform) = match (own_platform, &base) {
            // Nothing is nothing on any platform (§10.4).
            (_, Base::Scratch) => (target.clone(), asked),
            (Some(platform), _) => (platform, true),
            (None, Base::Stage(base)) => (heads[*base].platform.clone(), heads[*base].fixed_platform),
            (None, _) => (target.clone(), asked),
        };
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut want = |line: &Line| {
            for (name, _) in wanted_by(line, keywords) {
                if !wanted.contains(&name) {
                    wanted.push(name);
                }
            }
        };
        stage.lines.iter().filter(|line| line.keyword != "ONBUILD").for_each(&mut want);
        if let Base::Stage(base) = base {
            let triggers = file.stages[base].lines.iter().filter(|line| line.keyword == "ONBUILD");
            triggers.for_each(|line| want(&line.nested(file.escape)));
        }
        heads.push(Head { base, platform, fixed_platform, wanted });
        if !stage.name.is_empty() {
            earlier.insert(&stage.name, index);
        }
    }
    heads
}

fn bad_platform(
    line: &Line,
    written: &str,
    text: &str,
    range: &std::ops::Range<usize>,
    globals: &Globals,
) -> Diagnostic {
    let at = line.span(range);
    if text.is_empty() {
        let near = written.trim_start_matches(['$', '{']).trim_end_matches('}');
        let help = match kiln_sdk::diagnose::nearest(near, globals.names()) {
            Some(near) => format!("write `$${near}`").replace("$$", "$"),
            None => "leave it out, or use `$BUILDPLATFORM`".to_owned(),
        };
        return Diagnostic::error(
            "invalid-platform",
            format!("`{written}` expands to nothing, and that is no platform"),
        )
        .at(&at)
        .help(help);
    }
    Diagnostic::error("invalid-platform", format!("`{text}` is no platform"))
        .at(&at)
        .help("a platform is written as `linux/amd64` or `linux/arm/v7`")
}

/// The stages, contexts and images that an instruction names, as far as that can be seen without evaluating it, and
/// where it does.
pub fn wanted_by(line: &Line, keywords: &Keywords) -> Vec<(Wanted, Span)> {
    let Some(descriptor) = keywords.get(&line.keyword).filter(|_| !line.flags.is_empty()) else {
        return Vec::new();
    };
    // What is wrong with the flags is reported with the grammar of the file.
    let statement = arguments::cut(line, descriptor, '\\', None).statement;
    let mut wanted = Vec::new();
    for flag in &statement.flag_values {
        let Some(spec) = descriptor.flag_specs.iter().find(|spec| spec.name == flag.name) else { continue };
        let by_number = spec.kind == FlagKind::Text;
        let fields = flag.values.iter().filter(|value| match spec.kind {
            FlagKind::Text => spec.name == "from",
            FlagKind::Fields => value.key.eq_ignore_ascii_case("from"),
            FlagKind::Boolean => false,
        });
        wanted
            .extend(fields.map(|field| (Wanted { name: field.value.clone(), by_number }, field.at.clone())));
    }
    // A variable there is an error, which the instruction reports.
    wanted.retain(|(wanted, _)| !wanted.name.is_empty() && !wanted.name.contains('$'));
    wanted
}

/// Stages that read from themselves and numbers that no stage has, which are wrong whatever is built. That a stage
/// stands further down matters only if the one that names it is evaluated (§9.5).
pub fn impossible(file: &File, keywords: &Keywords) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        for line in stage.lines.iter().filter(|line| line.keyword != "ONBUILD") {
            for (wanted, at) in wanted_by(line, keywords) {
                let later = matches!(wanted.find(file), Named::Stage(stage) if stage > index);
                if !later {
                    found.extend(wanted.impossible(file, index).map(|problem| problem.at(&at)));
                }
            }
        }
    }
    found
}
