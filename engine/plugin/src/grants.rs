//! What a plugin may ask of the host, and of what: grants as people write them, and what they come to for one plugin.

use std::fmt;
use std::str::FromStr;

use kiln_core::pattern::Glob;

/// What an import of a plugin asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    Context,
    Instructions,
    Resolve,
    Solve,
}

impl Capability {
    pub(crate) const ALL: [Self; 4] = [Self::Context, Self::Instructions, Self::Resolve, Self::Solve];

    /// What a preset that ships with kiln has: to build a project it has to ask the project's own tools about it.
    pub(crate) const PRESET: [Self; 3] = [Self::Context, Self::Resolve, Self::Solve];

    /// What a plugin has that was named by the person, or only by the build file.
    pub(crate) fn usual(is_frontend: bool, by_person: bool) -> &'static [Self] {
        match (is_frontend, by_person) {
            (true, true) => &[Self::Context, Self::Resolve, Self::Instructions],
            (true, false) => &[Self::Context, Self::Resolve],
            (false, _) => &[Self::Context],
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Instructions => "instructions",
            Self::Resolve => "resolve",
            Self::Solve => "solve",
        }
    }
}

/// One grant: a capability, and what of it. `context`, `context:app/**`, `resolve:docker.io/library/*`, `solve:files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub(crate) capability: Capability,
    pub(crate) scope: Scope,
}

/// What of a capability is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    /// Of `solve`: sources and file operations, no commands.
    Files,
    /// Of `context` paths, of `resolve` names, that match one of these or lie below what does.
    Only(Vec<Pattern>),
}

/// A text that is no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot be granted: {why}")]
pub struct GrantError {
    pub text: String,
    pub why: String,
}

impl Grant {
    /// Each capability without bounds.
    pub(crate) fn everything() -> Vec<Self> {
        Capability::ALL.map(|capability| Self { capability, scope: Scope::All }).into()
    }
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let error = |why: &str| GrantError { text: text.to_owned(), why: why.to_owned() };
        let (word, scope) = match text.split_once(':') {
            None => (text, None),
            Some((word, scope)) => (word, Some(scope)),
        };
        let capability = Capability::ALL.into_iter().find(|known| known.word() == word).ok_or_else(|| {
            error("there are context, context:GLOB, resolve, resolve:GLOB, solve, solve:files, solve:exec and instructions")
        })?;
        let scope = match (capability, scope) {
            (_, None) | (Capability::Solve, Some("exec")) => Scope::All,
            (Capability::Solve, Some("files")) => Scope::Files,
            (Capability::Solve, Some(_)) => return Err(error("`solve` has the scopes files and exec")),
            (Capability::Instructions, Some(_)) => return Err(error("`instructions` has no scopes")),
            (_, Some(glob)) => Scope::Only(vec![Pattern::parse(glob).map_err(|why| error(&why))?]),
        };
        Ok(Self { capability, scope })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.capability.word())?;
        match &self.scope {
            Scope::All => Ok(()),
            Scope::Files => f.write_str(":files"),
            Scope::Only(patterns) => patterns.iter().try_for_each(|pattern| write!(f, ":{}", pattern.text)),
        }
    }
}

/// Components between slashes, each with `*`, `?` and `[…]`; `**` for any number of them. What lies below a match matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One(Glob),
}

/// What a pattern says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    No,
    /// Something below may match.
    Leads,
    Yes,
}

impl Pattern {
    /// # Errors
    ///
    /// Why the text is no pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        for part in text.split('/').filter(|part| !matches!(*part, "" | ".")) {
            match part {
                ".." => return Err("a pattern has no `..`".to_owned()),
                // One after the other they say the same as one.
                "**" if parts.last() == Some(&Part::Any) => {}
                "**" => parts.push(Part::Any),
                part => parts.push(Part::One(Glob::parse(part.as_bytes()).map_err(|why| why.to_string())?)),
            }
        }
        match parts.is_empty() {
            true => Err("the pattern is empty".to_owned()),
            false => Ok(Self { text: text.to_owned(), parts }),
        }
    }

    pub fn matches(&self, path: &str) -> bool {
        self.reach(path) == Reach::Yes
    }

    /// Of a path without `..`.
    pub(crate) fn reach(&self, path: &str) -> Reach {
        let names: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        // How far the pattern has come by each way of reading `**`.
        let mut at = vec![false; self.parts.len() + 1];
        at[0] = true;
        for name in names {
            self.skip(&mut at);
            if at[self.parts.len()] {
                return Reach::Yes;
            }
            let mut next = vec![false; at.len()];
            for (place, part) in self.parts.iter().enumerate().filter(|(place, _)| at[*place]) {
                match part {
                    Part::Any if place + 1 == self.parts.len() => return Reach::Yes,
                    Part::Any => next[place] = true,
                    Part::One(glob) => next[place + 1] |= glob.matches(name.as_bytes()),
                }
            }
            at = next;
        }
        match at[self.parts.len()] {
            true => Reach::Yes,
            false if at.contains(&true) => Reach::Leads,
            false => Reach::No,
        }
    }

    /// `**` stands for nothing as well, unless it is the end.
    fn skip(&self, at: &mut [bool]) {
        for (place, part) in self.parts.iter().enumerate() {
            if at[place] && *part == Part::Any && place + 1 < self.parts.len() {
                at[place + 1] = true;
            }
        }
    }
}

