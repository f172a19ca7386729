//! Reads the plain progress of a build: which steps there were, and how each ended.

use std::collections::BTreeMap;

/// How a step ended, as printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Done,
    Cached,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) ending: Option<Ending>,
    /// Why the cache did not serve.
    pub(crate) reason: Option<String>,
    /// What it wrote, by lines.
    pub(crate) log: Vec<String>,
}

/// The steps of one build by their numbers.
#[derive(Debug)]
pub(crate) struct Steps(Vec<Step>);

impl Steps {
    pub(crate) fn read(progress: &str) -> Self {
        let mut steps: BTreeMap<u32, Step> = BTreeMap::new();
        for line in progress.lines() {
            let Some((number, text)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            let step = steps.entry(number).or_default();
            if step.name.is_empty() {
                step.name = text.to_owned();
            } else if let Some(reason) = text.strip_prefix("because ") {
                step.reason = Some(reason.to_owned());
            } else if text == "CACHED" {
                step.ending = Some(Ending::Cached);
            } else if text.starts_with("DONE ") {
                step.ending = Some(Ending::Done);
            } else if text.starts_with("ERROR") {
                step.ending = Some(Ending::Failed);
            } else if text == "CANCELED" {
                step.ending = Some(Ending::Cancelled);
            } else if let Some((time, log)) = text.split_once(' ')
                && time.parse::<f64>().is_ok()
            {
                step.log.push(log.to_owned());
            }
        }
        Self(steps.into_values().collect())
    }

    /// The one step whose name holds `text`.
    #[track_caller]
    pub(crate) fn step(&self, text: &str) -> &Step {
        let found: Vec<&Step> = self.0.iter().filter(|step| step.name.contains(text)).collect();
        assert_eq!(found.len(), 1, "steps with `{text}` in their name, of {:#?}", self.0);
        found[0]
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.0.iter().any(|step| step.name.contains(text))
    }

    /// Whether a step whose name holds `text` ran. While a preset plans, it may ask for one several times: the first time
    /// it runs, and then it is found.
    pub(crate) fn did(&self, text: &str) -> bool {
        self.times(text) > 0
    }

    /// How often a step whose name holds `text` ran.
    pub(crate) fn times(&self, text: &str) -> usize {
        let ran = |step: &&Step| step.name.contains(text) && step.ending == Some(Ending::Done);
        self.0.iter().filter(ran).count()
    }

    #[track_caller]
    pub(crate) fn ran(&self, text: &str) -> &Self {
        assert_eq!(self.step(text).ending, Some(Ending::Done), "`{text}` of {:#?}", self.0);
        self
    }

    #[track_caller]
    pub(crate) fn cached(&self, text: &str) -> &Self {
        assert_eq!(self.step(text).ending, Some(Ending::Cached), "`{text}` of {:#?}", self.0);
        self
    }

    /// Fails unless `text` ran, and because of `reason`.
    #[track_caller]
    pub(crate) fn ran_because(&self, text: &str, reason: &str) -> &Self {
        self.ran(text);
        let said = self.step(text).reason.as_deref().unwrap_or_default();
        assert!(said.contains(reason), "`{text}` ran because `{said}`, not `{reason}`");
        self
    }

    /// All that was written by steps whose name holds `text`.
    #[track_caller]
    pub(crate) fn log(&self, text: &str) -> String {
        self.step(text).log.join("\n")
    }
}
