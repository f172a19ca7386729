//! Asks the host for build contexts and images, once for each, and so finds out which stages are needed (§9.7).

use std::collections::BTreeMap;

use kiln_sdk::wit::graph::ImageSource;
use kiln_sdk::wit::source_types::{ContextInfo, ImageInfo, ImageRequest};
use kiln_sdk::wit::types::{HostError, Platform};

use crate::host::Host;
use crate::onbuild;
use crate::parse::Keywords;
use crate::platform;
use crate::reference::Reference;
use crate::resolve::{Base, Head, Heads, Named, wanted_by};
use crate::stages::File;

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
        let name = &file.stages[stage].name;
        if name.is_empty() { None } else { self.context(name, &heads.stages[stage].platform) }
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
                    let own = file.stages[index].name.clone();
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