/// All that one plugin may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    context: Option<Scope>,
    resolve: Option<Scope>,
    solve: Option<Scope>,
    instructions: Option<Scope>,
}

impl Granted {
    /// For what ships with kiln, and for a plugin that is only asked about itself.
    pub(crate) fn everything() -> Self {
        let all = || Some(Scope::All);
        Self { context: all(), resolve: all(), solve: all(), instructions: all() }
    }

    /// What a plugin has: `usual` in any case, the rest by a grant. Where there are grants of a capability, they are what
    /// there is of it.
    pub(crate) fn of<'g>(usual: &[Capability], grants: impl IntoIterator<Item = &'g Grant>) -> Self {
        let mut granted = Self { context: None, resolve: None, solve: None, instructions: None };
        for grant in grants {
            let slot = granted.slot(grant.capability);
            *slot = Some(match (slot.take(), &grant.scope) {
                (Some(Scope::All), _) | (_, Scope::All) => Scope::All,
                (Some(Scope::Only(mut known)), Scope::Only(more)) => {
                    known.extend_from_slice(more);
                    Scope::Only(known)
                }
                (_, scope) => scope.clone(),
            });
        }
        for capability in usual {
            granted.slot(*capability).get_or_insert(Scope::All);
        }
        granted
    }

    fn slot(&mut self, capability: Capability) -> &mut Option<Scope> {
        match capability {
            Capability::Context => &mut self.context,
            Capability::Instructions => &mut self.instructions,
            Capability::Resolve => &mut self.resolve,
            Capability::Solve => &mut self.solve,
        }
    }

    pub(crate) fn scope(&self, capability: Capability) -> Option<&Scope> {
        match capability {
            Capability::Context => self.context.as_ref(),
            Capability::Instructions => self.instructions.as_ref(),
            Capability::Resolve => self.resolve.as_ref(),
            Capability::Solve => self.solve.as_ref(),
        }
    }

    pub(crate) fn has(&self, capability: Capability) -> bool {
        self.scope(capability).is_some()
    }
}

impl Scope {
    /// The best that is said of a path or name.
    pub(crate) fn reach(&self, path: &str) -> Reach {
        match self {
            Self::All => Reach::Yes,
            Self::Files => Reach::No,
            Self::Only(patterns) => {
                patterns.iter().map(|pattern| pattern.reach(path)).max().unwrap_or(Reach::No)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_and_written_alike() {
        for text in [
            "context",
            "context:app/**",
            "resolve:docker.io/library/*",
            "solve",
            "solve:files",
            "instructions",
        ] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
        assert_eq!("solve:exec".parse::<Grant>().unwrap().to_string(), "solve");
        for (text, says) in [
            ("network", "there are context"),
            ("", "there are context"),
            ("solve:network", "files and exec"),
            ("instructions:RUN", "no scopes"),
            ("context:", "empty"),
            ("context:../x", "`..`"),
            ("context:[", "`context:[`"),
        ] {
            let error = text.parse::<Grant>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_pattern_matches_what_it_names_and_all_below() {
        use Reach::{Leads, No, Yes};
        for (pattern, path, reach) in [
            ("app", "app", Yes),
            ("app", "app/src/main.rs", Yes),
            ("app", "", Leads),
            ("app", "lib", No),
            ("app/**", "app", Leads),
            ("app/**", "app/x", Yes),
            ("/app/./x", "app/x", Yes),
            ("**/go.mod", "go.mod", Yes),
            ("**/go.mod", "a/b/go.mod", Yes),
            ("**/go.mod", "a/b", Leads),
            ("a/**/b/*.c", "a/x/y/b/z.c", Yes),
            ("a/**/b/*.c", "a/b/z.c", Yes),
            ("a/**/b/*.c", "a/b/z.h", Leads),
            ("a/b", "a/c", No),
            ("**", "x/y", Yes),
            ("docker.io/library/*", "docker.io/library/alpine", Yes),
            ("docker.io/library/*", "docker.io/other/alpine", No),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().reach(path), reach, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_granted_takes_the_place_of_what_a_plugin_has_anyway() {
        let granted = |is_frontend, grants: &[&str]| {
            let grants: Vec<Grant> = grants.iter().map(|text| text.parse().unwrap()).collect();
            Granted::of(Capability::usual(is_frontend, true), &grants)
        };
        assert!(!Granted::of(Capability::usual(true, false), &[]).has(Capability::Instructions));
        let plain = granted(false, &[]);
        assert!(plain.has(Capability::Context) && !plain.has(Capability::Resolve));
        assert!(granted(true, &[]).has(Capability::Resolve) && !granted(true, &[]).has(Capability::Solve));
        let narrow = granted(true, &["context:app", "context:lib"]);
        let context = narrow.scope(Capability::Context).unwrap();
        assert_eq!([context.reach("lib/x"), context.reach("x")], [Reach::Yes, Reach::No]);
        let wide = granted(true, &["context:app", "context", "solve:files", "solve"]);
        assert_eq!(wide.scope(Capability::Context), Some(&Scope::All));
        assert_eq!(wide.scope(Capability::Solve), Some(&Scope::All));
        assert_eq!(granted(false, &["solve:files"]).scope(Capability::Solve), Some(&Scope::Files));
    }
}
