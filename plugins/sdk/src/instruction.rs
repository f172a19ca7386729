//! Says what an instruction looks like, and reads the statements in which somebody used it.

use crate::wit::diagnostics::Diagnostic;
use crate::wit::graph::{Graph, Output};
use crate::wit::instruction_types::{
    Argument, ArgumentForm, Descriptor, FlagKind, FlagSpec, FlagValue, HeredocForm, InstructionError,
    Outcome, Split, Statement,
};

impl Descriptor {
    /// An instruction whose arguments are words as in a shell, with variables expanded; no flags, no here-documents.
    pub fn new(keyword: &str, usage: &str, summary: &str) -> Self {
        Self {
            keyword: keyword.into(),
            summary: summary.into(),
            usage: usage.into(),
            form: ArgumentForm { split: Split::Words, json: false, expand: true },
            heredocs: HeredocForm::Refused,
            flag_specs: Vec::new(),
            traits: Vec::new(),
        }
    }

    /// Cuts the arguments in another way.
    pub fn split(mut self, split: Split) -> Self {
        self.form.split = split;
        self
    }

    /// Takes arguments as they are written, variables and quotes included.
    pub fn unexpanded(mut self) -> Self {
        self.form.expand = false;
        self
    }

    /// Takes a JSON array of strings as well.
    pub fn or_json(mut self) -> Self {
        self.form.json = true;
        self
    }

    pub fn heredocs(mut self, form: HeredocForm) -> Self {
        self.heredocs = form;
        self
    }

    pub fn flag(mut self, flag: FlagSpec) -> Self {
        self.flag_specs.push(flag);
        self
    }

    /// A word of `descriptor.traits`, such as `environment`.
    pub fn with(mut self, word: &str) -> Self {
        self.traits.push(word.into());
        self
    }
}

impl FlagSpec {
    fn new(name: &str, kind: FlagKind) -> Self {
        Self { name: name.into(), kind, repeatable: false, expand: !matches!(kind, FlagKind::Boolean) }
    }

    /// `--name`
    pub fn boolean(name: &str) -> Self {
        Self::new(name, FlagKind::Boolean)
    }

    /// `--name=value`, variables in the value expanded.
    pub fn text(name: &str) -> Self {
        Self::new(name, FlagKind::Text)
    }

    /// `--name=key=value,key`, variables in the values expanded.
    pub fn fields(name: &str) -> Self {
        Self::new(name, FlagKind::Fields)
    }

    /// May be written several times.
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

impl Statement {
    /// Every use of a flag, in order.
    pub fn flags<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s FlagValue> {
        self.flag_values.iter().filter(move |flag| flag.name == name)
    }

    /// The value of a flag of text that may be written once.
    pub fn flag(&self, name: &str) -> Option<&Argument> {
        self.flag_values.iter().find(|flag| flag.name == name)?.values.first()
    }

    /// Whether a boolean flag is written, and not as `--name=false`.
    pub fn is_set(&self, name: &str) -> bool {
        self.flag(name).is_some_and(|value| value.value == "true")
    }

    /// Nothing in the line itself waits for a variable, so what it says is known before it is applied.
    pub fn is_constant(&self) -> bool {
        !self.original.contains('$')
    }
}

impl Outcome {
    /// A new filesystem for the stage, and nothing else.
    pub fn root(fragment: Graph, root: Output) -> Self {
        Self { fragment, root: Some(root), ..Self::default() }
    }
}

impl From<Vec<Diagnostic>> for InstructionError {
    fn from(problems: Vec<Diagnostic>) -> Self {
        Self::Invalid(problems)
    }
}

impl From<Diagnostic> for InstructionError {
    fn from(problem: Diagnostic) -> Self {
        Self::Invalid(vec![problem])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn flags_are_found_by_name() {
        let descriptor = Descriptor::new("X", "X", "x")
            .flag(FlagSpec::boolean("on"))
            .flag(FlagSpec::boolean("off"))
            .flag(FlagSpec::text("many").repeatable());
        let statement = testing::statement("X --on --off=false --many=a --many=b $word", &descriptor);
        assert!(statement.is_set("on") && !statement.is_set("off") && !statement.is_set("other"));
        assert_eq!(statement.flags("many").count(), 2);
        assert_eq!(statement.flag("many").map(|value| value.value.as_str()), Some("a"));
        assert!(!statement.is_constant());
    }
}
