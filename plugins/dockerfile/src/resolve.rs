//! Finds out what FROM lines and `--from` name: stages, build contexts or images (§9, §10). Evaluates no instruction.

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::ImageSource;
use kiln_sdk::wit::instruction_types::FlagKind;
use kiln_sdk::wit::source_types::{ContextInfo, ImageInfo, ImageRequest};
use kiln_sdk::wit::types::{HostError, Platform};

use crate::arguments::bad_expansion;
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
use crate::words;

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

/// Everything of a build file that depends on the target platform only.
#[derive(Debug)]
pub struct Heads {
    pub globals: Globals,
    pub target: Platform,
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
            for name in wanted_by(line, keywords) {
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

/// The stages, contexts and images that an instruction names, as far as that can be seen without evaluating it.
pub fn wanted_by(line: &Line, keywords: &Keywords) -> Vec<Wanted> {
    let Some(descriptor) = keywords.get(&line.keyword) else { return Vec::new() };
    let mut wanted = Vec::new();
    for word in &line.flags {
        let Some(spec) = descriptor.flag_specs.iter().find(|spec| spec.name == word.name()) else { continue };
        let Some(value) = word.value() else { continue };
        match spec.kind {
            FlagKind::Text if spec.name == "from" => {
                wanted.push(Wanted { name: value.to_owned(), by_number: true })
            }
            FlagKind::Fields => {
                for (field, _) in words::fields(value).unwrap_or_default() {
                    if let Some((key, value)) = field.split_once('=')
                        && key.eq_ignore_ascii_case("from")
                    {
                        wanted.push(Wanted { name: value.to_owned(), by_number: false });
                    }
                }
            }
            _ => {}
        }
    }
    // A variable there is an error, which the instruction reports.
    wanted.retain(|wanted| !wanted.name.is_empty() && !wanted.name.contains('$'));
    wanted
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
    pub fn image(&self, name: &str, platform: &Platform) -> Option<&Result<ImageInfo, HostError>> {
        self.images.get(&(platform::format(platform), name.to_owned()))
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

    /// Resolves the images that are not known yet, all in one call. True if there were any.
    pub fn resolve(&mut self, host: &dyn Host, names: &[(Platform, String)]) -> bool {
        let mut keys: Vec<(String, String)> = Vec::new();
        let mut requests = Vec::new();
        for (platform, name) in names {
            let key = (platform::format(platform), name.clone());
            // What is no reference is reported where it is used.
            if self.images.contains_key(&key) || keys.contains(&key) || Reference::read(name).is_err() {
                continue;
            }
            let source = ImageSource { reference: name.clone(), pinned: None };
            requests.push(ImageRequest { source, platform: Some(platform.clone()) });
            keys.push(key);
        }
        if requests.is_empty() {
            return false;
        }
        let answers = host.images(&requests);
        self.images.extend(keys.into_iter().zip(answers));
        true
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
                    names.extend(self.named(file, heads, head));
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
                        images
                            .extend(named.filter(|(platform, name)| self.context(name, platform).is_none()));
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

    /// Contexts or images that a stage names, with the platform that each is wanted for.
    fn named(&self, file: &File, heads: &Heads, head: &Head) -> Vec<(Platform, String)> {
        let mut names = Vec::new();
        if let Base::Named(name) = &head.base {
            names.push((head.platform.clone(), name.clone()));
        }
        let others = head.wanted.iter().filter(|wanted| wanted.find(file) == Named::Other);
        names.extend(others.map(|wanted| (heads.target.clone(), wanted.name.clone())));
        names
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
            let Some(image) = self.base_image(name, &head.platform) else { continue };
            if image.config.on_build.is_empty() {
                continue;
            }
            let at = file.stages[index].from.line.whole();
            let triggers =
                image.config.on_build.iter().filter_map(|text| onbuild::trigger(text, &at, keywords).ok());
            let names: Vec<_> = triggers.flat_map(|line| wanted_by(&line, keywords)).collect();
            for name in names {
                if !heads.stages[index].wanted.contains(&name) {
                    heads.stages[index].wanted.push(name);
                    added = true;
                }
            }
        }
        added
    }

    /// Facts of the image that a name stands for, be it a context or of a registry.
    pub fn base_image(&self, name: &str, platform: &Platform) -> Option<&ImageInfo> {
        match self.context(name, platform) {
            Some(context) => context.image.as_ref(),
            None => self.image(name, platform)?.as_ref().ok(),
        }
    }
}
