//! What one keyword is: how its line is to be cut up, and the functions that judge and apply it.

use kiln_sdk::wit::instruction_types::{
    ArgumentForm, Descriptor, FlagKind, FlagSpec, HeredocForm, Outcome, Split, Stage, Statement,
};

use crate::findings::Findings;

pub(crate) struct Keyword {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) form: ArgumentForm,
    pub(crate) heredocs: HeredocForm,
    /// Sorted by name.
    pub(crate) flags: &'static [Flag],
    pub(crate) traits: &'static [&'static str],
    /// Grammar of a line whose variables are not expanded (§1.8, phase P of §24).
    pub(crate) validate: fn(&Statement, &mut Findings),
    /// None only together with an error among the findings.
    pub(crate) apply: fn(&Statement, &Stage, &mut Findings) -> Option<Outcome>,
}

impl Keyword {
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor {
            keyword: self.name.into(),
            summary: self.summary.into(),
            usage: self.usage.into(),
            form: self.form,
            heredocs: self.heredocs,
            flag_specs: self.flags.iter().map(Flag::spec).collect(),
            traits: self.traits.iter().map(|&word| word.into()).collect(),
        }
    }
}

pub(crate) struct Flag {
    name: &'static str,
    kind: FlagKind,
    repeatable: bool,
    expand: bool,
}

impl Flag {
    /// `--name=value`, once, as written.
    pub(crate) const fn text(name: &'static str) -> Self {
        Self { name, kind: FlagKind::Text, repeatable: false, expand: false }
    }

    /// `--name`, `--name=true`, `--name=false`.
    pub(crate) const fn boolean(name: &'static str) -> Self {
        Self { name, kind: FlagKind::Boolean, repeatable: false, expand: false }
    }

    /// `--name=key=value,key,…`, any number of times.
    pub(crate) const fn fields(name: &'static str) -> Self {
        Self { name, kind: FlagKind::Fields, repeatable: true, expand: false }
    }

    pub(crate) const fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }

    pub(crate) const fn expanded(self) -> Self {
        Self { expand: true, ..self }
    }

    fn spec(&self) -> FlagSpec {
        FlagSpec { name: self.name.into(), kind: self.kind, repeatable: self.repeatable, expand: self.expand }
    }
}

/// A JSON array of strings, else one raw string (§5.1).
pub(crate) const COMMAND: ArgumentForm = ArgumentForm { split: Split::Whole, json: true, expand: false };
/// A JSON array of strings, else words at white space.
pub(crate) const PATHS: ArgumentForm = ArgumentForm { split: Split::Blanks, json: true, expand: true };
/// One raw string with variables.
pub(crate) const TEXT: ArgumentForm = ArgumentForm { split: Split::Whole, json: false, expand: true };
/// One raw string as it stands.
pub(crate) const RAW: ArgumentForm = ArgumentForm { split: Split::Whole, json: false, expand: false };
/// Words at white space.
pub(crate) const WORDS: ArgumentForm = ArgumentForm { split: Split::Blanks, json: false, expand: true };
/// `key=value` words.
pub(crate) const PAIRS: ArgumentForm = ArgumentForm { split: Split::Pairs, json: false, expand: true };
