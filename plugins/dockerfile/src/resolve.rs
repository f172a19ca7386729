//! Finds out what FROM lines and `--from` name: stages, build contexts or images (§9, §10). Evaluates no instruction.

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::graph::ImageSource;
use kiln_sdk::wit::instruction_types::FlagKind;
use kiln_sdk::wit::source_types::{ContextInfo, ImageInfo, ImageRequest};
use kiln_sdk::wit::types::{HostError, Platform};

use crate::arguments::{self, bad_expansion};
use crate::checks;
use crate::expand::{self, Mode};
use crate::findings::Findings;
use crate::host::Host;
use crate::onbuild;
use crate::parse::{Keywords, Line};
use crate::platform;
use crate::reference::Reference;
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
            Some(name) => match file.stages[..index].iter().rposition(|stage| stage.name() == name) {
                Some(stage) => Base::Stage(stage),
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

/// Uses of stages that can never be right, whatever is built (§9.5).
pub fn impossible(file: &File, keywords: &Keywords) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        for line in stage.lines.iter().filter(|line| line.keyword != "ONBUILD") {
            for (wanted, at) in wanted_by(line, keywords) {
                found.extend(wanted.impossible(file, index).map(|problem| problem.at(&at)));
            }
        }
    }
    found
}

/// A name that is no stage, and the platform it is wanted for.
#[derive(Clone, Debug)]
struct Sought {
    name: String,
    platform: Platform,
    /// The platform was asked for.
    fixed: bool,
}

fn image_key(name: &str, platform: &Platform, fixed: bool) -> (String, String) {
    let platform = if fixed { platform::format(platform) } else { String::new() };
    (platform, name.to_owned())
}

/// What the host said of names, so that it is asked once for each.
#[derive(Debug, Default)]
pub struct Sources {
    /// By platform and name.
    contexts: BTreeMap<(String, String), Option<ContextInfo>>,
    images: BTreeMap<(String, String), Result<ImageInfo, HostError>>,
    /// Without named contexts nothing but the main one is looked up.
    any_named: bool,
}

impl Sources {
    pub fn new(host: &dyn Host) -> Self {
        Sources { any_named: !host.context_names().is_empty(), ..Sources::default() }
    }

    /// A context that was looked up.
    pub fn context(&self, name: &str, platform: &Platform) -> Option<&ContextInfo> {
        self.contexts.get(&(platform::format(platform), name.to_owned()))?.as_ref()
    }

    /// An image that was asked for.
    ///
    /// Where no platform was asked for, `fixed` is false: then it may be the only one that the image is for (§9.12).
    pub fn image(
        &self,
        name: &str,
        platform: &Platform,
        fixed: bool,
    ) -> Option<&Result<ImageInfo, HostError>> {
        self.images.get(&image_key(name, platform, fixed))
    }

    /// Looks up the names that are not known yet, in one call per platform.
    pub fn look_up(&mut self, host: &dyn Host, names: &[(Platform, String)]) {
        let mut new: BTreeMap<String, (Platform, Vec<String>)> = BTreeMap::new();
        for (platform, name) in names {
            // These two mean something else (§20.6).
            let reserved = matches!(name.as_str(), "scratch" | "context");
            if reserved || (!self.any_named && !name.is_empty()) {
                continue;
            }
            let text = platform::format(platform);
            if self.contexts.contains_key(&(text.clone(), name.clone())) {
                continue;
            }
            let (_, list) = new.entry(text).or_insert_with(|| (platform.clone(), Vec::new()));
            if !list.contains(name) {
                list.push(name.clone());
            }
        }
        for (text, (platform, names)) in new {
            let answers = host.contexts(&names, &platform);
            for (name, answer) in names.into_iter().zip(answers) {
                self.contexts.insert((text.clone(), name), answer);
            }
        }
    }

    /// Resolves the images that are not known yet, all in one call.
    fn resolve(&mut self, host: &dyn Host, sought: &[Sought]) {
        let mut keys: Vec<(String, String)> = Vec::new();
        let mut requests = Vec::new();
        for Sought { name, platform, fixed } in sought {
            let key = image_key(name, platform, *fixed);
            // What is no reference is reported where it is used.
            if self.images.contains_key(&key) || keys.contains(&key) || Reference::read(name).is_err() {
                continue;
            }
            let source = ImageSource { reference: name.clone(), pinned: None };
            requests.push(ImageRequest { source, platform: fixed.then(|| platform.clone()) });
            keys.push(key);
        }
        if requests.is_empty() {
            return;
        }
        let answers = host.images(&requests);
        self.images.extend(keys.into_iter().zip(answers));
    }

    /// The context that stands in for a whole stage because it has its name (§9.6).
    pub fn replacement(&self, file: &File, heads: &Heads, stage: usize) -> Option<&ContextInfo> {
        let name = file.stages[stage].name();
        if name.is_empty() { None } else { self.context(&name, &heads.stages[stage].platform) }
    }

    /// Brings `heads` to the point where all that the reachable stages name is known.
    ///
    /// `targets` are the stages to be built, for each of `heads`. Contexts come first, then images; both again for what
    /// triggers of base images name.
    pub fn gather(
        &mut self,
        host: &dyn Host,
        file: &File,
        keywords: &Keywords,
        all: &mut [Heads],
        targets: &[usize],
    ) {
        loop {
            let mut names = Vec::new();
            for heads in all.iter_mut() {
                heads.reachable = self.reachable(file, heads, targets);
                names.push((heads.target.clone(), String::new()));
                for (index, head) in
                    heads.stages.iter().enumerate().filter(|(index, _)| heads.reachable[*index])
                {
                    let own = file.stages[index].name();
                    if !own.is_empty() {
                        names.push((head.platform.clone(), own));
                    }
                    let named = self.named(file, heads, head).into_iter();
                    names.extend(named.map(|sought| (sought.platform, sought.name)));
                }
            }
            self.look_up(host, &names);
            let mut images = Vec::new();
            for heads in all.iter_mut() {
                heads.reachable = self.reachable(file, heads, targets);
                for (index, head) in
                    heads.stages.iter().enumerate().filter(|(index, _)| heads.reachable[*index])
                {
                    if self.replacement(file, heads, index).is_none() {
                        let named = self.named(file, heads, head).into_iter();
                        images.extend(named.filter(|it| self.context(&it.name, &it.platform).is_none()));
                    }
                }
            }
            self.resolve(host, &images);
            let mut more = false;
            for heads in all.iter_mut() {
                more |= self.add_triggers(file, keywords, heads);
            }
            if !more {
                return;
            }
        }
    }

    /// Contexts or images that a stage names.
    fn named(&self, file: &File, heads: &Heads, head: &Head) -> Vec<Sought> {
        let mut sought = Vec::new();
        if let Base::Named(name) = &head.base {
            let (name, platform) = (name.clone(), head.platform.clone());
            sought.push(Sought { name, platform, fixed: head.fixed_platform });
        }
        for wanted in head.wanted.iter().filter(|wanted| wanted.find(file) == Named::Other) {
            let (name, platform) = (wanted.name.clone(), heads.target.clone());
            sought.push(Sought { name, platform, fixed: heads.asked });
        }
        sought
    }

    fn reachable(&self, file: &File, heads: &Heads, targets: &[usize]) -> Vec<bool> {
        let mut reachable = vec![false; file.stages.len()];
        let mut open = targets.to_vec();
        while let Some(index) = open.pop() {
            if std::mem::replace(&mut reachable[index], true)
                || self.replacement(file, heads, index).is_some()
            {
                continue;
            }
            let head = &heads.stages[index];
            if let Base::Stage(base) = head.base {
                open.push(base);
            }
            for wanted in &head.wanted {
                // A later stage is an error, which is reported where it is named.
                if let Named::Stage(stage) = wanted.find(file)
                    && stage < index
                {
                    open.push(stage);
                }
            }
        }
        reachable
    }

    /// Adds what the triggers of base images name (§16.3). True if anything is new.
    fn add_triggers(&self, file: &File, keywords: &Keywords, heads: &mut Heads) -> bool {
        let mut added = false;
        for index in 0..heads.stages.len() {
            let head = &heads.stages[index];
            let Base::Named(name) = &head.base else { continue };
            if !heads.reachable[index] || self.replacement(file, heads, index).is_some() {
                continue;
            }
            let Some(image) = self.base_image(name, head) else { continue };
            if image.config.on_build.is_empty() {
                continue;
            }
            let at = file.stages[index].from.line.whole();
            let triggers =
                image.config.on_build.iter().filter_map(|text| onbuild::trigger(text, &at, keywords).ok());
            let names: Vec<_> =
                triggers.flat_map(|line| wanted_by(&line, keywords)).map(|(name, _)| name).collect();
            for name in names {
                if !heads.stages[index].wanted.contains(&name) {
                    heads.stages[index].wanted.push(name);
                    added = true;
                }
            }
        }
        added
    }

    /// Facts of the image that a stage begins with, be it a context or of a registry.
    fn base_image(&self, name: &str, head: &Head) -> Option<&ImageInfo> {
        match self.context(name, &head.platform) {
            Some(context) => context.image.as_ref(),
            None => self.image(name, &head.platform, head.fixed_platform)?.as_ref().ok(),
        }
    }
}
